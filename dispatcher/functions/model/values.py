"""Values of a call: what it waits for, how it ends, what it is given."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from dispatcher.functions.spans import Span

NONE: Final = 0
"""No call has this key."""
NOT_FROZEN: Final = -1


class Phase(IntEnum):
    """What a call waits for; all of it follows from its events.

    DUE        for a run: the first one (not before `not_before_us`), or a resume.
    SUSPENDED  for results or for time (`poll`).
    OUTSIDE    to be completed from outside: a promise or a channel. It is never run.
    ENDED      a root call whose result is being moved to the results' log.
    """

    DUE = 0
    SUSPENDED = 1
    OUTSIDE = 2
    ENDED = 3


class StateArm(IntEnum):
    """Which field of Poll a state came in, and goes back in."""

    NONE = 0
    LEGACY = 1
    TYPED = 6


class How(IntEnum):
    """How a call ended; the number is stored.

    OK, FAILED  by its own exit (FAILED: a status that is not OK and not retried), or by a server's
                verdict on it.
    EXPIRED, CANCELLED  by the server; its result is an error of that type.
    """

    OK = 1
    FAILED = 2
    EXPIRED = 3
    CANCELLED = 4


@dataclass(frozen=True, slots=True)
class Poll:
    """What a suspended call waits for: `min_results` of what is outstanding, of which `max_results`
    are delivered at most, or `due_us` (0: no timer). Instants are microseconds since the epoch."""

    min_results: int
    max_results: int
    due_us: int


@dataclass(frozen=True, slots=True)
class Result:
    """A result that is durable, and not delivered yet, or kept: a serialized CallResult (output or
    error; `correlation` and the child's id are put in when it is sent)."""

    correlation: int
    child: int
    where: Span
    is_error: bool
