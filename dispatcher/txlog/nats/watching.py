"""Hearing of another owner's fence while nothing is appended: an idle log learns as soon as another
owner has opened it that it is kept out.

What is heard are the fences as they are published; whether one was stored, and counts, the stream
says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from dispatcher.errors import LogError, LogFenced
from dispatcher.txlog.nats.batch import Fence, decode
from dispatcher.txlog.nats.fence import fenced_by
from dispatcher.txlog.nats.link import Silence, Stop
from dispatcher.txlog.nats.stream import Stream


class Watch:
    """Watches one stream for its owner, whose fence is `own`."""

    def __init__(
        self,
        stream: Stream,
        own: Fence,
        *,
        lost: Callable[[LogFenced], object],
        settled: Callable[[], Awaitable[object]],
    ) -> None:
        """`lost` is told that another owner has opened the log, after `settled`: a batch under way
        has a verdict of its own."""
        self._stream = stream
        self._own = own
        self._lost = lost
        self._settled = settled
        self._looking: asyncio.Task[None] | None = None
        self._stop: Stop | None = None

    async def start(self) -> None:
        """Listen from now on; where nobody answers appends alone find it out."""
        with suppress(Silence):
            self._stop = await self._stream.link.listen(self._stream.fences, self._heard)

    def _heard(self, subject: str, data: bytes) -> None:
        found = decode(data)
        if not isinstance(found, Fence) or found.token == self._own.token:
            return
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        await asyncio.sleep(self._stream.patience.again_s)  # what is heard is not stored yet
        with suppress(LogError):
            last = await self._stream.last_fence()
            if last is None:
                return
            fence = last[1]
            if fence.token != self._own.token and fence.epoch >= self._own.epoch:
                await self._settled()
                self._lost(fenced_by(self._stream, fence))

    async def close(self) -> None:
        """Listen no more. Idempotent."""
        if self._looking is not None and not self._looking.done():
            self._looking.cancel()
            await asyncio.wait([self._looking])
        stop, self._stop = self._stop, None
        if stop is not None:
            await stop()
