"""Making a backup while the server runs: all logs as they are at one moment.

The logs are cut in one turn of the event loop, and that is what makes them fit. Whatever goes from
the transaction log to another is durable in the second before the loop is told, and only then is it
taken out of the first: so where the second log is cut before something came, the first is cut
before it went. The copy is a state that a power cut at that moment could have left, no more and no
less: nothing is missing from it, and a start settles what is in two logs, as after a crash.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dispatcher
from dispatcher.api.backups import BackupState, BackupView
from dispatcher.core.clock import Clock
from dispatcher.core.instants import rfc3339
from dispatcher.errors import ConfigError, LogError, Refusal, Refused
from dispatcher.node.backup.elsewhere import Copying, Elsewhere, waiting_name
from dispatcher.node.backup.manifest import (
    AUDIT,
    DEAD_LETTER,
    MANIFEST,
    RESULTS,
    TRANSACTION,
    UNFINISHED,
    Manifest,
    Part,
    names_of,
)
from dispatcher.node.layout import NAME, read_layout
from dispatcher.node.places import audit_of, results_of
from dispatcher.queue.admin.course import Course
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.supervisor import Supervisor
from dispatcher.txlog.files import FileLog
from dispatcher.txlog.files.cut import Cut, sync_directory


class _Stopped(Exception):
    """Its course ends it before it is whole."""


class BackupFailed(Exception):
    """The copy cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Logs:
    """The logs of the server, and where the first two lie. `results` and
    `audit` say which ones have those, once they are open: they may be made at any time. `others`
    are the two logs of each partition but the first, by its number."""

    transaction: FileLog
    dead_letter: FileLog
    paths: tuple[Path, Path]
    results: Callable[[], FileLog | None] = lambda: None
    audit: Callable[[], FileLog | None] = lambda: None
    others: Mapping[int, tuple[FileLog, FileLog]] = field(default_factory=dict)

    @property
    def named(self) -> list[tuple[str, FileLog]]:
        """Those that are open, each with its name in a backup. The transaction log first."""
        found = [(TRANSACTION, self.transaction), (DEAD_LETTER, self.dead_letter)]
        for number, (transaction, dead_letter) in sorted(self.others.items()):
            names = names_of(number)
            found += [(names[0], transaction), (names[1], dead_letter)]
        later = [(RESULTS, self.results()), (AUDIT, self.audit())]
        return [*found, *((name, log) for name, log in later if log is not None)]

    @property
    def places(self) -> tuple[Path, ...]:
        """Where no backup can be made."""
        return *self.paths, results_of(self.paths[0]), audit_of(self.paths[0])


@dataclass(frozen=True, slots=True)
class _Taken:
    """A log that is cut for a backup."""

    name: str
    log: FileLog
    cut: Cut


class Backups:
    """Makes one backup at a time, and says how far it is (`api.backups.Backups`)."""

    def __init__(
        self,
        logs: Logs,
        *,
        clock: Clock,
        events: Events,
        supervisor: Supervisor,
        verify: Callable[[Path], Sequence[str]] | None = None,
        processes: Sequence[Copying] = (),
    ) -> None:
        """`verify` is for tests: the command that looks at a log, see `_verify_command`.
        `processes` are the other ones of the node."""
        self._processes = processes
        self._elsewhere = Elsewhere((), Course())
        self._is_beginning = False
        self._logs = logs
        self._clock = clock
        self._events = events
        self._supervisor = supervisor
        self._verify = _verify_command if verify is None else verify
        self._view = BackupView(BackupState.NONE)
        self._task: asyncio.Task[None] | None = None
        self._is_new = False
        self._made: list[Path] = []
        self._taken: list[_Taken] = []
        self._error: str | None = None
        self._course = Course()

    @property
    def view(self) -> BackupView:
        """The backup that is being made, or the last one."""
        return self._view

    async def start(self, directory: Path, course: Course) -> BackupView:
        """Begin a backup into a directory that is new or empty. The bytes that are copied are
        counted in the course, and copied at its rate.

        Raises:
            Refused: `backup_running`, or `backup_directory`: it cannot be used.
        """
        self._check_idle()
        is_new = await asyncio.to_thread(_prepare, directory, self._logs.places)
        self._check_idle()  # somebody else came meanwhile
        now = self._clock.now_us()
        try:
            taken = self._cut()
        except LogError as error:
            raise Refused(Refusal(503, "log_failed", str(error), 5)) from error
        elsewhere = await self._begin_elsewhere(directory, course, taken)
        self._elsewhere = elsewhere
        self._view = BackupView(
            BackupState.RUNNING,
            directory=str(directory),
            total_bytes=sum(one.cut.size_bytes for one in taken)
            + sum(part.size_bytes for part in elsewhere.parts),
            started_at_us=now,
        )
        self._is_new = is_new
        self._made = [directory / waiting_name(part.directory) for part in elsewhere.parts]
        self._taken = taken
        self._error = None
        self._course = course
        course.total = self._view.total_bytes
        self._task = self._supervisor.spawn("backup", self._run(directory))
        return self._view

    async def _begin_elsewhere(
        self, directory: Path, course: Course, taken: Sequence[_Taken]
    ) -> Elsewhere:
        """Have the other processes cut their logs, after those of this one were cut."""
        elsewhere = Elsewhere(self._processes, course)
        if not self._processes:
            return elsewhere
        self._is_beginning = True
        try:
            await elsewhere.begin(directory)
        except BaseException:
            for one in taken:
                one.log.let_go()
            raise
        finally:
            self._is_beginning = False
        return elsewhere

    def _check_idle(self) -> None:
        if self._view.state is BackupState.RUNNING or self._is_beginning:
            where = "" if self._is_beginning else f" into {self._view.directory}"
            message = f"A backup{where} is being made; wait for its end."
            raise Refused(Refusal(409, "backup_running", message))

    def _cut(self) -> list[_Taken]:
        """Nothing is awaited between one and the next."""
        taken: list[_Taken] = []
        try:
            for name, log in self._logs.named:
                taken.append(_Taken(name, log, log.cut()))
        except BaseException:
            for one in taken:
                one.log.let_go()
            raise
        return taken

    async def stop(self) -> BackupView:
        """End the backup that is being made, and remove what there is of it. Idempotent."""
        task = self._task
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task])
            if self._task is task:  # and nobody has begun another since
                await self._clear()  # it may have been cancelled before its first step
        return self._view

    async def _run(self, directory: Path) -> None:
        began = time.monotonic()
        try:
            await self._make(directory)
            self._end(BackupState.MADE)
            self._events.backup_made(
                directory=str(directory),
                size_bytes=self._view.total_bytes,
                took_ms=int((time.monotonic() - began) * 1000),
            )
        except _Stopped:
            pass  # which is told as its state
        except (OSError, ConfigError, LogError, BackupFailed, Refused) as error:
            self._error = str(error)
            self._events.backup_failed(directory=str(directory), reason=str(error))
        except Exception as error:  # a mistake, which the supervisor tells
            self._error = f"{type(error).__name__}: {error}"
            raise
        finally:
            await self._clear()

    async def _clear(self) -> None:
        """Let go of the logs and, unless it is whole, remove what there is of the backup.
        Idempotent."""
        for one in self._taken:
            one.log.let_go()
        await self._elsewhere.end()
        if self._view.state is not BackupState.RUNNING:
            return
        assert self._view.directory is not None
        place = Path(self._view.directory)
        await asyncio.to_thread(_remove, place, self._made, is_new=self._is_new)
        state = BackupState.STOPPED if self._error is None else BackupState.FAILED
        self._end(state, self._error)

    async def _make(self, directory: Path) -> None:
        if not await self._course.turn():  # the rate counts from here
            raise _Stopped
        for one in self._taken:
            self._made.append(directory / one.name)
            try:
                await one.log.copy_to(directory / one.name, one.cut, self._copied)
            except FileExistsError:  # another server makes a backup there
                self._made.pop()
                raise
        parts = [Part(one.name, one.cut.end, one.cut.size_bytes) for one in self._taken]
        parts += await self._copied_elsewhere(directory)
        for part in parts:
            await self._check(directory / part.directory, part)
        assert self._view.started_at_us is not None
        named = {one.directory: one for one in parts}
        numbers = {*self._logs.others, *self._elsewhere.numbers}
        manifest = Manifest(
            rfc3339(self._view.started_at_us),
            dispatcher.__version__,
            named[TRANSACTION],
            named[DEAD_LETTER],
            named.get(RESULTS),
            named.get(AUDIT),
            partitions=tuple(
                (named[transaction], named[dead_letter])
                for transaction, dead_letter in map(names_of, sorted(numbers))
            ),
            layout=await asyncio.to_thread(_layout_in, self._logs.paths[0]),
        )
        self._made.extend((directory / MANIFEST, directory / UNFINISHED))
        await _to_the_end(asyncio.to_thread(manifest.write, directory))

    async def _copied_elsewhere(self, directory: Path) -> Sequence[Part]:
        """Wait until the other processes have copied their logs, and move those to their places."""
        parts = self._elsewhere.parts
        async with aclosing(self._elsewhere.wait()) as steps:
            async for size_bytes in steps:
                self._view = self._view.copied(size_bytes)
                self._course.did(size_bytes)
        for part in parts:
            copied, place = directory / waiting_name(part.directory), directory / part.directory
            await _to_the_end(asyncio.to_thread(_move, copied, place))
            self._made.append(place)
        return parts

    async def _copied(self, size_bytes: int) -> None:
        self._view = self._view.copied(size_bytes)
        self._course.did(size_bytes)
        if not await self._course.turn():
            raise _Stopped

    def _end(self, state: BackupState, error: str | None = None) -> None:
        self._view = self._view.ended(state, self._clock.now_us(), error)

    async def _check(self, directory: Path, part: Part) -> None:
        """Read the copy, in a process of its own: reading a large log takes the interpreter."""
        process = await asyncio.create_subprocess_exec(
            *self._verify(directory),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            said, complaint = await process.communicate()
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
        if process.returncode != 0:
            text = (complaint or said).decode("utf-8", "replace").strip()
            raise BackupFailed(f"{directory}: the copy is damaged: {text}")
        if not _is_whole(said, part.end):
            raise BackupFailed(f"{directory}: the copy does not end where the log did")


def _layout_in(transaction_log: Path) -> dict[str, object] | None:
    """What decides where keys lie. It may have been read after the logs were cut: it only changes
    while the server runs when nothing is left of a number of partitions of before."""
    if not (transaction_log / NAME).exists():
        return None
    return read_layout(transaction_log).document


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Await what a thread does, which goes on when we are cancelled: what it writes after we have
    cleared up would stay."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _move(copied: Path, place: Path) -> None:
    copied.rename(place)
    sync_directory(place.parent)
    sync_directory(copied.parent)


def _is_whole(said: bytes, end: int) -> bool:
    """Whether `log verify` found a log that ends there, and no torn tail."""
    try:
        found = json.loads(said)
    except ValueError:
        return False
    return isinstance(found, dict) and found.get("end") == end and found.get("torn_tails") == []


def _verify_command(directory: Path) -> Sequence[str]:
    path = str(directory)
    return (sys.executable, "-m", "dispatcher", "log", "verify", "--json", "--path", path)


def _prepare(directory: Path, logs: Sequence[Path]) -> bool:
    """Make the directory if it is not there; returns whether it was made.

    Raises Refused.
    """
    if not directory.is_absolute():
        raise _unusable(directory, "expected an absolute path, of the server's machine")
    place = Path(os.path.realpath(directory))
    for log in logs:
        if place.is_relative_to(os.path.realpath(log)):
            raise _unusable(directory, f"it is in the log {log}")
    try:
        if directory.is_dir():
            if any(directory.iterdir()):
                raise _unusable(directory, "it is not empty")
            return False
        directory.mkdir(mode=0o700)
    except OSError as error:
        raise _unusable(directory, error.strerror or str(error)) from error
    return True


def _unusable(directory: Path, why: str) -> Refused:
    message = f"{directory}: {why}. Name a directory that is new or empty, on a disk with space."
    return Refused(Refusal(400, "backup_directory", message))


def _remove(directory: Path, made: Sequence[Path], *, is_new: bool) -> None:
    """Remove what was made, and nothing else: another server may have chosen the same directory."""
    for path in made:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()
    if is_new:
        with suppress(OSError):
            directory.rmdir()
