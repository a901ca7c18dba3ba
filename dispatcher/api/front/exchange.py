"""One request and its answer over a connection to the API, in pieces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Protocol

from dispatcher.api.front.heads import AnswerHead, Broken, answer_head, chunk_size

_PIECE_BYTES: Final = 64 * 1024
_CONTINUE: Final = 100
_FIRST_FINAL: Final = 200


class Upstream(Protocol):
    """Who has the API."""

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to it, over which HTTP is spoken.

        Raises:
            OSError, DispatcherError: nobody is known to have it, or can be reached.
        """


class Line:
    """A connection to the API: `is_new` until something was asked over it, `has_sent` once
    something of the request under way was."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.is_new = True
        self.has_sent = False
        self._reader = reader
        self._writer = writer

    @property
    def is_usable(self) -> bool:
        """Whether another request may be sent over it, as far as is known."""
        return not (self._reader.at_eof() or self._writer.is_closing())

    def close(self) -> None:
        """Drop it, and whatever is under way. Idempotent."""
        self._writer.transport.abort()

    async def send_head(self, head: bytes) -> None:
        """Begin a request.

        Raises:
            ConnectionError: it is gone.
        """
        self.has_sent = True
        self._writer.write(head)
        await self._writer.drain()

    async def send_body(self, pieces: AsyncIterator[bytes], *, is_chunked: bool) -> None:
        """Send the body of a request, at the pace at which it is taken.

        Raises:
            ConnectionError: it is gone, or takes no more.
            Exception: what reading the pieces raises.
        """
        async for piece in pieces:
            self._writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
            await self._writer.drain()
        if is_chunked:
            self._writer.write(b"0\r\n\r\n")
            await self._writer.drain()

    async def head(self, method: str, goes_on: Callable[[], Awaitable[None]]) -> AnswerHead:
        """The head of the answer; `goes_on` is called where the body is asked for before that.

        Raises:
            ConnectionError: it is gone, or what came is no answer.
        """
        while True:
            try:
                found = await self._reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
                raise Broken("there is no answer") from error
            head = answer_head(found, method)
            if head.status >= _FIRST_FINAL:
                self.is_new = False
                return head
            if head.status == _CONTINUE:
                await goes_on()

    async def body(self, size_bytes: int | None) -> AsyncIterator[bytes]:
        """The body of the answer, as it comes.

        Raises:
            ConnectionError: it went away before the end.
        """
        if size_bytes is not None:
            async for piece in self._read(size_bytes):
                yield piece
            return
        while size := chunk_size(await self._line()):
            async for piece in self._read(size):
                yield piece
            await self._line()
        while await self._line() != b"":  # trailers, of which there are none
            pass

    async def _read(self, left: int) -> AsyncIterator[bytes]:
        while left:
            piece = await self._reader.read(min(left, _PIECE_BYTES))
            if not piece:
                raise Broken("the answer was cut short")
            left -= len(piece)
            yield piece

    async def _line(self) -> bytes:
        try:
            return (await self._reader.readuntil(b"\r\n"))[:-2]
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise Broken("the answer was cut short") from error
