"""The line in which lanes stand that have calls to run.

Lanes take turns, but ten thousand applications that are gone are ten thousand lanes, and one turn
of each of them takes longer than somebody waits for an answer. So those whose application answers
have four turns of five, as long as they want them; those of which nothing is known yet and those
that fail have one of ten each. Among their like they go one after the other.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from typing import Final, Generic, Protocol, TypeVar


class Standing(IntEnum):
    """What is known of the application of a lane."""

    ANSWERS = 0
    NEW = 1
    FAILS = 2


class Member(Protocol):
    """What stands in the line."""

    standing: Standing


_Lane = TypeVar("_Lane", bound=Member)

FAILURES: Final = 3
"""In a row, until an application that has answered is one that fails."""
_FOUR: Final = (Standing.ANSWERS,) * 4
_TURNS: Final = (*_FOUR, Standing.NEW, *_FOUR, Standing.FAILS)


class Line(Generic[_Lane]):
    """Lanes in the order in which they are asked. Each stands in it once at most."""

    __slots__ = ("_next", "_queues")

    def __init__(self) -> None:
        self._queues: tuple[deque[_Lane], ...] = tuple(deque() for _ in Standing)
        self._next = 0

    def append(self, lane: _Lane) -> None:
        """Stand behind its like."""
        self._queues[lane.standing].append(lane)

    def take(self, *, that_answer: bool) -> _Lane | None:
        """Who is next; of those `that_answer` alone where that is said."""
        if that_answer:
            queue = self._queues[Standing.ANSWERS]
            return queue.popleft() if queue else None
        turn = _TURNS[self._next]
        self._next = (self._next + 1) % len(_TURNS)
        for standing in (turn, Standing.ANSWERS, Standing.NEW, Standing.FAILS):
            queue = self._queues[standing]
            if queue:
                return queue.popleft()
        return None
