"""What of a log's stream is not needed any more, and having the servers remove it.

They remove all messages before a number, and must never remove the fence that counts. So what is
dead behind that fence goes only once a new one was stored behind it (`needs_fence`), which the
log's owner does with its next batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from dispatcher.txlog.nats.sizes import Sizes
from dispatcher.txlog.nats.stream import Stream

TRIM_BYTES: Final = 1 << 20
"""Less is not worth a request to the servers."""
_PART: Final = 16
"""Nor is less than this part of what the stream holds."""


class Trimming:
    """What is dead of one stream. `first` is the first message that is kept: others before it may
    still be there, and are being removed."""

    def __init__(
        self,
        stream: Stream,
        sizes: Sizes,
        *,
        fence: Callable[[], int | None],
        freed: Callable[[int], object],
    ) -> None:
        """`fence` is the number of the fence that counts, None while the log is not open; `freed`
        is told when all messages before a number were removed, which `sizes` knows then."""
        self.first = 1
        self._stream = stream
        self._sizes = sizes
        self._fence = fence
        self._freed = freed
        self._dead_before = 1
        self._dead_bytes = 0
        self._purging: asyncio.Task[None] | None = None

    def begin_at(self, first: int) -> None:
        """The stream begins with this message, and nothing of it is known to be dead."""
        self.first = self._dead_before = first

    def needs_fence(self, fence: int) -> bool:
        """Whether a fence behind the last one, which has this number, lets enough be removed."""
        return self._dead_before > fence and self._dead_bytes >= TRIM_BYTES

    async def trim(self, before: int) -> None:
        """Nothing before this message is needed any more. Returns when what is worth a request has
        been removed."""
        if before <= self._dead_before:
            return
        self._dead_bytes += self._sizes.between(self._dead_before, before)
        self._dead_before = before
        if self._dead_bytes >= max(TRIM_BYTES, self._sizes.total_bytes // _PART):
            self.purge_soon()
            if self._purging is not None:
                await asyncio.wait([self._purging])

    def purge_soon(self) -> None:
        """Have what is dead removed, one request at a time."""
        if self._purging is None or self._purging.done():
            self._purging = asyncio.get_running_loop().create_task(self._purge())

    async def _purge(self) -> None:
        fence = self._fence()
        if fence is None:
            return
        before = min(self._dead_before, fence)
        if before <= self._sizes.first:
            return
        # First, so that a reader that misses a message knows why.
        self.first = max(self.first, before)
        if await self._stream.purge(before):
            self._dead_bytes -= self._sizes.between(self._sizes.first, before)
            self._sizes.drop_before(before)
            self._freed(before)

    async def close(self) -> None:
        """Ask for nothing more: nobody needs it, and nobody may answer. Idempotent."""
        if self._purging is not None and not self._purging.done():
            self._purging.cancel()
            await asyncio.wait([self._purging])
