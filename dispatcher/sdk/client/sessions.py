"""Requests over aiohttp. An event loop has connections of its own here, which end with it: a
program may call `asyncio.run` as often as it likes, with one client.

`asyncio.run` closes the asynchronous generators of its loop before the loop, as aiohttp's,
uvicorn's and pytest's runners do; so one of them keeps the sessions. A loop that is closed without
that (nobody can close them then) is forgotten in silence.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from dispatcher.sdk.client.exchange import Lost, Reply, Request
from dispatcher.sdk.client.losing import lost
from dispatcher.sdk.client.server import Server

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

_CONNECTIONS: Final = 100
"""At once, for questions, and as many for those whose answer is waited for."""
_IDLE_S: Final = 30.0
"""The server closes a connection that was idle for 75 s."""


class Sessions:
    """The connections of one client, by loop; made when they are used. Any thread may use it."""

    def __init__(self, server: Server, headers: dict[str, str]) -> None:
        """`headers` go with every request."""
        self._server = server
        self._headers = headers
        self._kept: WeakKeyDictionary[asyncio.AbstractEventLoop, _Kept] = WeakKeyDictionary()
        self._lock = threading.Lock()

    async def exchange(self, request: Request, within_s: float) -> Reply | Lost:
        """Send a request once. Cancellation closes its connection."""
        import aiohttp

        kept = await self._of_this_loop()
        session = kept.waiting if request.is_waiting else kept.asking
        try:
            async with session.request(
                request.method,
                kept.url(request.target),
                headers=request.headers,
                data=request.body or None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=within_s, sock_connect=within_s),
            ) as answer:
                body = await answer.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return lost(error, was_sent=False)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return lost(error, was_sent=True)
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Reply(answer.status, headers, body)

    async def close(self) -> None:
        """End the connections of the loop that runs, and forget those of others. Idempotent."""
        with self._lock:
            kept = self._kept.pop(asyncio.get_running_loop(), None)
            self._forget_closed()
        if kept is not None:
            await kept.close()

    async def _of_this_loop(self) -> _Kept:
        loop = asyncio.get_running_loop()
        with self._lock:
            kept = self._kept.get(loop)
            if kept is not None and not kept.asking.closed:
                return kept
            self._forget_closed()
            kept = self._kept[loop] = _Kept(self._server, self._headers)
        await kept.open()
        return kept

    def _forget_closed(self) -> None:
        for loop, kept in list(self._kept.items()):
            if loop.is_closed():
                del self._kept[loop]
                kept.forget()


class _Kept:
    """The sessions of one loop."""

    def __init__(self, server: Server, headers: dict[str, str]) -> None:
        from yarl import URL

        self._base = server.url
        self._url = URL
        self.asking = _session(headers)
        self.waiting = _session(headers)
        self._ending = self._until_the_end()

    def url(self, target: str) -> URL:
        """Of a request; its target stays as it is."""
        return self._url(self._base + target, encoded=True)

    async def open(self) -> None:
        await anext(self._ending)

    async def close(self) -> None:
        await self._ending.aclose()

    def forget(self) -> None:
        """The loop is closed, and its connections with it."""
        for session in (self.asking, self.waiting):
            with suppress(StopIteration):
                session.close().send(None)  # it has nothing to wait for

    async def _until_the_end(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await self.asking.close()
            await self.waiting.close()


def _session(headers: dict[str, str]) -> aiohttp.ClientSession:
    import aiohttp

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=_CONNECTIONS, keepalive_timeout=_IDLE_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=headers,
    )
