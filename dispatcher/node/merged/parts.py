"""The parts, and which of them is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from dispatcher.errors import Refused
from dispatcher.queue.admin.surface import Admin
from dispatcher.queue.records.ids import id_parts
from dispatcher.queue.refusals import MOVED


class Part(Protocol):
    """What speaks for one partition."""

    @property
    def number(self) -> int:
        """The partition's."""

    @property
    def process(self) -> int:
        """The number of the process that has it: what belongs to a destination is one in that."""

    @property
    def admin(self) -> Admin:
        """What is asked. It raises `Refused` with `moved` where the partition left meanwhile or
        its process does not answer."""

    def is_here(self) -> bool:
        """Whether nobody else can have it, so that what it does not know is nowhere."""


@dataclass(frozen=True, slots=True)
class LocalPart:
    """A partition of this process, or one that says `moved` itself (`Part`)."""

    number: int
    admin: Admin
    process: int = 0
    is_here: Callable[[], bool] = lambda: True


class Parts:
    """The parts that can be asked now, by number, of the `expected` ones that there are. Until it
    `knows_all` of them there may be others."""

    def __init__(self) -> None:
        self.expected: frozenset[int] = frozenset()
        self.knows_all = True
        self._parts: dict[int, Part] = {}

    def __iter__(self) -> Iterator[Part]:
        """In the order of their numbers. Those that come or go meanwhile change nothing."""
        return iter([self._parts[number] for number in sorted(self._parts)])

    def get(self, number: int) -> Part | None:
        """The part that can be asked now."""
        return self._parts.get(number)

    def add(self, part: Part) -> None:
        """It can be asked from now on."""
        self._parts[part.number] = part
        self.expected |= {part.number}

    def remove(self, number: int) -> Part | None:
        """It can't be any more, and is expected back. Returns it."""
        return self._parts.pop(number, None)

    def forget(self, number: int) -> Part | None:
        """It can't be any more, and never again."""
        self.expected -= {number}
        return self.remove(number)

    @property
    def missing(self) -> Sequence[int]:
        """Those that can't be asked now."""
        return sorted(self.expected - self._parts.keys())

    def of(self, message_id: str) -> Part | None:
        """The part that knows this id, if any does.

        Raises:
            Refused: it is not here now.
        """
        number = id_parts(message_id.encode("ascii"))[0]
        part = self._parts.get(number)
        if part is None and (number in self.expected or not self.knows_all):
            raise Refused(MOVED)
        return part

    def check_all(self) -> None:
        """Raise `Refused` when one is not here now."""
        if self.missing:
            raise Refused(MOVED)

    def share(self, ids: Sequence[str]) -> tuple[dict[int, list[str]], list[str]]:
        """The ids of each part by its number, and those that none knows.

        Raises:
            Refused: a part is not here now, or may not be.
        """
        shares: dict[int, list[str]] = {}
        unknown: list[str] = []
        for one in ids:
            part = self.of(one)
            if part is None:
                unknown.append(one)
            elif not part.is_here():
                raise Refused(MOVED)
            else:
                shares.setdefault(part.number, []).append(one)
        return shares, unknown
