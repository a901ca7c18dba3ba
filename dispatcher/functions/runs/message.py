"""The message that a run is, from its turn to its answer.

Compiled, unlike what is around it: a class that is not cannot derive from one that is.
"""

from __future__ import annotations

from typing import Protocol, cast

from dispatcher.core.message import Home, Message
from dispatcher.functions.lanes.lane import Place
from dispatcher.functions.rules import Asked
from dispatcher.functions.runs.target import Target


class RunHome(Home, Protocol):
    """The partition of a run: `delivered`, `failed` or `taken_back` is called, and only once."""

    def taken_back(self, message: Message) -> None:
        """It was not sent: no attempt was made."""


class RunMessage(Message):
    """The message of a run. `key` and `step` say of which call and step, `asked` what it was given,
    `place` which turn it is, `where` it is sent. Its home is a `RunHome`."""

    __slots__ = ("asked", "key", "place", "step", "where")

    key: int
    step: int
    asked: Asked
    place: Place
    where: Target

    def take_back(self) -> None:
        """It was not sent: tell its home."""
        cast(RunHome, self.home).taken_back(self)
