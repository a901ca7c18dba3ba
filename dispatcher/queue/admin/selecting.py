"""The first lanes of some order, found among hundreds of thousands without holding the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypeVar

from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.lanes.lanes import Lane

SLICE: Final = 400
"""Lanes that are looked at before others get their turn: half a millisecond."""

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
    return -(lane.ready + lane.scheduled), lane.destination.key


async def select(
    lanes: Iterable[L],
    *,
    rank: Callable[[L], Rank],
    limit: int,
    pace: Pace,
    wanted: Callable[[L], bool] = lambda _: True,
    after: Rank | None = None,
) -> Selected[L]:
    """Find the first `limit` lanes whose rank is above `after`, of those that are wanted.

    Lanes may come and go meanwhile: one that came may be missing, one that went may be there.
    """
    every = list(lanes)
    kept: list[tuple[Rank, L]] = []
    total = 0
    more = False
    for start in range(0, len(every), SLICE):
        if start:
            await pace.rest()
        some = [lane for lane in every[start : start + SLICE] if wanted(lane)]
        total += len(some)
        found = [(rank(lane), lane) for lane in some]
        if after is not None:
            found = [one for one in found if one[0] > after]
        if len(kept) == limit:  # most of what comes then is above all that is kept
            most = kept[-1][0]
            count = len(found)
            found = [one for one in found if one[0] < most]
            more = more or count > len(found)
        if found:
            kept = sorted([*kept, *found], key=_rank)
            more = more or len(kept) > limit
            del kept[limit:]
    return Selected([lane for _, lane in kept], total, more)


def _rank(one: tuple[Rank, L]) -> Rank:
    return one[0]
