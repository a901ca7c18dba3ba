"""The tasks and asynchronous generators of a body: their places, and where they stand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from weakref import ref

from dispatcher.sdk.replay.tasks import AnyTask, Place, Task


class Population:
    """All of them. `known` gives the operations on record of a path.

    Beside the body's own tree there are three: of callbacks ("c"), which belong to no task; of
    generators that were broken off and are finalized ("g"); of tasks made with `asyncio.Task(…)`
    ("t"), which a loop is not told of. What is added there moves nothing elsewhere.
    """

    def __init__(self, known: Callable[[str], list[int]]) -> None:
        self._known = known
        self._callbacks = Place("c", None, known("c"))
        self._lost = Place("g", None, [])
        self._strangers = Place("t", None, [])
        self._tasks: list[Task] = []
        self._most_tasks = 64
        self._adopted: dict[AnyTask, Place] = {}
        self._generators: list[ref[Any]] = []
        self._most_generators = 64
        self._kept: list[Any] = []

    def root(self) -> Place:
        """The place of the body."""
        return Place("", None, self._known(""))

    def next_below(self, above: Place) -> Place:
        """The place of the next task that the one at `above` makes."""
        path, number = above.next_task()
        return Place(path, above, self._known(path), number)

    def next_lost(self) -> Place:
        """The place of the next task that finalizes a generator."""
        return self.next_below(self._lost)

    def place(self, loop: asyncio.AbstractEventLoop) -> Place:
        """The place of what runs now."""
        task = asyncio.current_task(loop)
        if isinstance(task, Task):
            return task.place
        return self._callbacks if task is None else self._adopt(task)

    def add(self, task: Task) -> None:
        """Keep a task for as long as it runs: asyncio has weak references only, and one that nobody
        else holds would vanish."""
        self._tasks.append(task)
        if len(self._tasks) > self._most_tasks:
            self.sweep()

    def sweep(self) -> None:
        """Let go of tasks that have ended. An exception that nobody has retrieved is logged then,
        if nobody else holds the task."""
        self._tasks = [task for task in self._tasks if not task.done()]
        self._most_tasks = 2 * len(self._tasks) + 64

    def sweep_few(self) -> None:
        """The same where it costs little: in each activation, tasks by the thousand would."""
        if len(self._tasks) <= 32:
            self.sweep()

    def tasks(self) -> list[AnyTask]:
        """The tasks that have not ended, in the order in which they were made."""
        return [task for task in (*self._tasks, *self._adopted) if not task.done()]

    def __len__(self) -> int:
        """How many tasks there are, some that have ended with them."""
        return len(self._tasks) + len(self._adopted)

    def task_at(self, place: Place) -> AnyTask | None:
        """The task that has this place, if it runs."""
        return next((task for task in self.tasks() if self.place_of(task) is place), None)

    def generator_begins(self, generator: Any) -> None:
        """Remember a generator: one that waits when the body is forgotten has to be ended."""
        self._generators.append(ref(generator))
        if len(self._generators) > self._most_generators:
            self._generators = [each for each in self._generators if each() is not None]
            self._most_generators = 2 * len(self._generators) + 64

    def keep(self, generator: Any) -> None:
        """Keep a generator till the end."""
        self._kept.append(generator)

    def generators(self) -> list[Any]:
        """The generators that may not have ended."""
        return [found for each in self._generators if (found := each()) is not None]

    def replayed(self) -> None:
        """Forget what was on record: whatever is done now comes behind it. Tasks that have ended
        are of the past, too: what was to be logged of them was logged."""
        for task in self._tasks:
            if task.done():
                task._log_traceback = False
        self.sweep()
        for place in (self._callbacks, *map(self.place_of, self.tasks())):
            place.known = []

    def forget(self) -> None:
        """Drop everything."""
        self._tasks.clear()
        self._adopted.clear()
        self._generators.clear()
        self._kept.clear()

    def place_of(self, task: AnyTask) -> Place:
        """The place of one of `tasks()`."""
        return task.place if isinstance(task, Task) else self._adopted[task]

    def _adopt(self, task: AnyTask) -> Place:
        place = self._adopted.get(task)
        if place is None:
            place = self._adopted[task] = self.next_below(self._strangers)
        return place
