"""What the machine keeps beside calls, and whom it tells: who holds the log, and who acts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from dispatcher.functions.model import Call
from dispatcher.functions.spans import Span

Owner = object
"""Whose spans are held: a Call, a KnownFact, a Kept."""


class Holder(Protocol):
    """Who keeps what is needed in the log."""

    def enter(self, call: Call, parent: Call | None) -> None:
        """It is in the table from now on. What brought it there is the event that is being applied,
        and, where it has a parent, all that the parent came from."""

    def leave(self, call: Call) -> None:
        """It is in the table no more."""

    def copied(self, calls: Sequence[Call], base: int) -> None:
        """All calls with the same root are copied: what they came from is not needed any more, but
        the log from `base` on."""

    def hold(self, owner: Owner, where: Span) -> None:
        """The bytes there are needed by `owner`; it may say so more than once."""

    def release(self, owner: Owner, where: Span) -> None:
        """It does not need them any more."""


class Listener(Protocol):
    """Who acts on what events have changed. Called in the middle of `apply`: it only takes note."""

    def is_due(self, call: Call) -> None:
        """It is to be run: the first time, or resumed, not before its times."""

    def waits(self, call: Call) -> None:
        """It is suspended, or waits for somebody outside: until `poll.due_us` and `expires_us`."""

    def is_asked_to_end(self, call: Call) -> None:
        """Somebody wants it to end: at once, or when it has cleaned up. It goes on to be what it
        was until the next of these tells more."""

    def has_ended(self, call: Call) -> None:
        """A root call has ended; its result has to go where results are kept."""

    def is_gone(self, call: Call) -> None:
        """It is in the table no more. For a child that is its end (`how`), for a root call the
        moment when nothing of it is in this log any more."""


@dataclass(slots=True, eq=False)
class KnownFact:
    """A fact that is in force."""

    space: str
    name: str
    where: Span
    expires_us: int


@dataclass(slots=True, eq=False)
class Kept:
    """A result from outside that is kept: of a promise, or a value of a channel, which has a
    `number`."""

    application: str
    name: str
    where: Span
    is_error: bool
    expires_us: int
    number: int = 0
