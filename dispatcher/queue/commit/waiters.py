"""The waiters that most records have: nobody waits, or somebody who awaits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from dispatcher.errors import Refusal, Refused
from dispatcher.queue.pending.extents import Extents


class Noted:
    """A record that is never needed by itself: it only takes space in the log."""

    __slots__ = ("_extents", "_size")

    def __init__(self, extents: Extents, size: int) -> None:
        """`size` is what the record takes in the log."""
        self._extents = extents
        self._size = size

    def stored(self, position: int) -> None:
        """The record is durable."""
        self._extents.note(position, self._size)

    def refused(self, refusal: Refusal) -> None:
        """The log failed, and the partition ends with it."""


class NotedForAll:
    """A record that only takes space in the log, and several who want to know what became of it:
    `thens` are told None when it is durable, or why it is not stored."""

    __slots__ = ("_extents", "_size", "_thens")

    def __init__(
        self, extents: Extents, size: int, thens: Sequence[Callable[[Refusal | None], None]]
    ) -> None:
        """`size` is what the record takes in the log."""
        self._extents = extents
        self._size = size
        self._thens = thens

    def stored(self, position: int) -> None:
        """The record is durable."""
        self._extents.note(position, self._size)
        self._tell(None)

    def refused(self, refusal: Refusal) -> None:
        """The record is not stored."""
        self._tell(refusal)

    def _tell(self, refusal: Refusal | None) -> None:
        """Tell all, whatever one of them raises: the first error is raised in the end."""
        errors: list[Exception] = []
        for then in self._thens:
            try:
                then(refusal)
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]


class Awaited:
    """A record that somebody awaits. `then` is called with its position when it is durable, and has
    to note it; `done` raises `Refused` when it is not stored."""

    __slots__ = ("_then", "done")

    def __init__(self, then: Callable[[int], None]) -> None:
        self._then = then
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def stored(self, position: int) -> None:
        """The record is durable."""
        try:
            self._then(position)
        finally:  # who awaits it would wait for ever
            if not self.done.done():
                self.done.set_result(None)

    def refused(self, refusal: Refusal) -> None:
        """The record is not stored."""
        if not self.done.done():
            self.done.set_exception(Refused(refusal))
            self.done.exception()  # seen: who waited may have been ended


class NotedUnit:
    """A unit of such records, and somebody who awaits it: `done` raises `Refused` when it is not
    stored."""

    __slots__ = ("_extents", "_sizes", "done")

    def __init__(self, extents: Extents, sizes: Sequence[int]) -> None:
        self._extents = extents
        self._sizes = sizes
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def stored(self, positions: Sequence[int]) -> None:
        """See `UnitWaiter`."""
        try:
            for position, size in zip(positions, self._sizes, strict=True):
                self._extents.note(position, size)
        finally:
            if not self.done.done():
                self.done.set_result(None)

    def refused(self, refusal: Refusal) -> None:
        """See `UnitWaiter`."""
        if not self.done.done():
            self.done.set_exception(Refused(refusal))
            self.done.exception()  # seen: who waited may have been ended
