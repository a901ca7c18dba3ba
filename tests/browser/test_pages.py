"""The dashboard's files over HTTP, without a browser."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from dispatcher.api.pages import Pages
from dispatcher.testing.api import ApiBench

PATHS = sorted(Pages().paths)
SCRIPTS = [path for path in PATHS if path.endswith(".js")]


@pytest.fixture
async def locked() -> AsyncIterator[ApiBench]:
    """An API with a key."""
    async with ApiBench((b"first-key",)) as bench:
        yield bench


@pytest.mark.parametrize("path", PATHS)
async def test_page_is_served_without_a_key_when_keys_are_set(locked: ApiBench, path: str) -> None:
    """It holds no data, and asks for the key itself; its policy lets nothing else in."""
    status, headers, text = await locked.ask(path)
    assert (status, headers["Cache-Control"]) == (200, "no-cache")
    assert text
    assert headers["X-Content-Type-Options"] == "nosniff"
    policy = headers["Content-Security-Policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'"} <= set(policy)
    assert {"frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} <= set(policy)
    assert "unsafe" not in headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/", "/dashboard/main.js"])
async def test_page_is_not_sent_again_when_the_browser_has_it(locked: ApiBench, path: str) -> None:
    """304 with the same tag and policy, and the file again for another tag."""
    _, headers, _ = await locked.ask(path)
    known = {"If-None-Match": headers["Etag"]}
    status, again, text = await locked.ask(path, headers=known)
    assert (status, again["Etag"], text) == (304, headers["Etag"], "")
    assert again["Content-Security-Policy"] == headers["Content-Security-Policy"]
    assert (await locked.ask(path, headers={"If-None-Match": '"other"'}))[0] == 200


@pytest.mark.parametrize(
    "path",
    ["/dashboard/", "/dashboard/index.html", "/dashboard/../server.py", "/dashboard/%2e%2e/auth.py",
     "/dashboard/..%2fserver.py", "/dashboard/no.js"],
)  # fmt: skip
async def test_page_is_no_other_file_whatever_the_path(path: str) -> None:
    """Only the files of the dashboard, by the names they have."""
    async with ApiBench() as bench:
        assert await bench.error(path) == (404, "not_found")


async def test_page_is_refused_when_it_is_written_to() -> None:
    """There is GET and HEAD."""
    async with ApiBench() as bench:
        assert await bench.error("/", "POST") == (405, "method_not_allowed")
        assert (await bench.ask("/", "HEAD"))[0] == 200


@pytest.mark.parametrize("path", PATHS)
async def test_page_names_no_other_host(locked: ApiBench, path: str) -> None:
    """No library, font or picture of others; only the name of the SVG format is a URL."""
    _, _, text = await locked.ask(path)
    urls = set(re.findall(r"""["'(](?:https?:)?//[^\s"')]+""", text))
    assert {url.strip("\"'(") for url in urls} <= {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("path", SCRIPTS)
async def test_script_has_no_way_to_put_in_html(locked: ApiBench, path: str) -> None:
    """What comes from messages becomes text."""
    _, _, text = await locked.ask(path)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b", text)
