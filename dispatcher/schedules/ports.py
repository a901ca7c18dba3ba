"""What keeping schedules needs of others: a place for facts, and makers of what is planned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from dispatcher.schedules.plans import Firing, Planned

Ended = Callable[[int, str | None], None]
"""Told the key of what has ended, and the word for how, where that is known. Only takes note."""


class Change(NamedTuple):
    """A fact that is set, or forgotten (`value` None)."""

    space: str
    name: str
    value: bytes | None


class Facts(Protocol):
    """Small named things that outlive a start of the process."""

    def names(self, space: str) -> Sequence[str]:
        """Those that are known."""

    async def read(self, space: str, name: str) -> bytes | None:
        """The value of one, None where it is not known.

        Raises:
            LogBusy: ask again.
        """

    async def store(self, changes: Sequence[Change]) -> None:
        """Change these, all or none; returns when that is durable.

        Raises:
            Refused: they are not stored.
        """


class Whose(NamedTuple):
    """A schedule, for its maker. `what` is without its payload."""

    application: str
    name: str
    what: Planned


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be made, of which schedule, and for which time.

    `made_as` is told its key, once, before it can have ended, and returns the fact that says that
    this firing is done.
    """

    whose: Whose
    what: Planned
    at_us: int
    made_as: Callable[[int], Change]


class Maker(Protocol):
    """Makes one kind of what is planned, and knows what became of it. Things have keys.

    `stores_marks` says that `make` stores what `made_as` returns, together with what it makes.
    Otherwise that is stored later, and a crash in between is noticed by `found`.

    `keeps_ends` says that `ended_as` knows also after a restart how things have ended. Otherwise
    marks keep it.
    """

    @property
    def stores_marks(self) -> bool: ...

    @property
    def keeps_ends(self) -> bool: ...

    async def make(self, order: Order) -> None:
        """Make it; returns when it is durable. A second order for the same time makes nothing, if
        `stores_marks` is False, and has the key of the first.

        Raises:
            Refused, LogBusy: it was not made.
        """

    def found(self, whose: Whose, at_us: int) -> int | None:
        """The key of what was made for that time, if it was; None where `stores_marks`. Asked when
        the process has started, before anything is made."""

    def tell(self, ended: Ended) -> None:
        """Tell what ends, from now on."""

    def watch(self, whose: Whose, firing: Firing) -> None:
        """This was made before the process started, and may have ended: tell it when it has."""

    def look(self) -> float | None:
        """Tell what has ended meanwhile, and after how many seconds to look again; None: whenever
        something is made."""

    def is_alive(self, key: int) -> bool:
        """Whether something that was made has not ended."""

    def id_of(self, key: int) -> str:
        """Its id on the wire."""

    def state_now(self, key: int) -> str | None:
        """What it does, in the API's word; None: nothing is seen of it any more."""

    async def ended_as(self, firing: Firing) -> str | None:
        """How it has ended, in the API's word; None: that is not known any more."""
