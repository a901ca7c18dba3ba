"""How what several parts said becomes one answer. Pure.

Pages: each part gives its first items behind the cursor. What a part was not asked about yet begins
at its own next cursor, and nothing behind the first of those may be told: it would come before
items that are still to come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Final

from dispatcher.queue.admin.surface import (
    MOST_GROUPS,
    LanePage,
    LaneView,
    LetterGroup,
    LetterGroups,
    LetterPage,
    LetterView,
    Moved,
    Totals,
    Touched,
    TriedNow,
)

NUMBER_BITS: Final = 8
"""Of a cursor; the others are a part's own."""
_NUMBERS: Final = (1 << NUMBER_BITS) - 1


def begins_at(cursor: int, number: int) -> int:
    """The cursor of a part's own from which a page of letters goes on: the parts up to the one of
    the cursor go on behind its ordinal, the others at it, as two may have the same one."""
    ordinal, last = cursor >> NUMBER_BITS, cursor & _NUMBERS
    return ordinal if number <= last or not ordinal else ordinal - 1


def letter_pages(pages: Sequence[tuple[int, LetterPage]], limit: int) -> LetterPage:
    """One page of the first `limit` dead letters, of one page of each part (by its number)."""
    found: list[tuple[int, LetterView]] = []
    ends: list[int] = []
    for number, page in pages:
        if page.next_cursor is not None:
            ends.append(page.next_cursor << NUMBER_BITS | number)
        for ordinal, item in zip(page.ordinals, page.items, strict=True):
            found.append((ordinal << NUMBER_BITS | number, item))
    found.sort(key=lambda one: one[0])
    end = min(ends, default=None)
    told = [one for one in found if end is None or one[0] <= end]
    if len(told) > limit:
        return LetterPage([item for _, item in told[:limit]], told[limit - 1][0])
    return LetterPage([item for _, item in told], end)


def lane_pages(pages: Sequence[LanePage], limit: int) -> LanePage:
    """One page of lanes by name, of one page of each part. `total` is exact when all are on it, and
    at most that otherwise: a destination of two parts counts twice."""
    ends = [page.next_after for page in pages if page.next_after is not None]
    end = min(ends, default=None)
    lanes = sorted(merged_lanes(pages), key=lambda lane: lane.destination)
    told = [lane for lane in lanes if end is None or lane.destination <= end]
    if end is None and len(told) <= limit:
        return LanePage(told, len(told), None)
    total = sum(page.total for page in pages)
    last = told[:limit][-1].destination if told else end
    return LanePage(told[:limit], total, last)


def merged_lanes(pages: Sequence[LanePage]) -> list[LaneView]:
    """A lane for each destination. What belongs to the destination and not to a partition (limit,
    breaker, attempts) all parts of a process say alike."""
    lanes: dict[str, LaneView] = {}
    for page in pages:
        for lane in page.items:
            other = lanes.get(lane.destination)
            lanes[lane.destination] = lane if other is None else _both(other, lane)
    return list(lanes.values())


def _both(one: LaneView, other: LaneView) -> LaneView:
    oldest = [at for at in (one.oldest_at_us, other.oldest_at_us) if at is not None]
    return replace(
        one,
        ready=one.ready + other.ready,
        scheduled=(one.scheduled or 0) + (other.scheduled or 0),
        oldest_at_us=min(oldest, default=None),
    )


def by_messages(lane: LaneView) -> tuple[int, str]:
    """Most messages first."""
    return -(lane.ready + (lane.scheduled or 0)), lane.destination


def groups_of(answers: Sequence[LetterGroups]) -> LetterGroups:
    """The largest groups of dead letters. `total` as of `lane_pages`."""
    found: dict[tuple[object, ...], LetterGroup] = {}
    for answer in answers:
        for group in answer.items:
            key = (
                *(group.destination, group.status, group.error, group.reason),
                *(group.kind, group.function),
            )
            other = found.get(key)
            found[key] = group if other is None else _both_groups(other, group)
    largest = sorted(found.values(), key=lambda group: -group.count)[:MOST_GROUPS]
    is_whole = all(answer.total == len(answer.items) for answer in answers)
    return LetterGroups(largest, len(found) if is_whole else sum(one.total for one in answers))


def _both_groups(one: LetterGroup, other: LetterGroup) -> LetterGroup:
    return replace(
        one,
        count=one.count + other.count,
        size_bytes=one.size_bytes + other.size_bytes,
        oldest_us=min(one.oldest_us, other.oldest_us),
        newest_us=max(one.newest_us, other.newest_us),
    )


NO_TOTALS: Final = Totals(0, 0, 0, 0, 0, 0, 0, 0, 0)


def totals_of(answers: Sequence[Totals]) -> Totals:
    """The sums."""
    return Totals(*(sum(getattr(one, name.name) for one in answers) for name in fields(Totals)))


def gone(last: Totals) -> Totals:
    """What stays of a part that has left: what it counted since the start of the process."""
    return replace(
        NO_TOTALS,
        accepted_total=last.accepted_total,
        delivered_total=last.delivered_total,
        dead_total=last.dead_total,
    )


def moved_of(answers: Sequence[Moved], unknown: Sequence[str]) -> Moved:
    """The sums, and all ids."""
    return Moved(
        sum(one.count for one in answers),
        [*(name for one in answers for name in one.not_found), *unknown],
        tuple(name for one in answers for name in one.failed),
        tuple(name for one in answers for name in one.unserved),
    )


def touched_of(answers: Sequence[Touched], unknown: Sequence[str]) -> Touched:
    """The same."""
    return Touched(
        sum(one.ready for one in answers),
        sum(one.scheduled for one in answers),
        sum(one.in_flight for one in answers),
        [*(name for one in answers for name in one.not_found), *unknown],
    )


def tried_of(answers: Sequence[TriedNow]) -> TriedNow:
    """The same of one destination; after the first part its breaker is not open any more."""
    return TriedNow(
        answers[0].destination,
        sum(one.retried for one in answers),
        sum(one.waiting for one in answers),
        held=any(one.held for one in answers),
        was_open=any(one.was_open for one in answers),
    )
