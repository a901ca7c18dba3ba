"""Requests that are passed on to who has the API, and their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from aiohttp import HttpVersion11, web

from dispatcher.api.front.exchange import Line, Upstream
from dispatcher.api.front.heads import AnswerHead, request_head
from dispatcher.api.pieces import pieces
from dispatcher.api.routes import SAFE_METHODS
from dispatcher.errors import DispatcherError, Refused
from dispatcher.queue.refusals import MOVED, NO_VERDICT

CONNECT_SECONDS: Final = 5.0
"""For a connection to the API; callers are told `moved` then, and ask again."""
IDLE_SECONDS: Final = 5.0
"""For how long a connection to the API is kept: it closes those of strangers after ten."""
_MOST_IDLE: Final = 16
"""Connections that are kept while nobody uses them."""
_ADDED: Final = frozenset(("content-type", "date", "server"))
"""Headers that aiohttp gives an answer without them."""


class Passing:
    """Passes requests on, over connections that are used again."""

    def __init__(self, upstream: Upstream, now: Callable[[], float]) -> None:
        """`now` is a monotonic clock, in seconds."""
        self._upstream = upstream
        self._now = now
        self._idle: list[tuple[float, Line]] = []

    def close(self) -> None:
        """Drop connections that nobody uses. Idempotent."""
        while self._idle:
            self._idle.pop()[1].close()

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on, and answer it.

        Raises:
            Refused: there is no answer.
            ApiError: the body of the request is cut short, or comes too slowly.
        """
        only_looks = request.method in SAFE_METHODS
        line = await self._line()
        if only_looks and not line.is_new and not request.body_exists:
            try:
                return await self._exchange(request, line)
            except ConnectionError:
                # It may have been closed just now because nobody had used it for a while.
                line = await self._line()
        try:
            return await self._exchange(request, line)
        except ConnectionError as error:
            is_undone = only_looks or not line.has_sent
            raise Refused(MOVED if is_undone else NO_VERDICT) from error

    async def _line(self) -> Line:
        now = self._now()
        while self._idle:
            since, line = self._idle.pop()
            if line.is_usable and now - since < IDLE_SECONDS:
                return line
            line.close()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return Line(*await self._upstream.connect())
        except Refused:
            raise
        except (OSError, DispatcherError) as error:  # a timeout is an OSError
            raise Refused(MOVED) from error

    def _keep(self, line: Line) -> None:
        if line.is_usable:
            line.has_sent = False
            self._idle.append((self._now(), line))
            if len(self._idle) > _MOST_IDLE:
                self._idle.pop(0)[1].close()

    async def _exchange(self, request: web.Request, line: Line) -> web.StreamResponse:
        """Raises ConnectionError where there is no answer; what comes after its beginning cuts the
        connection of the caller."""
        is_chunked = "Transfer-Encoding" in request.headers
        is_over = False
        sending: asyncio.Task[None] | None = None
        try:
            await line.send_head(
                request_head(
                    request.method,
                    request.raw_path,
                    request.raw_headers,
                    client=request.remote,
                    is_chunked=is_chunked,
                )
            )
            if request.body_exists:
                body = line.send_body(pieces(request.content), is_chunked=is_chunked)
                sending = asyncio.ensure_future(body)
            head = await _head(request, line, sending)
            response = Passed(head)
            is_whole = await _answer(request, response, line, head)
            is_over = is_whole and _is_done(sending) and not head.closes
            return response
        finally:
            if sending is not None:
                await _ended(sending)
            if is_over:
                self._keep(line)
            else:
                line.close()


class Passed(web.StreamResponse):
    """An answer that is passed on, with the headers that came and no others."""

    def __init__(self, head: AnswerHead) -> None:
        super().__init__(status=head.status, reason=head.reason)
        for name, value in head.headers:
            self.headers.add(name, value)
        self._came = {name.lower() for name, _ in head.headers}
        if head.closes:
            self.force_close()

    def finish_headers(self) -> None:
        """Take away what aiohttp has added, but for what says how the answer ends."""
        for name in _ADDED - self._came:
            self.headers.pop(name, None)


async def _head(request: web.Request, line: Line, sending: asyncio.Task[None] | None) -> AnswerHead:
    """The head of the answer, which may come before the body was sent."""

    async def goes_on() -> None:
        if request.version >= HttpVersion11:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # aiohttp: the answer itself has not begun

    if sending is None:
        return await line.head(request.method, goes_on)
    reading = asyncio.ensure_future(line.head(request.method, goes_on))
    try:
        await asyncio.wait((reading, sending), return_when=asyncio.FIRST_COMPLETED)
        if sending.done() and not reading.done():
            with suppress(ConnectionError):  # why it takes no more, its answer says
                sending.result()
        return await reading
    finally:
        await _ended(reading)


async def _answer(
    request: web.Request, response: web.StreamResponse, line: Line, head: AnswerHead
) -> bool:
    """Send the answer as it comes; whether all of it was sent. What cannot be sent to its end is
    cut."""
    try:
        await response.prepare(request)
        async for piece in line.body(head.size_bytes):
            await response.write(piece)
        await response.write_eof()
    except BaseException as error:
        if request.transport is not None:
            request.transport.abort()
        if not isinstance(error, ConnectionError):
            raise
        return False
    return True


def _is_done(sending: asyncio.Task[None] | None) -> bool:
    """Whether all of a request's body was sent."""
    if sending is None:
        return True
    return sending.done() and not sending.cancelled() and sending.exception() is None


async def _ended(task: asyncio.Task[Any]) -> None:
    """See that it has ended; how was told, or does not matter any more."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()
