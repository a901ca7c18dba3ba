"""What a log is to the one who gives its beginning back: see `Reclaimer`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from dispatcher.queue.pending.extents import Extent, Extents, Owner

T = TypeVar("T")


class Source(Protocol):
    """What lies in one log, and how that is copied to its end."""

    @property
    def extents(self) -> Extents:
        """Which parts of the log are needed."""

    @property
    def live_bytes(self) -> int:
        """What takes space in the log and is needed."""

    @property
    def ending_bytes(self) -> int:
        """Bytes of the records that would end everything that is needed now."""

    def cost_bytes(self, extent: Extent, counted: set[Owner]) -> int:
        """Bytes of what has to be copied before an extent can be dropped: what is needed in it, and
        the whole of what is copied as a whole. Owners in `counted`, which were counted with an
        older extent, cost nothing more; others are put there."""

    async def growth_bytes(self, extent: Extent) -> int:
        """By how much the copies of what is needed in an extent are larger than that, at most."""

    def tidy(self) -> bool:
        """Give memory back that is not needed any more, for a millisecond or two at most. True:
        there is more to do."""

    async def copy(self, extents: Sequence[Extent]) -> None:
        """Append what is needed in these extents, the oldest ones, again; return when it is
        durable.

        Raises:
            LogError: the log could not be read (`LogBusy`: something is lacking for a while).
            Refused: there is no space for copies now; what was not copied is where it was.
        """


@dataclass(frozen=True, slots=True)
class ReclaimPolicy:
    """When a log is compacted.

    `slack_bytes`     it may take this much more than twice what is needed: below that, copying
                      gains nothing.
    `dead_end_bytes`  when nothing in the newest extent is needed and it is larger than this, it is
                      dropped as well.
    `group_bytes`     so much is copied, about, before something is trimmed.
    `copy_bytes`      so much is read, and appended again, at once; and
    `copy_most`       so many messages at most.
    `rest_s`          how long nothing is copied after a round that freed nothing, or for which
                      space, descriptors or memory were lacking: every batch would look through the
                      same part of the log again.
    `stretch_bytes`   on a full disk: so much of the log's beginning is to become free at once; that
                      much, if the log does not say where its oldest part ends.
    `spare_bytes`     on a full disk: so much is left, besides what ends everything.
    """

    slack_bytes: int = 32 * 1024 * 1024
    dead_end_bytes: int = 1024 * 1024
    group_bytes: int = 4 * 1024 * 1024
    copy_bytes: int = 256 * 1024
    copy_most: int = 32
    rest_s: float = 1.0
    stretch_bytes: int = 64 * 1024 * 1024
    spare_bytes: int = 256 * 1024


RECLAIM = ReclaimPolicy()


def cost_with_wholes(
    extent: Extent, counted: set[Owner], kind: type[T], whole_bytes: Callable[[T], int]
) -> int:
    """`Source.cost_bytes` where owners of one kind are copied as a whole, in `whole_bytes` each."""
    cost = extent.live_bytes
    for owner, here in extent.owners.items():
        if isinstance(owner, kind):
            cost -= here
            if owner not in counted:
                counted.add(owner)
                cost += whole_bytes(owner)
    return cost
