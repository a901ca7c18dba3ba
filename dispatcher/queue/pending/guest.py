"""A guest: who keeps records of its own in the transaction log, and what it is asked for them.

The queue knows nothing of what they mean. Their kinds are `kinds.GUESTS`; where they are needed the
guest holds their extents (`Extents.hold`). Without a guest a log that has such records is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol

from dispatcher.errors import LogTooNew
from dispatcher.queue.pending.extents import Extent
from dispatcher.txlog import Bounds


class Guest(Protocol):
    """What a partition asks of its guest.

    `live_bytes` is what is needed of it and takes space in the log, `ending_bytes` what the records
    take that would end all of it.
    """

    @property
    def live_bytes(self) -> int: ...

    @property
    def ending_bytes(self) -> int: ...

    def visit(self, position: int, payload: bytes, chunks: AbstractSet[int], first: int) -> None:
        """Take in a record of the guest's while the log is opened: it was noted in the extents.
        `chunks` are the positions of all CHUNK records before it, `first` is where the log begins.
        Perhaps on another thread: nothing that others share is touched.

        Raises:
            LogTooNew: it means something that this version does not know.
        """

    def opened(self, bounds: Bounds) -> None:
        """All records were visited, and the log may be written from now on. On the loop."""

    async def growth_bytes(self, extent: Extent) -> int:
        """By how much the copies of what the guest needs in an extent are larger than what it holds
        there, at most."""

    async def copy(self, extents: Sequence[Extent]) -> None:
        """Append what the guest needs in these extents, the oldest ones, again, and return when it
        is durable.

        Raises:
            LogError, Refused: as `compaction.source.Source.copy` says.
        """


class NoGuest:
    """Nobody."""

    live_bytes = 0
    ending_bytes = 0

    def visit(self, position: int, payload: bytes, chunks: AbstractSet[int], first: int) -> None:
        """See `Guest`. Passing over it would lose what it says."""
        raise LogTooNew(payload[0])

    def opened(self, bounds: Bounds) -> None:
        """See `Guest`."""

    async def growth_bytes(self, extent: Extent) -> int:
        """See `Guest`."""
        return 0

    async def copy(self, extents: Sequence[Extent]) -> None:
        """See `Guest`."""
