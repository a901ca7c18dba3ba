"""The dashboard: the page at `/` and its files under `/dashboard/`.

They hold no data, so anybody may read them; what they show they ask of the API, with a key where
keys are set. All of them are read once at the start: a request can name no other file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from typing import Final

import aiofiles
from aiohttp import ETag, web

_PAGE: Final = "index.html"
_TYPES: Final = {"html": "text/html", "js": "text/javascript", "css": "text/css",
                 "svg": "image/svg+xml"}  # fmt: skip

# No inline script or style, nothing of any other host, no form that leaves, no frame around it; and
# no text becomes HTML or script (trusted types), whatever a script of ours does with it.
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "no-cache",  # asked for again each time, answered 304 while it is the same
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True, slots=True)
class Page:
    """One file as it is served."""

    content: bytes
    content_type: str
    tag: str


class Pages:
    """Every file of the dashboard, by its path."""

    def __init__(self) -> None:
        self._files: Mapping[str, Traversable] = {
            _path(entry.name): entry
            for entry in files("dispatcher.api").joinpath("dashboard").iterdir()
            if _ending(entry.name) in _TYPES
        }
        self._pages: dict[str, Page] = {}

    @property
    def paths(self) -> frozenset[str]:
        """Where there is a page."""
        return frozenset(self._files)

    async def read(self) -> None:
        """Read all of them, before the first request comes.

        Raises:
            OSError: one cannot be read; the installation is damaged.
        """
        for path, entry in self._files.items():
            with as_file(entry) as place:
                async with aiofiles.open(place, "rb") as file:
                    self._pages[path] = _page(entry.name, await file.read())

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Let GET and HEAD of every path be answered."""
        for path in self._files:
            router.add_get(path, self._answer)

    async def _answer(self, request: web.Request) -> web.Response:
        page = self._pages[request.path]
        known = request.if_none_match or ()
        is_known = any(one.value in (page.tag, "*") for one in known)
        answer = web.Response(status=304, headers=_HEADERS) if is_known else _whole(page)
        answer.etag = ETag(page.tag)
        return answer


def _whole(page: Page) -> web.Response:
    return web.Response(
        body=page.content, content_type=page.content_type, charset="utf-8", headers=_HEADERS
    )


def _page(name: str, content: bytes) -> Page:
    return Page(content, _TYPES[_ending(name)], hashlib.sha256(content).hexdigest()[:32])


def _path(name: str) -> str:
    return "/" if name == _PAGE else f"/dashboard/{name}"


def _ending(name: str) -> str:
    return name.rpartition(".")[2]
