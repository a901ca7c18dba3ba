"""Who is told of runs as they happen: timelines, metrics, people who watch."""

from __future__ import annotations

from typing import Protocol

from dispatcher.functions.deciding.decisions import Decision
from dispatcher.functions.model import Call


class Watcher(Protocol):
    """All instants are microseconds since the epoch. Nothing is called but for `warned` while
    `is_wanted` is False. That calls begin and end is what `machine.Listener` is told."""

    @property
    def is_wanted(self) -> bool:
        """Whether anybody wants to know."""

    def run_started(self, call: Call, attempt: int, at_us: int) -> None:
        """An attempt was sent, of this number in its step, from 1."""

    def run_ended(self, call: Call, decision: Decision, started_us: int, at_us: int) -> None:
        """It has ended; the call is still as it was asked."""

    def ends(self, call: Call, result: bytes) -> None:
        """No run of it can be made: it fails with this serialized CallResult."""

    def warned(self, call: Call, what: str) -> None:
        """Something for the operator to look at."""


class Nobody:
    """A watcher who does not listen."""

    __slots__ = ()

    is_wanted = False

    def run_started(self, call: Call, attempt: int, at_us: int) -> None:
        """Not called."""

    def run_ended(self, call: Call, decision: Decision, started_us: int, at_us: int) -> None:
        """Not called."""

    def ends(self, call: Call, result: bytes) -> None:
        """Not called."""

    def warned(self, call: Call, what: str) -> None:
        """Nobody hears it."""
