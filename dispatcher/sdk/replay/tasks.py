"""Tasks and futures that are the same in every replay: named by where they were made, and hashed
by that name.

A task's path is its parent's path and its number among the tasks that its parent made: "2.1" is the
first task that the second task of the body made. Nothing that is added in another task changes it.

asyncio keeps tasks in sets, and a set is walked in the order of hashes. Those of objects are
addresses, which differ from one process to the next, and with them the order in which a TaskGroup
cancels. Ours are counted up, so a set of tasks is walked in the order in which they were made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any, Protocol
from zlib import crc32

if TYPE_CHECKING:
    AnyTask = asyncio.Task[Any]
    AnyFuture = asyncio.Future[Any]
else:
    AnyTask = asyncio.Task
    AnyFuture = asyncio.Future


class Place:
    """A task's place in the tree of tasks, and how much it has done: operations, timers and tasks
    are each counted by themselves, so that code wrapped in a timeout moves no operation."""

    __slots__ = ("above", "futures", "hash", "known", "operations", "path", "tasks", "timers")

    def __init__(self, path: str, above: Place | None, known: list[int], number: int = 0) -> None:
        self.path = path
        self.above = above
        self.known = known
        """The operations of this path that are on record, in their order."""
        self.hash = (crc32(above.path.encode()) << 20) + number if above is not None else 0
        self.operations = self.timers = self.tasks = self.futures = 0

    def __repr__(self) -> str:
        return f"<{self.shown}, {self.operations} operations>"

    @property
    def shown(self) -> str:
        """How messages call the task: "the body", "task 2.1"."""
        return f"task {self.path}" if self.path else "the body"

    def next_task(self) -> tuple[str, int]:
        """The path and the number of the next task that is made here."""
        self.tasks += 1
        return (f"{self.path}.{self.tasks}" if self.path else str(self.tasks)), self.tasks

    def next_hash(self) -> int:
        """A hash for the next future that is made here."""
        self.futures += 1
        return (self.hash << 20) + self.futures


class Cancellable(Protocol):
    """What a task tells its loop."""

    cancels: int


class Task(AnyTask):
    """A task of a durable body."""

    __slots__ = ("_durable_loop", "place")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Any],
        place: Place,
        *,
        loop: asyncio.AbstractEventLoop,
        counter: Cancellable,
        name: object,
        context: Context | None,
    ) -> None:
        self.place = place  # first of all: asyncio puts the task into a set
        self._durable_loop = counter
        super().__init__(coroutine, loop=loop, name=str(name or place.shown), context=context)

    def __hash__(self) -> int:
        return self.place.hash

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel it, and have the operations looked through for those that are cancelled by it."""
        self._durable_loop.cancels += 1
        return super().cancel(msg)


class Future(AnyFuture):
    """A future that asyncio, or the user, makes with `loop.create_future()`. Operations have plain
    ones, which asyncio handles faster, and which nobody puts into sets."""

    __slots__ = ("_hash",)

    def __init__(self, number: int, *, loop: asyncio.AbstractEventLoop) -> None:
        self._hash = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._hash
