"""The part of a backup that another process makes: copies of the logs of its partitions, beside
those of the desk's process, in the same directory.

    cut     as soon as it is asked, which is after the desk's process has cut its own: of what goes
            from partition 0 to another one, such as a message of a schedule, there is rather one
            too many than one too few, and its key says that it is the same
    copied  at once, under names of their own (`waiting_name`); the desk moves them to their places
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from dispatcher.core.rate import Rate
from dispatcher.errors import LogError, Refusal, Refused
from dispatcher.node.backup.manifest import Part, names_of
from dispatcher.peers.calls import Asking, Calls
from dispatcher.queue.admin.surface import Course
from dispatcher.txlog.files import FileLog
from dispatcher.txlog.files.cut import Cut

STEER_S: Final = 0.25


def waiting_name(name: str) -> str:
    """The name of a copy that is not in its place yet: in the directory of the backup itself."""
    return f"copying-{name.replace('/', '-')}"


@dataclass(frozen=True, slots=True)
class Copies:
    """The logs that are copied, with the names that they are to have, and the numbers of their
    partitions; first when they are cut, and again when all of them are copied (`is_done`)."""

    parts: Sequence[Part]
    numbers: Sequence[int]
    is_done: bool = False

    @property
    def total_bytes(self) -> int:
        """Of all of them."""
        return sum(part.size_bytes for part in self.parts)


class Copying(Protocol):
    """A process that copies its logs."""

    def copy(self, directory: str, *, course: Course | None = None) -> AsyncIterator[Copies]:
        """Cut the logs and copy them into a directory, at the rate of the course, in bytes."""


class CopyingHere:
    """This process (`Copying`)."""

    def __init__(self, logs: Mapping[int, tuple[FileLog, FileLog]]) -> None:
        """The two logs of each of its partitions, by number."""
        self._logs = logs

    async def copy(
        self, directory: str, *, course: Course | None = None
    ) -> AsyncGenerator[Copies, None]:
        """See `Copying`."""
        course = course or Course()
        taken: list[tuple[FileLog, Cut, Part]] = []
        try:
            for number, both in sorted(self._logs.items()):
                for name, log in zip(names_of(number), both, strict=True):
                    cut = log.cut()
                    taken.append((log, cut, Part(name, cut.end, cut.size_bytes)))
            parts, numbers = [part for _, _, part in taken], sorted(self._logs)
            yield Copies(parts, numbers)

            async def told(size_bytes: int) -> None:
                course.did(size_bytes)
                await course.turn()

            for log, cut, part in taken:
                await log.copy_to(Path(directory) / waiting_name(part.directory), cut, told)
            yield Copies(parts, numbers, is_done=True)
        except OSError as error:
            raise LogError(str(error)) from error
        finally:
            for log, _, _ in taken:
                log.let_go()


class RemoteCopying:
    """Another process (`Copying`)."""

    def __init__(self, calls: Calls) -> None:
        self._asking = Asking(Copying, calls)

    def copy(self, directory: str, *, course: Course | None = None) -> AsyncIterator[Copies]:
        """See `Copying`."""
        return self._asking.many(Copying.copy, directory, course=course)


class Elsewhere:
    """The copies that all other processes make for one backup. `parts`, and the
    `numbers` of their partitions, are known when it has begun."""

    def __init__(self, processes: Sequence[Copying], course: Course) -> None:
        self.parts: list[Part] = []
        self.numbers: list[int] = []
        self._course = course
        self._share = len(processes) + 1
        self._shares = [Course(self._rate) for _ in processes]
        self._steps: list[AsyncIterator[Copies]] = []
        self._processes = processes
        self._told = 0
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def _rate(self) -> Rate | None:
        """A share of the rate: as many processes copy at once."""
        rate = self._course.rate
        return None if rate is None else Rate(rate.count, rate.period_us * self._share, rate.burst)

    async def begin(self, directory: Path) -> None:
        """Have all logs cut.

        Raises:
            Refused: a process is not there, or cannot; nothing is copied then.
        """
        self._steps = [
            one.copy(str(directory), course=share)
            for one, share in zip(self._processes, self._shares, strict=True)
        ]
        try:
            for copies in await asyncio.gather(*(anext(steps) for steps in self._steps)):
                self.parts += copies.parts
                self.numbers += copies.numbers
        except LogError as error:
            await self.end()
            raise Refused(Refusal(503, "log_failed", str(error), 5)) from error
        except BaseException:
            await self.end()
            raise
        self._tasks = [asyncio.ensure_future(self._copied(steps)) for steps in self._steps]

    async def _copied(self, steps: AsyncIterator[Copies]) -> None:
        async for copies in steps:
            if copies.is_done:
                return
        raise LogError("another process did not copy all of its logs")

    async def wait(self) -> AsyncGenerator[int, None]:
        """Until all is copied: how many bytes more, now and then.

        Raises:
            Refused, LogError: a process could not.
        """
        while not all(task.done() for task in self._tasks):
            await asyncio.wait(self._tasks, timeout=STEER_S, return_when=asyncio.FIRST_EXCEPTION)
            yield self.steer()
            if any(task.done() and task.exception() is not None for task in self._tasks):
                break
        for task in self._tasks:
            if task.done():
                task.result()
        yield self.steer()

    def steer(self) -> int:
        """Pass the course on; returns how many bytes were copied since the last time."""
        for share in self._shares:
            if share.rate != self._rate:
                share.change_rate(self._rate)
            if self._course.is_cancelled:
                share.cancel()
        done = sum(share.done for share in self._shares)
        more, self._told = done - self._told, done
        return more

    async def end(self) -> None:
        """Copy nothing more. Idempotent."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for steps in self._steps:
            if isinstance(steps, AsyncGenerator):
                await steps.aclose()
