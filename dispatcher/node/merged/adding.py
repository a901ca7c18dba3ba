"""How what several parts said becomes one answer. Pure.

Pages: each part gives its first items behind the cursor. What a part was not asked about yet begins
at its own next cursor, and nothing behind the first of those may be told: it would come before
items that are still to come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Final, TypeVar

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

N = TypeVar("N", int, float)

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


def lane_pages(pages: Sequence[tuple[int, LanePage]], limit: int) -> LanePage:
    """One page of lanes by name, of one page of each part, each with the number of its process.
    `total` is exact when all are on it, and at most that otherwise: a destination of two parts
    counts twice."""
    ends = [page.next_after for _, page in pages if page.next_after is not None]
    end = min(ends, default=None)
    lanes = sorted(merged_lanes(pages), key=lambda lane: lane.destination)
    told = [lane for lane in lanes if end is None or lane.destination <= end]
    if end is None and len(told) <= limit:
        return LanePage(told, len(told), None)
    total = sum(page.total for _, page in pages)
    last = told[:limit][-1].destination if told else end
    return LanePage(told[:limit], total, last)


def merged_lanes(pages: Sequence[tuple[int, LanePage]]) -> list[LaneView]:
    """A lane for each destination. What belongs to the destination and not to a partition (limit,
    breaker, attempts) all parts of a process say alike, and each process has its own."""
    of_processes: dict[int, dict[str, LaneView]] = {}
    for process, page in pages:
        lanes = of_processes.setdefault(process, {})
        for lane in page.items:
            other = lanes.get(lane.destination)
            lanes[lane.destination] = lane if other is None else _both(other, lane)
    found: dict[str, LaneView] = {}
    for lanes in of_processes.values():
        for name, lane in lanes.items():
            found[name] = _of_two(found[name], lane) if name in found else lane
    return list(found.values())


_BREAKERS: Final = ("closed", "half_open", "open")


def _of_two(one: LaneView, other: LaneView) -> LaneView:
    """The lanes of two processes for one destination: sums, and the worse of both."""
    last = max(one, other, key=lambda lane: lane.last_error_at_us or 0)
    return replace(
        _both(one, other),
        in_flight=one.in_flight + other.in_flight,
        limit=_sum(one.limit, other.limit),
        paused_until_us=_most(one.paused_until_us, other.paused_until_us),
        held=one.held or other.held,
        breaker=max(one.breaker, other.breaker, key=_gravity),
        last_error=last.last_error,
        last_error_at_us=last.last_error_at_us,
        failing_since_us=_least(one.failing_since_us, other.failing_since_us),
        delivered_per_s=_sum(one.delivered_per_s, other.delivered_per_s),
        attempt_p50_ms=_most(one.attempt_p50_ms, other.attempt_p50_ms),
        attempt_p95_ms=_most(one.attempt_p95_ms, other.attempt_p95_ms),
    )


def _gravity(breaker: str) -> int:
    return _BREAKERS.index(breaker) if breaker in _BREAKERS else -1


def _sum(*numbers: N | None) -> N | None:
    known = [one for one in numbers if one is not None]
    return sum(known[1:], known[0]) if known else None


def _most(*numbers: N | None) -> N | None:
    return max((one for one in numbers if one is not None), default=None)


def _least(*numbers: N | None) -> N | None:
    return min((one for one in numbers if one is not None), default=None)


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
    names = [one.name for one in fields(Totals) if one.name != "incomplete"]
    return Totals(**{name: sum(getattr(one, name) for one in answers) for name in names})


def gone(last: Totals) -> Totals:
    """What stays of a part that has left: what it counted since the start of the process."""
    return replace(
        NO_TOTALS,
        accepted_total=last.accepted_total,
        delivered_total=last.delivered_total,
        dead_total=last.dead_total,
    )


class Counted:
    """What the parts have counted: nothing of it is lost while one is not there, or when its
    process starts anew and counts from 0."""

    def __init__(self) -> None:
        self._before = NO_TOTALS
        self._last: dict[int, Totals] = {}

    def told(self, number: int, totals: Totals) -> None:
        """A part says how it is."""
        last = self._last.get(number, NO_TOTALS)
        if any(getattr(totals, name) < getattr(last, name) for name in _COUNTERS):
            self._before = totals_of([self._before, gone(last)])
        self._last[number] = totals

    def left(self, number: int) -> None:
        """A part has left, and counts from 0 if it comes again."""
        last = self._last.pop(number, NO_TOTALS)
        self._before = totals_of([self._before, gone(last)])

    def totals(self, incomplete: Sequence[int]) -> Totals:
        """The sums; of those that did not answer what they had counted when they last did."""
        told = [gone(last) if number in incomplete else last for number, last in self._last.items()]
        return replace(totals_of([self._before, *told]), incomplete=incomplete)


_COUNTERS: Final = ("accepted_total", "delivered_total", "dead_total")


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
