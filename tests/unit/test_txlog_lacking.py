"""The file engine when the process lacks descriptors or memory: that passes, a failed sync does
not."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from dispatcher.errors import (
    ConfigError,
    LogBusy,
    LogCorrupt,
    LogError,
    LogFailed,
    LogFenced,
    LogTrimmed,
    LogUnavailable,
    LogUnknown,
)
from dispatcher.txlog import each
from dispatcher.txlog.files import FileLog
from dispatcher.txlog.files.disk import RealDisk
from dispatcher.txlog.files.engine import Engine
from dispatcher.txlog.files.frame import segment_of
from dispatcher.txlog.files.segment import Sizes, name_of

SMALL: Final = Sizes(smallest=64 << 10, largest=64 << 10, batch=32 << 10, chunk=64 << 10)
RECORD: Final = bytes(range(256)) * 4
A_SEGMENT: Final = 70
"""So many records are more than one segment takes."""


class LackingDisk(RealDisk):
    """The real disk, with calls that fail while there is an error for their names."""

    def __init__(self) -> None:
        self.errors: dict[str, int] = {}
        self.failed: list[str] = []

    def _meet(self, name: str) -> None:
        if name in self.errors:
            self.failed.append(name)
            raise OSError(self.errors[name], os.strerror(self.errors[name]))

    def make_directory(self, path: Path) -> None:
        self._meet("make a directory")
        super().make_directory(path)

    def lock(self, path: Path, text: bytes | None) -> int:
        self._meet("lock")
        return super().lock(path, text)

    def names(self, path: Path) -> list[str]:
        self._meet("names")
        return super().names(path)

    def open(self, path: Path, *, create: bool = False, write: bool = True) -> int:
        self._meet("open" if write else "open to read")
        return super().open(path, create=create, write=write)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        self._meet("pread")
        return super().pread(fd, size, offset)

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        self._meet("pwrite")
        return super().pwrite(fd, data, offset)

    def sync(self, fd: int) -> None:
        self._meet("sync")
        super().sync(fd)

    def rename(self, old: Path, new: Path) -> None:
        self._meet("rename")
        super().rename(old, new)

    def unlink(self, path: Path) -> None:
        self._meet("unlink")
        super().unlink(path)

    def open_directory(self, path: Path) -> int:
        self._meet("open a directory")
        return super().open_directory(path)

    def sync_directory(self, fd: int) -> None:
        self._meet("sync_directory")
        super().sync_directory(fd)


class Done:
    """A job of the housekeeper that was done at once."""

    def done(self) -> bool:
        return True

    def result(self) -> None:
        """Nothing to wait for."""


class Bench:
    """A log on a disk that can lack something, on a clock of its own, in one thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.disk = LackingDisk()
        self.now_s = 0.0
        self.stored: list[tuple[int, bytes]] = []
        self.engine = self._open([])
        self._count = 0

    def _open(self, found: list[tuple[int, bytes]]) -> Engine:
        def spawn(work: object) -> Done:
            assert callable(work)
            work()
            return Done()

        engine = Engine(self.path, self.disk, spawn=spawn, sizes=SMALL, clock=lambda: self.now_s)
        engine.open("bench", 1, each(lambda position, payload: found.append((position, payload))))
        return engine

    def append(self, *, urgent: bool = False) -> int:
        """Append one record; returns its position."""
        self.now_s += 1.0
        self._count += 1
        payload = b"%06d" % self._count + RECORD
        prepared = self.engine.prepare([payload], urgent=urgent)
        self.engine.write(prepared)
        self.stored.append((prepared.positions[0], payload))
        return prepared.positions[0]

    def fill(self, count: int = A_SEGMENT) -> None:
        """Append so many records, one after the other."""
        for _ in range(count):
            self.append()

    def segments(self) -> list[str]:
        """Names of the segment files, in order."""
        return sorted(name for name in os.listdir(self.path) if name.endswith(".seg"))

    def restart(self) -> list[tuple[int, bytes]]:
        """Close the log and open it again; returns what it found."""
        self.engine.close()
        found: list[tuple[int, bytes]] = []
        self.engine = self._open(found)
        return found


def _descriptors() -> list[str]:
    return os.listdir("/proc/self/fd")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "log")
    yield bench
    bench.engine.close()


@pytest.mark.parametrize(
    ("call", "number"),
    [
        ("open", errno.EMFILE),
        ("open", errno.ENFILE),
        ("open", errno.ENOMEM),
        ("rename", errno.ENOMEM),
        ("pwrite", errno.ENOMEM),
        ("open a directory", errno.EMFILE),
        ("names", errno.EMFILE),
    ],
)
def test_appending_is_refused_while_something_is_lacking_and_resumes_by_itself(
    bench: Bench, call: str, number: int
) -> None:
    """What was confirmed is there after a restart, what was refused is not, and no descriptor is
    left open."""
    bench.fill(30)
    descriptors = _descriptors()
    bench.disk.errors[call] = number
    with suppress(LogUnavailable):
        bench.fill(3 * A_SEGMENT)
    if bench.disk.failed:
        with pytest.raises(LogUnavailable):
            bench.append()
    bench.disk.errors.clear()
    bench.fill()
    assert len(_descriptors()) == len(descriptors)
    assert bench.restart() == bench.stored


def test_log_goes_on_after_the_descriptors_of_the_process_had_run_out(bench: Bench) -> None:
    """With the system's own limit: nothing that the log opens is forgotten here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # standard input and output, no more
    try:
        with pytest.raises(LogUnavailable, match="open files"):
            bench.fill(3 * A_SEGMENT)
        upto = bench.append(urgent=True)
        bench.engine.trim(upto)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    bench.fill()
    assert bench.segments()[0] == name_of(segment_of(upto))
    found = bench.restart()
    assert found == bench.stored[-len(found) :]


def test_urgent_batches_are_stored_while_no_segment_can_be_made(bench: Bench) -> None:
    """As on a full disk: what settles messages has space kept for it."""
    bench.disk.errors["open"] = errno.EMFILE
    with pytest.raises(LogUnavailable, match="open files"):
        bench.fill(3 * A_SEGMENT)
    bench.append(urgent=True)
    bench.disk.errors.clear()
    assert bench.restart() == bench.stored


@pytest.mark.parametrize(
    ("call", "number"),
    [("open", errno.EMFILE), ("rename", errno.ENOMEM), ("unlink", errno.ENOMEM)],
)
def test_segment_that_could_not_be_removed_goes_later(bench: Bench, call: str, number: int) -> None:
    """It is not read any more, still counted as space, removed in order, and without another
    trim."""
    bench.fill(4 * A_SEGMENT)
    bench.disk.errors[call] = number
    bench.fill(A_SEGMENT // 2)  # into the spare, where no other can be made: so one is recycled
    upto = bench.append()
    bench.engine.trim(upto)
    assert bench.disk.failed
    assert bench.segments()[0] < name_of(segment_of(upto))
    assert segment_of(bench.engine.bounds().first) == segment_of(upto)
    total = sum((bench.path / name).stat().st_size for name in bench.segments())
    assert bench.engine.size_bytes == total
    bench.disk.errors.clear()
    bench.append()
    assert bench.segments()[0] == name_of(segment_of(upto))
    bench.fill()
    found = bench.restart()
    assert [record for record in found if record[0] >= upto] == [
        record for record in bench.stored if record[0] >= upto
    ]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.ENOMEM, errno.EMFILE])
def test_failed_sync_of_a_batch_ends_the_log_whatever_its_number(bench: Bench, number: int) -> None:
    """Nobody knows what is stored; it is never tried again."""
    bench.append()
    bench.disk.errors["sync"] = number
    with pytest.raises(LogUnknown):
        bench.append()
    bench.disk.errors.clear()
    with pytest.raises(LogUnknown):
        bench.append()
    assert bench.disk.failed == ["sync"]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.ENOMEM, errno.EMFILE])
def test_failed_sync_of_the_directory_ends_the_log_whatever_its_number(
    bench: Bench, number: int
) -> None:
    """The name of a segment may be gone after a crash: nothing may be confirmed in it."""
    bench.append()
    bench.disk.errors["sync_directory"] = number
    with pytest.raises(LogUnknown):
        bench.fill(3 * A_SEGMENT)
    bench.disk.errors.clear()
    with pytest.raises(LogUnknown):
        bench.append()
    assert bench.disk.failed == ["sync_directory"]


def test_record_is_not_called_damaged_because_memory_is_lacking(bench: Bench) -> None:
    """What the reader lacks passes; what the disk cannot read is damage."""
    position = bench.append()
    for call, number in (("open to read", errno.EMFILE), ("pread", errno.ENOMEM)):
        bench.disk.errors = {call: number}
        with pytest.raises(LogBusy, match=os.strerror(number)):
            bench.engine.read([position])
    bench.disk.errors = {"pread": errno.EIO}
    with pytest.raises(LogCorrupt):
        bench.engine.read([position])
    (bench.path / name_of(segment_of(position))).unlink()
    with pytest.raises(LogCorrupt, match="cannot be opened"):
        bench.engine.read([position])


CALLS: Final = (
    *("names", "open", "open to read", "open a directory", "lock", "make a directory"),
    *("pread", "pwrite", "sync", "sync_directory", "rename", "unlink"),
)
NUMBERS: Final = (errno.EIO, errno.EMFILE, errno.ENOBUFS, errno.ENOSPC, errno.EACCES)


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: errno.errorcode[number])
@pytest.mark.parametrize("call", CALLS)
async def test_what_the_disk_says_is_a_log_error_whatever_was_asked(
    tmp_path: Path, call: str, number: int
) -> None:
    """No OSError crosses the seam: not from opening, appending, reading, trimming or closing. A
    lack is `LogBusy`, which is caught where somebody can ask again."""
    disk = LackingDisk()
    log = FileLog(tmp_path, disk, sizes=SMALL)
    await log.open("x", 1)
    positions = [(await log.append([RECORD]))[0] for _ in range(3 * A_SEGMENT)]
    disk.errors[call] = number
    errors: list[BaseException] = []
    with collect(errors):
        await log.read([positions[0]])
    with collect(errors):
        await log.trim(positions[-1])
    for _ in range(A_SEGMENT):
        with collect(errors):
            await log.append([RECORD])
    await log.close()
    with collect(errors):
        await FileLog(tmp_path, disk, sizes=SMALL).open("x", 1)
    disk.errors.clear()
    assert all(isinstance(error, LogError | ConfigError) for error in errors), errors
    if number in {errno.EMFILE, errno.ENOBUFS} and "sync" not in call:
        assert all(isinstance(error, LogBusy) for error in errors), errors


async def test_closed_log_is_not_read_or_trimmed(tmp_path: Path) -> None:
    """Who comes after the close is told so, in the words of the seam."""
    log = FileLog(tmp_path, sizes=SMALL)
    with pytest.raises(LogUnknown, match="not open"):
        await log.read([1])
    await log.open("x", 1)
    (position,) = await log.append([RECORD])
    await log.close()
    with pytest.raises(LogUnknown, match="not open"):
        await log.read([position])
    with pytest.raises(LogUnknown, match="not open"):
        await log.trim(position)


async def test_open_is_busy_when_there_is_no_descriptor_for_the_writers_bell(
    tmp_path: Path,
) -> None:
    """What the engine needs for itself is asked for in `open`, and can be asked for again."""
    log = FileLog(tmp_path, sizes=SMALL)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(LogBusy):
            await log.open("x", 1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    await log.open("x", 1)
    await log.append([RECORD])
    await log.close()


@contextmanager
def collect(errors: list[BaseException]) -> Iterator[None]:
    """Note what is raised."""
    try:
        yield
    except Exception as error:
        errors.append(error)


def test_error_says_whether_the_process_has_to_end() -> None:
    """A disk that failed, or what is on it, ends the process; a log that somebody else has now
    ends its partition only."""
    assert [kind.ends_process for kind in (LogFailed, LogCorrupt)] == [True, True]
    others = (LogFenced, LogUnavailable, LogUnknown, LogBusy, LogTrimmed)
    assert not any(kind.ends_process for kind in others)
