"""Backups: what a directory holds at every moment, and what is put back."""

from __future__ import annotations

import asyncio
import errno
import json
import shutil
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import pytest

from dispatcher.api.backups import BackupState, BackupView
from dispatcher.core.clock import SystemClock
from dispatcher.core.rate import Rate
from dispatcher.errors import ConfigError, LogCorrupt, LogLocked, LogUnavailable, Refused
from dispatcher.node.backup.making import Backups, Logs
from dispatcher.node.backup.manifest import DEAD_LETTER, MANIFEST, TRANSACTION, Manifest
from dispatcher.node.backup.restoring import restore
from dispatcher.queue.admin.course import Course
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.log import open_log
from dispatcher.telemetry.supervisor import Supervisor
from dispatcher.txlog import each
from dispatcher.txlog.files import FileLog
from dispatcher.txlog.files.cut import Cut, Told
from dispatcher.txlog.files.disk import RealDisk
from dispatcher.txlog.files.place import take_lock
from dispatcher.txlog.files.span import SPAN

Records = list[bytes]


class Bench:
    """Two logs with records in them, and who backs them up."""

    def __init__(self, place: Path, log: type[FileLog]) -> None:
        self.paths = (place / "a.log", place / "b.log")
        self.target = place / "backup"
        self.logs = Logs(log(self.paths[0]), FileLog(self.paths[1]), self.paths)
        self.lines: list[str] = []
        self.died: list[BaseException] = []
        self.supervisor = Supervisor(lambda name, error: self.died.append(error))

    async def open(self) -> None:
        for name, log in zip(
            (b"a", b"b"), (self.logs.transaction, self.logs.dead_letter), strict=True
        ):
            await log.open("test", 1)
            for number in range(20):
                await log.append([name * 50_000 + b"%d" % number])

    def backups(self, verify: Callable[[Path], Sequence[str]] | None = None) -> Backups:
        events = Events(open_log(self.lines.append, level="info", format="json"))
        return Backups(
            self.logs,
            clock=SystemClock(),
            events=events,
            supervisor=self.supervisor,
            verify=verify,
        )

    async def close(self) -> None:
        await self.supervisor.stop()
        for _, log in self.logs.named:
            await log.close()
        assert not self.died


class FullTarget(FileLog):
    """A log that is copied to a disk which becomes full."""

    async def copy_to(self, target: Path, cut: Cut, told: Told) -> None:
        await super().copy_to(target, cut, told)
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="backup-", dir="/var/tmp") as directory:
        yield Path(directory)


@pytest.fixture
async def bench(place: Path) -> AsyncIterator[Bench]:
    bench = Bench(place, FileLog)
    await bench.open()
    yield bench
    await bench.close()


async def ended(backups: Backups) -> BackupView:
    """Wait for the end of the backup that is being made."""
    async with asyncio.timeout(60):
        while backups.view.state is BackupState.RUNNING:  # noqa: ASYNC110  # as the API does
            await asyncio.sleep(0.02)
    return backups.view


async def records_in(path: Path) -> Records:
    """Open a log; returns its records."""
    found: Records = []
    log = FileLog(path)
    try:
        await log.open("look", 9, each(lambda _, payload: found.append(payload)))
    finally:
        await log.close()
    return found


def sleep(_: Path) -> Sequence[str]:
    """A verification that does not end."""
    return (sys.executable, "-c", "import time; time.sleep(600)")


async def test_backup_is_both_logs_and_is_restored_as_such(bench: Bench, place: Path) -> None:
    """Made, read once, told; and what is restored is what was there."""
    backups = bench.backups()
    view = await backups.start(bench.target, Course())
    assert (view.state, view.copied_bytes) == (BackupState.RUNNING, 0)
    await bench.logs.transaction.append([b"after the cut"])
    view = await ended(backups)
    assert (view.state, view.error) == (BackupState.MADE, None)
    assert view.copied_bytes == view.total_bytes >= 2_000_000
    assert any('"backup.made"' in line for line in bench.lines)
    told: list[tuple[int, int]] = []
    targets = (place / "c.log", place / "d.log")
    restore(bench.target, *targets, told=lambda *sizes: told.append(sizes))
    assert told[-1] == (view.total_bytes, view.total_bytes)
    for name, target in zip((b"a", b"b"), targets, strict=True):
        expected = [name * 50_000 + b"%d" % number for number in range(20)]
        assert await records_in(target) == expected
        assert all(path.stat().st_mode & 0o077 == 0 for path in target.iterdir())


async def test_backup_is_copied_at_the_rate_of_its_course(bench: Bench) -> None:
    """So many bytes a second; it waits after a piece, and goes on at once at another rate."""
    backups = bench.backups()
    course = Course(Rate(1_000, 1_000_000))
    view = await backups.start(bench.target, course)
    async with asyncio.timeout(60):
        while not course.done:  # noqa: ASYNC110  # a copy is made by threads
            await asyncio.sleep(0.01)
    done = course.done
    assert (done, course.total) == (backups.view.copied_bytes, view.total_bytes)
    assert done < view.total_bytes
    await asyncio.sleep(0.3)
    assert (course.done, backups.view.state) == (done, BackupState.RUNNING)
    course.change_rate(None)
    assert (await ended(backups)).state is BackupState.MADE
    assert course.done == view.total_bytes


@pytest.fixture
async def with_results(bench: Bench, place: Path) -> Bench:
    """A server that has a results' log too."""
    results = FileLog(place / "results.log")
    await results.open("test", 1)
    await results.append([b"a result"])
    bench.logs = Logs(bench.logs.transaction, bench.logs.dead_letter, bench.paths, lambda: results)
    return bench


async def test_backup_has_the_results_where_there_are_some(
    with_results: Bench, place: Path
) -> None:
    """As they were when the other logs were; and they are restored beside the transaction log."""
    bench = with_results
    backups = bench.backups()
    view = await backups.start(bench.target, Course())
    results = bench.logs.results()
    assert results is not None
    await results.append([b"after the cut"])
    view = await ended(backups)
    assert (view.state, view.error) == (BackupState.MADE, None)
    assert view.copied_bytes == view.total_bytes
    (place / "new").mkdir()
    targets = (place / "new" / "c.log", place / "d.log")
    manifest = restore(bench.target, *targets, told=lambda *_: None)
    assert manifest.results is not None
    assert await records_in(place / "new" / "results.log") == [b"a result"]
    assert len(await records_in(targets[0])) == 20
    assert json.loads((bench.target / MANIFEST).read_bytes())["format"] == 2
    results.cut()  # nothing is kept for the backup any more


async def test_backup_has_the_audit_where_there_is_one(bench: Bench, place: Path) -> None:
    """Without results too; and it is restored beside the transaction log."""
    audit = FileLog(place / "audit.log")
    await audit.open("test", 1)
    await audit.append([b"an entry"])
    logs = bench.logs
    bench.logs = Logs(logs.transaction, logs.dead_letter, bench.paths, audit=lambda: audit)
    backups = bench.backups()
    await backups.start(bench.target, Course())
    assert (await ended(backups)).state is BackupState.MADE
    (place / "new").mkdir()
    manifest = restore(bench.target, place / "new" / "c.log", place / "d.log", told=lambda *_: None)
    assert (manifest.results, manifest.audit is not None) == (None, True)
    assert await records_in(place / "new" / "audit.log") == [b"an entry"]
    assert not (place / "new" / "results.log").exists()
    assert json.loads((bench.target / MANIFEST).read_bytes())["format"] == 3


async def test_results_of_another_server_are_not_found_after_a_restore(
    bench: Bench, place: Path
) -> None:
    """A backup without any is not restored beside some; and it is one for older versions too."""
    backups = bench.backups()
    await backups.start(bench.target, Course())
    assert (await ended(backups)).state is BackupState.MADE
    assert json.loads((bench.target / MANIFEST).read_bytes())["format"] == 1
    (place / "new" / "results.log").mkdir(parents=True)
    (place / "new" / "results.log" / "00000001.seg").touch()
    with pytest.raises(ConfigError, match="something already"):
        restore(bench.target, place / "new" / "c.log", place / "d.log", told=lambda *_: None)
    assert not (place / "d.log").exists()


async def test_log_that_cannot_be_cut_leaves_no_other_cut(bench: Bench, place: Path) -> None:
    """The next backup finds all of them free."""
    closed = FileLog(place / "results.log")
    bench.logs = Logs(bench.logs.transaction, bench.logs.dead_letter, bench.paths, lambda: closed)
    with pytest.raises(Refused) as caught:
        await bench.backups().start(bench.target, Course())
    assert caught.value.refusal.slug == "log_failed"
    bench.logs.transaction.cut()
    bench.logs.dead_letter.cut()


async def test_backup_that_runs_is_no_backup_yet(bench: Bench, place: Path) -> None:
    """Whenever the process is killed: what is there is not taken for whole."""
    backups = bench.backups(sleep)
    await backups.start(bench.target, Course())
    async with asyncio.timeout(60):
        while not (bench.target / DEAD_LETTER / SPAN).exists():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    with pytest.raises(ConfigError, match="not a whole backup"):
        restore(bench.target, place / "c.log", place / "d.log", told=lambda *_: None)
    assert not (place / "c.log").exists()
    left = place / "left"
    shutil.copytree(bench.target, left)  # as a kill leaves it
    view = await backups.stop()
    assert view.state is BackupState.STOPPED
    assert not bench.target.exists()
    with pytest.raises(Refused, match="not empty"):
        await backups.start(left, Course())


async def test_one_backup_is_made_at_a_time(bench: Bench, place: Path) -> None:
    """A second one is refused, and the first goes on."""
    backups = bench.backups(sleep)
    await backups.start(bench.target, Course())
    with pytest.raises(Refused) as caught:
        await backups.start(place / "other", Course())
    assert caught.value.refusal.slug == "backup_running"
    assert (await backups.stop()).state is BackupState.STOPPED, "before its first step"
    await backups.stop()
    assert not bench.target.exists()
    again = bench.backups()
    await again.start(bench.target, Course())
    assert (await ended(again)).state is BackupState.MADE


async def test_backup_to_a_full_disk_fails_and_leaves_nothing(place: Path) -> None:
    """The log goes on, nothing is kept for the copy any more, and the directory is as before."""
    bench = Bench(place, FullTarget)
    await bench.open()
    bench.target.mkdir()
    backups = bench.backups()
    await backups.start(bench.target, Course())
    view = await ended(backups)
    assert view.state is BackupState.FAILED
    assert "No space left" in str(view.error)
    assert any('"backup.failed"' in line for line in bench.lines)
    assert list(bench.target.iterdir()) == []
    await bench.logs.transaction.append([b"goes on"])
    bench.logs.transaction.cut()
    await bench.close()


async def test_copy_that_turns_out_damaged_is_no_backup(bench: Bench) -> None:
    """It is read before it is called one."""

    def spoil(path: Path) -> Sequence[str]:
        segment = next(path.glob("*.seg"))
        data = bytearray(segment.read_bytes())
        data[10_000] ^= 1
        segment.write_bytes(data)
        return (sys.executable, "-m", "dispatcher", "log", "verify", "--json", "--path", str(path))

    backups = bench.backups(spoil)
    await backups.start(bench.target, Course())
    view = await ended(backups)
    assert view.state is BackupState.FAILED
    assert "damaged" in str(view.error)
    assert not (bench.target / MANIFEST).exists()


async def test_backup_that_cannot_be_checked_fails_with_a_reason(bench: Bench) -> None:
    """Whatever the check says in place of what it found."""
    backups = bench.backups(lambda path: (sys.executable, "-c", "print('a warning')"))
    await backups.start(bench.target, Course())
    view = await ended(backups)
    assert (view.state, view.error is None) == (BackupState.FAILED, False)


async def test_backup_that_meets_a_mistake_fails_with_a_reason(bench: Bench) -> None:
    """And the supervisor is told: it is not the operator who stopped it."""

    def mistaken(path: Path) -> Sequence[str]:
        raise RuntimeError("can't start new thread")

    backups = bench.backups(mistaken)
    await backups.start(bench.target, Course())
    view = await ended(backups)
    assert (view.state, view.error) == (BackupState.FAILED, "RuntimeError: can't start new thread")
    await asyncio.sleep(0)
    assert [str(error) for error in bench.died] == ["can't start new thread"]
    bench.died.clear()
    assert not bench.target.exists()


async def test_backup_that_finds_another_servers_leaves_it(place: Path) -> None:
    """Both found the directory empty; what the other has copied is not ours to remove."""

    log = place / "a.log"

    class Second(FileLog):
        """A log whose server copies a moment later than another."""

        async def copy_to(self, target: Path, cut: Cut, told: Told) -> None:
            await asyncio.to_thread(shutil.copytree, log, target)
            await super().copy_to(target, cut, told)

    bench = Bench(place, Second)
    await bench.open()
    backups = bench.backups()
    await backups.start(bench.target, Course())
    view = await ended(backups)
    assert view.state is BackupState.FAILED
    assert (bench.target / TRANSACTION / SPAN).exists()
    await bench.close()


async def test_backup_that_is_stopped_in_its_last_write_leaves_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that writes goes on; it is waited for, and what it wrote removed."""
    is_writing, may_write = threading.Event(), threading.Event()
    write = Manifest.write

    def slowly(manifest: Manifest, directory: Path) -> None:
        is_writing.set()
        may_write.wait(10)
        write(manifest, directory)

    monkeypatch.setattr(Manifest, "write", slowly)
    backups = bench.backups()
    await backups.start(bench.target, Course())
    await asyncio.to_thread(is_writing.wait, 60)
    stopping = asyncio.create_task(backups.stop())
    await asyncio.sleep(0.05)
    may_write.set()
    assert (await stopping).state is BackupState.STOPPED
    assert not bench.target.exists()


async def test_directory_has_to_be_new_or_empty_and_outside_the_logs(
    bench: Bench, place: Path
) -> None:
    """The message says what is wrong with it."""
    (place / "full").mkdir()
    (place / "full" / "something").touch()
    (place / "file").touch()
    backups = bench.backups()
    for directory, why in (
        (Path("relative"), "absolute"),
        (place / "full", "not empty"),
        (place / "file", "File exists"),
        (place / "missing" / "backup", "No such file"),
        (bench.paths[0], "in the log"),
        (bench.paths[1] / "backup", "in the log"),
        (place / "results.log", "in the log"),
    ):
        with pytest.raises(Refused, match=why) as caught:
            await backups.start(directory, Course())
        assert caught.value.refusal.slug == "backup_directory"
    assert backups.view.state is BackupState.NONE


@pytest.fixture
async def backup(bench: Bench) -> Path:
    """A whole backup."""
    backups = bench.backups()
    await backups.start(bench.target, Course())
    assert (await ended(backups)).state is BackupState.MADE
    return bench.target


async def test_restore_is_refused_where_there_is_something(
    bench: Bench, backup: Path, place: Path
) -> None:
    """Nothing is written over, and nothing is written at all."""
    with pytest.raises(ConfigError, match="something already"):
        restore(backup, place / "c.log", bench.paths[1], told=lambda *_: None)
    assert not (place / "c.log").exists()


async def test_restore_is_refused_while_a_server_is_there(backup: Path, place: Path) -> None:
    """Its logs may be empty still."""
    disk = RealDisk()
    locks = take_lock(place / "c.log", disk)
    with pytest.raises(LogLocked):
        restore(backup, place / "c.log", place / "d.log", told=lambda *_: None)
    for descriptor in locks:
        disk.close(descriptor)


@pytest.mark.parametrize("part", [TRANSACTION, DEAD_LETTER])
async def test_restore_of_a_damaged_backup_writes_nothing(
    backup: Path, place: Path, part: str
) -> None:
    """It is read first."""
    segment = next((backup / part).glob("*.seg"))
    data = bytearray(segment.read_bytes())
    data[60_000] ^= 1
    segment.write_bytes(data)
    with pytest.raises(LogCorrupt):
        restore(backup, place / "c.log", place / "d.log", told=lambda *_: None)
    assert not (place / "c.log").exists()


async def test_restore_that_was_killed_is_not_taken_for_a_log(backup: Path, place: Path) -> None:
    """A start says that something is missing, whichever piece was the last one."""
    left: list[Path] = []

    def kill(done: int, total: int) -> None:
        copy = place / f"killed-{len(left)}"
        copy.mkdir()
        for name in ("c.log", "d.log"):
            shutil.copytree(place / name, copy / name)
        left.append(copy)

    restore(backup, place / "c.log", place / "d.log", told=kill)
    assert len(left) >= 2
    for copy in left:
        with pytest.raises(LogCorrupt):
            await records_in(copy / "c.log")
        with pytest.raises(ConfigError, match="something already"):
            restore(backup, copy / "c.log", copy / "d.log", told=lambda *_: None)
    assert len(await records_in(place / "c.log")) == 20


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
async def test_restore_that_fails_removes_what_it_wrote(
    backup: Path, place: Path, error: BaseException
) -> None:
    """So that it can be tried again."""

    def fail(done: int, total: int) -> None:
        raise error

    with pytest.raises((LogUnavailable, KeyboardInterrupt)):
        restore(backup, place / "c.log", place / "d.log", told=fail)
    restore(backup, place / "c.log", place / "d.log", told=lambda *_: None)
    assert len(await records_in(place / "d.log")) == 20


async def test_what_is_no_backup_is_not_restored(backup: Path, place: Path) -> None:
    """Another file of that name, or a later format."""
    for text, why in (
        ("{", "cannot be read"),
        ("[]", "not of a backup"),
        ("{}", "not of a backup"),
        ('{"format": 6}', "format 6"),
    ):
        (backup / MANIFEST).write_text(text)
        with pytest.raises(ConfigError, match=why):
            Manifest.read(backup)
    with pytest.raises(ConfigError, match="not a whole backup"):
        Manifest.read(place)


async def test_backup_whose_job_is_cancelled_copies_nothing_more(bench: Bench) -> None:
    """Whoever follows the course stops it in the same instant: that must not be lost."""
    backups = bench.backups()
    course = Course(Rate(1, 60_000_000))
    await backups.start(bench.target, course)
    async with asyncio.timeout(60):
        while not course.done:  # noqa: ASYNC110  # then it waits for its turn
            await asyncio.sleep(0.02)
    copied = course.done
    course.cancel()
    await asyncio.sleep(0)
    assert (await backups.stop()).state is BackupState.STOPPED
    assert course.done == copied
    assert not bench.target.exists()


async def test_cancelled_course_ends_a_backup(bench: Bench) -> None:
    """Also where nobody stops it besides."""
    backups = bench.backups()
    course = Course(Rate(1, 60_000_000))
    await backups.start(bench.target, course)
    course.cancel()
    assert (await ended(backups)).state is BackupState.STOPPED
    assert not bench.target.exists()
