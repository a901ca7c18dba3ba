"""The first lanes of some order, found among hundreds of thousands without holding the loop."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypeVar

from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.lanes.lanes import Lane

AT_ONCE: Final = 50
"""Lanes that are looked at before it is asked whether the slice is over: less than a tenth of a
millisecond."""

L = TypeVar("L")

Rank: TypeAlias = tuple[int, bytes]
"""What lanes are ordered by, lowest first; the destination makes it unique."""


@dataclass(frozen=True, slots=True)
class Selected(Generic[L]):
    """`first` lanes in order, of `total` that were wanted; `more`: some come after them."""

    first: list[L]
    total: int
    more: bool


def by_name(lane: Lane) -> Rank:
    """In the order of their destinations."""
    return 0, lane.destination.key


def by_messages(lane: Lane) -> Rank:
    """Those with most messages first."""
    return -(lane.ready + lane.behind + lane.scheduled), lane.destination.key


async def select(
    parts: Iterable[Sequence[L]],
    *,
    rank: Callable[[L], Rank],
    limit: int,
    pace: Pace,
    wanted: Callable[[L], bool] = lambda _: True,
    after: Rank | None = None,
) -> Selected[L]:
    """Find the first `limit` lanes whose rank is above `after`, of those that are wanted.

    They are given in `parts` of `AT_ONCE` at most, each when it is asked for. Lanes may come and go
    meanwhile: one that came may be missing, one that went may be there.
    """
    kept: list[tuple[Rank, L]] = []
    total = found = 0
    for part in parts:
        if pace.is_over:
            await pace.rest()
        some = [lane for lane in part if wanted(lane)]
        total += len(some)
        for lane in some:
            ranked = rank(lane)
            if after is not None and ranked <= after:
                continue
            found += 1
            if len(kept) < limit or ranked < kept[-1][0]:  # most is above all that is kept
                insort(kept, (ranked, lane), key=_rank)
                del kept[limit:]
    return Selected([lane for _, lane in kept], total, more=found > len(kept))


def _rank(one: tuple[Rank, L]) -> Rank:
    return one[0]
