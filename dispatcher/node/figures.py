"""What a process tells of itself for the history and the overview of its node, and how what several
tell becomes one. Plain values, as they go from one process to another.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import listdir
from typing import Final

from dispatcher.api.health import Health
from dispatcher.api.outlook import LastLetter
from dispatcher.core.clock import QueueUs, SteadyClock
from dispatcher.ingress.listener import Listener
from dispatcher.node.ailing import ailing, find_ailing
from dispatcher.node.counted import Count, Observed
from dispatcher.node.history import Counts
from dispatcher.node.problems import MOST_NAMED, Ailing, Oldest
from dispatcher.node.whole import STATES, Whole
from dispatcher.queue.admin.oldest import Oldest as OldestHere
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.commit.stalls import Pace as DiskPace
from dispatcher.queue.deadletters.letters import Letters
from dispatcher.queue.lanes.gates import opens_at

_LAST_LETTERS: Final = 3
_MOST_ROWS: Final = 2000
_HOUR_US: Final = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Figures:
    """What is counted: totals since the start of the process, and how many there are now."""

    accepted_total: int
    delivered_total: int
    dead_total: int
    attempts_failed: int
    refused: int
    states: Mapping[str, int]
    dead: int
    pending: int
    log_bytes: int
    live_bytes: int
    accept: Counts
    attempt: Counts

    @property
    def counted(self) -> Figures:
        """What stays of a process that is away, or has started anew."""
        return replace(
            self, states=dict.fromkeys(STATES, 0), dead=0, pending=0, log_bytes=0, live_bytes=0
        )


def figures_of(whole: Whole, listener: Listener) -> Figures:
    """Those of this process."""
    attempts = whole.attempts()
    return Figures(
        accepted_total=whole.counted(Count.ACCEPTED),
        delivered_total=whole.counted(Count.DELIVERED),
        dead_total=whole.counted(Count.DEAD),
        attempts_failed=sum(attempts.values()) - attempts.get("delivered", 0),
        refused=sum(listener.refused.values()),
        states=whole.count_states(),
        dead=whole.dead,
        pending=whole.pending,
        log_bytes=whole.log_bytes,
        live_bytes=whole.live_bytes,
        accept=Counts.of(whole.histogram(Observed.ACCEPT_US)),
        attempt=Counts.of(
            whole.histogram(Observed.SUCCESS_US), whole.histogram(Observed.FAILURE_US)
        ),
    )


def sums_of(several: Sequence[Figures]) -> Figures:
    """Those of several processes, one at least."""

    def total(read: Callable[[Figures], int]) -> int:
        return sum(map(read, several))

    return Figures(
        accepted_total=total(lambda one: one.accepted_total),
        delivered_total=total(lambda one: one.delivered_total),
        dead_total=total(lambda one: one.dead_total),
        attempts_failed=total(lambda one: one.attempts_failed),
        refused=total(lambda one: one.refused),
        states={state: sum(one.states.get(state, 0) for one in several) for state in STATES},
        dead=total(lambda one: one.dead),
        pending=total(lambda one: one.pending),
        log_bytes=total(lambda one: one.log_bytes),
        live_bytes=total(lambda one: one.live_bytes),
        accept=_together([one.accept for one in several]),
        attempt=_together([one.attempt for one in several]),
    )


def _together(several: Sequence[Counts]) -> Counts:
    first = several[0]
    alike = [one for one in several if one.bounds == first.bounds]  # others are another version's
    columns = zip(*(one.counts for one in alike), strict=True)
    return Counts(first.bounds, tuple(map(sum, columns)), sum(one.sum for one in alike))


@dataclass(frozen=True, slots=True)
class Sight:
    """What an overview looks at. `failing` and `held` are the worst, the worst first; see
    `ailing.Ailments`. `letters_age_s` is the age of the oldest dead letter by the uptime of its
    log, `descriptors_part` of those of the process, 0 to 1; `not_ready` the slug of `/readyz` and
    its sentence, None while all is accepted."""

    lanes: int
    failing: Sequence[Ailing]
    failing_total: int
    failing_waiting_total: int
    held: Sequence[Ailing]
    held_total: int
    held_waiting_total: int
    lacking_since_us: int | None
    is_slow: bool
    oldest_accepted_at_us: int | None
    oldest: Oldest | None
    dead_lately: int
    letters_bytes: int
    letters_age_s: float | None
    last_letters: Sequence[LastLetter]
    descriptors_part: float
    not_ready: tuple[str, str] | None


async def sight_of(whole: Whole, pace: Pace, descriptors_part: float, health: Health) -> Sight:
    """That of this process: looks at all lanes, in slices."""
    clock, oldest = whole.clock, whole.oldest
    ailments = await find_ailing(whole.destinations, clock, pace, most=MOST_NAMED)
    lacking = ailments.lacking_since
    since_us = clock.wall_us() - _HOUR_US
    return Sight(
        lanes=ailments.lanes,
        failing=[ailing(lane, clock) for lane in ailments.failing],
        failing_total=ailments.failing_total,
        failing_waiting_total=ailments.failing_waiting_total,
        held=[ailing(lane, clock) for lane in ailments.held],
        held_total=ailments.held_total,
        held_waiting_total=ailments.held_waiting_total,
        lacking_since_us=None if lacking is None else clock.to_wall(QueueUs(lacking)),
        is_slow=DiskPace.SLOW in whole.paces,
        oldest_accepted_at_us=None if oldest is None else oldest.accepted_at,
        oldest=_oldest(oldest, clock),
        dead_lately=whole.total(lambda part: part.dead_letters.letters.count_after(since_us)),
        letters_bytes=whole.total(lambda part: part.dead_letters.letters.size_bytes),
        letters_age_s=_letters_age_s(whole),
        last_letters=_last_letters(whole),
        descriptors_part=descriptors_part,
        not_ready=None if health.reason is None else (health.reason, health.message),
    )


def seen_together(several: Sequence[Sight]) -> Sight:
    """What several processes see, one at least. A destination that fails in two of them is one; how
    many there are beside those that are named is at least what one of them says."""
    failing, failing_more = _named_once([one.failing for one in several])
    held, held_more = _named_once([one.held for one in several])
    letters = [letter for one in several for letter in one.last_letters]
    letters.sort(key=lambda letter: letter.dead_at_us, reverse=True)
    oldest = [one for one in several if one.oldest_accepted_at_us is not None]
    first = min(oldest, key=lambda one: one.oldest_accepted_at_us or 0, default=several[0])
    return Sight(
        lanes=max(one.lanes for one in several),
        failing=failing,
        failing_total=max(failing_more, *(one.failing_total for one in several)),
        failing_waiting_total=max(failing_more, *(one.failing_waiting_total for one in several)),
        held=held,
        held_total=max(held_more, *(one.held_total for one in several)),
        held_waiting_total=max(held_more, *(one.held_waiting_total for one in several)),
        lacking_since_us=_least([one.lacking_since_us for one in several]),
        is_slow=any(one.is_slow for one in several),
        oldest_accepted_at_us=first.oldest_accepted_at_us,
        oldest=first.oldest,
        dead_lately=sum(one.dead_lately for one in several),
        letters_bytes=sum(one.letters_bytes for one in several),
        letters_age_s=max(
            (one.letters_age_s for one in several if one.letters_age_s is not None), default=None
        ),
        last_letters=letters[:_LAST_LETTERS],
        descriptors_part=max(one.descriptors_part for one in several),
        not_ready=next((one.not_ready for one in several if one.not_ready is not None), None),
    )


def _named_once(several: Sequence[Sequence[Ailing]]) -> tuple[list[Ailing], int]:
    """The worst of all, and how many have a name here."""
    found: dict[str, Ailing] = {}
    for one in (one for some in several for one in some):
        other = found.get(one.destination)
        found[one.destination] = one if other is None else _both(other, one)
    worst = sorted(found.values(), key=lambda one: (-one.waiting, one.destination))
    return worst[:MOST_NAMED], len(found)


def _both(one: Ailing, other: Ailing) -> Ailing:
    return replace(
        one,
        waiting=one.waiting + other.waiting,
        since_us=_least([one.since_us, other.since_us]),
        last_error=one.last_error or other.last_error,
    )


def _least(numbers: Sequence[int | None]) -> int | None:
    return min((one for one in numbers if one is not None), default=None)


def _oldest(oldest: OldestHere | None, clock: SteadyClock) -> Oldest | None:
    if oldest is None or oldest.accepted_at is None or oldest.lane is None or oldest.is_delayed:
        return None
    now_us = clock.now_us()
    peer = oldest.lane.peer
    is_well = not (peer.held or peer.trail.failing_since or opens_at(peer, now_us))
    return Oldest(str(oldest.lane.destination), oldest.accepted_at, is_well)


def _letters_age_s(whole: Whole) -> float | None:
    ages_s = [
        part.dead_letters.uptime.now_s - part.dead_letters.letters.uptime_s[first]
        for part in whole.parts
        if (first := next(part.dead_letters.letters.alive(), None)) is not None
    ]
    return max(ages_s, default=None)


def _last_letters(whole: Whole) -> list[LastLetter]:
    found = [one for part in whole.parts for one in _last_of(part.dead_letters.letters)]
    found.sort(key=lambda one: one.dead_at_us, reverse=True)
    return found[:_LAST_LETTERS]


def _last_of(letters: Letters) -> list[LastLetter]:
    """The last ones to die, the latest first."""
    found: list[LastLetter] = []
    for row in range(letters.rows - 1, max(-1, letters.rows - 1 - _MOST_ROWS), -1):
        if not letters.is_alive(row):
            continue
        cause = letters.cause(letters.cause_key(row))
        name = letters.id(row).decode("ascii")
        word = cause.error or (f"http_{cause.status}" if cause.status else cause.reason)
        found.append(LastLetter(name, cause.destination, word, letters.dead_at[row]))
        if len(found) == _LAST_LETTERS:
            break
    return found


def used_descriptors() -> float:
    """How much of its file descriptors the process uses, 0 to 1. Blocks: with ten thousand of them
    counting takes 10 ms."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return 0.0
    return len(listdir("/proc/self/fd")) / limit
