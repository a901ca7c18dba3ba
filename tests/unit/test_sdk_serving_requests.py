"""Serving applications of the SDK: what is refused unread, and what is a run."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from dispatcher.sdk.config import Config
from dispatcher.sdk.endpoint import Answer
from dispatcher.sdk.serving.asgi import Asgi
from dispatcher.sdk.serving.requests import body_size, is_run, prefix_of
from dispatcher.sdk.serving.serve import serve
from dispatcher.sdk.serving.wsgi import Wsgi

_RUN = "/dispatch.sdk.v1.FunctionService/Run"


class Echo:
    """Answers with the path; `asked` are the requests."""

    config = Config()

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Sequence[tuple[str, str]], bytes]] = []

    def describe(self) -> Sequence[str]:
        """No functions."""
        return []

    async def handle(
        self, method: str, path: str, headers: Sequence[tuple[str, str]], body: bytes
    ) -> Answer:
        """Answer."""
        self.asked.append((method, path, headers, body))
        return Answer(200, [("X-Path", path)], b"ok")


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", _RUN, True),
        ("POST", f"/shop{_RUN}?x", True),
        ("GET", _RUN, False),
        ("POST", "/other", False),
        ("POST", f"/other?{_RUN}", False),
    ],
)
def test_run_is_known_by_its_path(method: str, path: str, expected: bool) -> None:
    """Wherever the application is mounted."""
    assert is_run(method, path) is expected


@pytest.mark.parametrize("value", ["0", "16000000", " 5 "])
def test_body_of_a_run_has_a_length(value: str) -> None:
    """Up to 16 MB."""
    assert body_size([("content-length", value)]) == int(value)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 400),
        ([("Content-Length", "-1")], 400),
        ([("Content-Length", "٥")], 400),
        ([("Content-Length", "1"), ("Content-Length", "1")], 400),
        ([("Content-Length", "16000001")], 413),
        ([("Content-Length", "9" * 40)], 413),
    ],
)
def test_body_without_a_length_that_is_read_is_refused(
    headers: list[tuple[str, str]], status: int
) -> None:
    """In a way that is final for the server."""
    refused = body_size(headers)
    assert isinstance(refused, Answer)
    assert refused.status == status


@pytest.mark.parametrize(
    ("url", "path", "prefix"),
    [
        (None, None, ""),
        ("http://h:8000", None, ""),
        ("https://h/shop", None, "/shop"),
        ("bridge://session", None, ""),
        ("https://h/shop", "", ""),
        ("https://h/shop", "/inner/", "/inner"),
    ],
)
def test_service_is_behind_the_path_of_the_endpoint(
    url: str | None, path: str | None, prefix: str
) -> None:
    """Unless another is said."""
    assert prefix_of(Config(endpoint_url=url), path) == prefix


async def _asked(scope: dict[str, Any], *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """What an ASGI application sends to these messages."""
    sent: list[dict[str, Any]] = []
    left = list(messages)

    async def receive() -> dict[str, Any]:
        return left.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await Asgi(Echo())(scope, receive, send)
    return sent


def _scope(**more: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "POST",
        "path": "/a b" + _RUN,
        "query_string": b"",
        "headers": [(b"content-length", b"4")],
        **more,
    }


async def test_body_comes_in_pieces() -> None:
    """As the server has read it."""
    sent = await _asked(
        _scope(raw_path=f"/a%20b{_RUN}".encode(), query_string=b"q=%20"),
        {"type": "http.request", "body": b"ab", "more_body": True},
        {"type": "http.request", "body": b"cd"},
    )
    assert sent[0]["status"] == 200
    assert (b"x-path", f"/a%20b{_RUN}?q=%20".encode()) in sent[0]["headers"]
    assert (b"content-length", b"2") in sent[0]["headers"]
    assert sent[1]["body"] == b"ok"


async def test_path_is_encoded_anew_where_the_server_does_not_tell_it() -> None:
    """`raw_path` is optional."""
    sent = await _asked(_scope(), {"type": "http.request", "body": b"abcd"})
    assert (b"x-path", f"/a%20b{_RUN}".encode()) in sent[0]["headers"]


@pytest.mark.parametrize(
    "messages",
    [
        [{"type": "http.disconnect"}],
        [{"type": "http.request", "body": b"ab"}],
        [{"type": "http.request", "body": b"abcdef", "more_body": True}],
    ],
)
async def test_run_that_was_cut_short_runs_nothing(messages: list[dict[str, Any]]) -> None:
    """Nobody is there to read an answer."""
    assert await _asked(_scope(), *messages) == []


async def test_lifespan_is_taken_part_in() -> None:
    """Servers wait for it."""
    sent = await _asked(
        {"type": "lifespan"}, {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}
    )
    assert [one["type"] for one in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


async def test_websocket_is_closed() -> None:
    """There is nothing to say."""
    assert await _asked({"type": "websocket"}) == [{"type": "websocket.close", "code": 1000}]


def test_path_of_wsgi_is_encoded_anew_where_the_server_does_not_tell_it() -> None:
    """PATH_INFO is decoded, and SCRIPT_NAME is what was taken away before."""
    app = Echo()
    answered: list[Any] = []
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "/shop",
        "PATH_INFO": "/ä b".encode().decode("latin-1"),
        "QUERY_STRING": "q=%20",
        "HTTP_X_ONE": "1",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "",
    }
    body = Wsgi(app)(environ, lambda *args: answered.append(args))
    assert list(body) == [b"ok"]
    path = "/shop/%C3%A4%20b?q=%20"
    assert answered == [("200 OK", [("X-Path", path), ("Content-Length", "2")])]
    headers = [("X-One", "1"), ("Content-Type", "text/plain")]
    assert app.asked == [("GET", path, headers, b"")]


async def test_application_that_is_served_where_a_loop_runs_says_what_to_write() -> None:
    """There can't be two."""
    with pytest.raises(RuntimeError, match=r"write `await app.serve_async\(\)`"):
        serve(Echo())
    await asyncio.sleep(0)


def test_everything_is_imported_without_what_it_may_be_mounted_in() -> None:
    """aiohttp, uvloop and the frameworks are imported when they are used."""
    blocked = ("aiohttp", "yarl", "uvloop", "structlog", "fastapi", "starlette", "flask", "django")
    modules = [
        "dispatcher.sdk.client.client",
        "dispatcher.sdk.client.blocking",
        "dispatcher.sdk.serving.serve",
        *(f"dispatcher.sdk.serving.{name}" for name in ("asgi", "wsgi", "web")),
        *(
            f"dispatcher.sdk.serving.mounts.{name}"
            for name in ("aiohttp", "django", "fastapi", "flask", "starlette")
        ),
    ]
    source = (
        "import sys, importlib\n"
        f"for name in {blocked!r}: sys.modules[name] = None\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
    )
    subprocess.run([sys.executable, "-c", source], check=True, timeout=60)
