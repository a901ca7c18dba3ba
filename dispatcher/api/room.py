"""Room for bodies that are read or made whole, over all connections.

A call's body has up to 16 MB, and is in memory until its calls are stored. So there is room for a
few large ones at once; who comes when there is none waits for a while, in turn.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from dispatcher.api.errors import ApiError
from dispatcher.api.pieces import pieces
from dispatcher.api.unpacking import coding_of

ROOM_BYTES: Final = 64_000_000
"""Four of the largest."""
PATIENCE_SECONDS: Final = 5.0
SMALL_BYTES: Final = 16 * 1024
"""What takes no room: it is bounded by the number of connections."""


class BodyRoom:
    """The room of one server. `free_bytes` is what is left of it."""

    def __init__(self, room_bytes: int = ROOM_BYTES, patience_s: float = PATIENCE_SECONDS) -> None:
        self.free_bytes = room_bytes
        self._patience_s = patience_s
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def body(self, request: web.Request, most: int) -> AsyncIterator[bytes]:
        """Read the body of a request, of `most` bytes at most after its Content-Encoding is undone,
        and keep its room for as long as it is needed.

        Raises:
            ApiError: 413 for one that is larger, 503 where there is no room for it, and as
                `pieces`.
        """
        size = _size(request, most)
        whole = _at_hand(request)
        if whole is not None:
            if len(whole) > most:
                raise too_large(most)
            yield whole
            return
        reading = _Reading(request, most)
        # Of what does not say its size most is small all the same, and waits for nobody.
        if not await reading.has_more_than(SMALL_BYTES):
            yield reading.body()
            return
        await self._take(size)
        try:
            await reading.has_more_than(most)
            yield reading.body()
        finally:
            self._give_back(size)

    @asynccontextmanager
    async def space(self, size: int) -> AsyncIterator[None]:
        """Have room for an answer of so many bytes while it is made.

        Raises:
            ApiError: 503; there is none.
        """
        await self._take(size)
        try:
            yield
        finally:
            self._give_back(size)

    async def _take(self, size: int) -> None:
        if not self._waiting and size <= self.free_bytes:
            self.free_bytes -= size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            async with asyncio.timeout(self._patience_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._give_back(size)  # it came at the same moment
            else:
                self._admit()  # it is cancelled; those behind it may be smaller
            if isinstance(error, TimeoutError):
                raise ApiError(
                    503,
                    "api_busy",
                    "Too many large bodies came at once; ask again later.",
                    headers={"Retry-After": "1"},
                ) from None
            raise

    def _give_back(self, size: int) -> None:
        self.free_bytes += size
        self._admit()

    def _admit(self) -> None:
        while self._waiting:
            size, turn = self._waiting[0]
            if not turn.cancelled():
                if size > self.free_bytes:
                    return
                self.free_bytes -= size
                turn.set_result(None)
            self._waiting.popleft()


def _size(request: web.Request, most: int) -> int:
    """How large a body will be, at most.

    Raises:
        ApiError: 413; it says that it is larger than it may be.
    """
    length = request.content_length
    if length is None:
        return most if request.body_exists else 0
    if length > most:
        raise too_large(most)
    is_plain = request.headers.get("Content-Encoding", "identity").lower() == "identity"
    return length if is_plain else most


def _at_hand(request: web.Request) -> bytes | None:
    """A small body that came with its head, as most do; None: it has to be read, or unpacked."""
    content = request.content
    if not content.is_eof() or content.total_bytes > SMALL_BYTES or coding_of(request):
        return None
    return content.read_nowait() if content.exception() is None else None


class _Reading:
    """A body that is being read, of `most` bytes at most."""

    def __init__(self, request: web.Request, most: int) -> None:
        self._pieces = pieces(request.content, coding_of(request))
        self._most = most
        self._parts: list[bytes] = []
        self._size = 0

    async def has_more_than(self, size: int) -> bool:
        """Read on, until there is more than so much or nothing follows.

        Raises:
            ApiError: it is larger than it may be.
        """
        while self._size <= size:
            data = await anext(self._pieces, b"")
            if not data:
                return False
            self._size += len(data)
            if self._size > self._most:
                raise too_large(self._most)
            self._parts.append(data)
        return True

    def body(self) -> bytes:
        """What was read."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)


def too_large(most: int) -> ApiError:
    """A body is larger than it may be."""
    return ApiError(413, "body_too_large", f"The body is larger than {most} bytes.")
