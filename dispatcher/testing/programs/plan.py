"""When the results of a program's calls come, in which order, and how many at a time.

A plan is the same whatever goes wrong on the way: it draws once for each activation that counts,
and from nothing but its seed and what is outstanding.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from dispatcher.sdk.replay.model import Failure, Kind, Operation, Result
from dispatcher.testing.programs.stage import value_of

QUARTER_US = 250_000


class Batches(Enum):
    SINGLE = "single"  # each result by itself, as soon as it is there
    ALL = "all"  # nothing before all are there, or a timer is due
    RANDOM = "random"  # some of them, in any order, late


@dataclass(frozen=True, slots=True)
class Due:
    """A result that is there at `at_us`."""

    at_us: int
    id: int
    result: Result


@dataclass(frozen=True, slots=True)
class Turn:
    """The next activation: at `now_us`, with these results, in this order."""

    now_us: int
    due: Sequence[Due]


@dataclass(slots=True)
class Plan:
    """`cancel_at`: the activation, counted from 0, that asks the call to end; `refuse_at`: the
    first one at or after which a poll's calls are refused. None: never."""

    seed: int
    batches: Batches
    cancel_at: int | None = None
    refuse_at: int | None = None
    _drawn: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._drawn = random.Random(self.seed)

    def due(self, id: int, operation: Operation, *, now_us: int) -> Due:
        """When and how a call that is made now ends. Results often come together with timers."""
        quarters = random.Random(self.seed * 1_000_003 + id).randrange(24)
        return Due(now_us + quarters * QUARTER_US, id, result_of(operation))

    def turn(
        self, now_us: int, wake_us: int | None, outstanding: Sequence[Due], *, is_flush: bool
    ) -> Turn:
        """What comes next. `outstanding` is in the order of `at_us`, then of ids; something is
        outstanding, or there is a timer, or it is a flush."""
        if is_flush:
            return Turn(now_us, [due for due in outstanding if due.at_us <= now_us][:1])
        instants = [due.at_us for due in outstanding]
        match self.batches:
            case Batches.SINGLE:
                at_us = max(now_us, min([*instants[:1], *_some(wake_us)]))
                return Turn(at_us, [due for due in outstanding if due.at_us <= at_us][:1])
            case Batches.ALL:
                at_us = max(now_us, min([*instants[-1:], *_some(wake_us)]))
                return Turn(at_us, [due for due in outstanding if due.at_us <= at_us])
            case Batches.RANDOM:
                return self._random_turn(now_us, wake_us, outstanding)

    def _random_turn(self, now_us: int, wake_us: int | None, outstanding: Sequence[Due]) -> Turn:
        earliest = min([due.at_us for due in outstanding[:1]] + _some(wake_us))
        at_us = max(now_us, earliest) + self._drawn.choice((0, 0, 1, 2, 6)) * QUARTER_US
        there = [due for due in outstanding if due.at_us <= at_us]
        self._drawn.shuffle(there)
        is_woken = wake_us is not None and wake_us <= at_us
        fewest = 0 if is_woken else min(1, len(there))
        return Turn(at_us, there[: self._drawn.randint(fewest, len(there))])


def result_of(operation: Operation) -> Result:
    """What a call or a step of a program ends with: a number that follows from its own, or in one
    of ten an error."""
    number = int(operation.input.data)
    if number % 10 == 0:
        return Failure("app.Broken", f"{operation.function} of {number}", value=b"\x00v")
    return value_of(number * 7 + (operation.kind is Kind.STEP))


def _some(instant: int | None) -> list[int]:
    return [] if instant is None else [instant]
