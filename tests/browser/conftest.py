"""A browser for the tests of the dashboard: Debian's Chromium, driven by Playwright.

Both live in one event loop with the server, so that a test may change what there is to see.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    async_playwright,
    expect,
)
from playwright.async_api import Request as PageRequest

from dispatcher.testing.api import ApiBench
from tests.browser.serving import fill, functions

KEY: Final = "first-key"
# Nothing but the page: no services of the browser's maker, and no name but the server's address.
_ARGUMENTS: Final = (
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
# What the browser itself says of an answer that is no success; which of them are right, tests know.
_REFUSED: Final = "Failed to load resource:"
# For everything that is waited for: the page looks every two seconds, and machines may be busy.
PATIENCE_MS: Final = 60_000
expect.set_options(timeout=PATIENCE_MS)


def _chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip where there is no browser. CI installs one where it can."""
    if _chromium() is not None:
        return
    skip = pytest.mark.skip(reason="needs Chromium: apt-get install chromium")
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(skip)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Chromium, with a profile of its own that is thrown away."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=_chromium(), args=_ARGUMENTS)
        yield browser
        await browser.close()


@dataclass
class Watch:
    """What pages did that they should not have, and how it looked."""

    hosts: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)

    def attach(self, page: Page) -> None:
        """Look at everything a page does from now on."""
        page.on("request", self._see_request)
        page.on("console", self._see_message)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _see_request(self, request: PageRequest) -> None:
        url = urlsplit(request.url)
        if url.scheme not in ("data", "blob"):
            self.hosts.add(url.netloc)

    def _see_message(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(_REFUSED):
            self.complaints.append(message.text)


@pytest_asyncio.fixture(loop_scope="module")
async def api() -> AsyncIterator[ApiBench]:
    """An API without keys, with data."""
    async with ApiBench(functions=await functions()) as bench:
        fill(bench)
        yield bench


@pytest_asyncio.fixture(loop_scope="module")
async def locked() -> AsyncIterator[ApiBench]:
    """An API with a key, with data."""
    async with ApiBench((KEY.encode(),)) as bench:
        fill(bench)
        yield bench


@pytest_asyncio.fixture(loop_scope="module")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A browser that was never used before."""
    context = await browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    yield context
    await context.close()


@pytest_asyncio.fixture(loop_scope="module")
async def page(context: BrowserContext) -> AsyncIterator[Page]:
    """A page that asks nobody but the one server, and has nothing to complain about.

    That holds for every test: violations of the policy and errors of scripts are complaints.
    """
    watch = Watch()
    page = await context.new_page()
    watch.attach(page)
    yield page
    await page.close()
    assert watch.complaints == []
    (host,) = watch.hosts
    assert host.startswith("127.0.0.1:")


@pytest.fixture
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go; DASHBOARD_PICTURES says where they are kept."""
    kept = os.environ.get("DASHBOARD_PICTURES")
    return Path(kept) if kept else tmp_path_factory.mktemp("pictures")
