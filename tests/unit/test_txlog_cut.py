"""Copies of a log that is in use: each is the log as it was at one moment."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from dispatcher.errors import LogCorrupt, LogUnavailable
from dispatcher.txlog import each
from dispatcher.txlog.files import FileLog, inspect
from dispatcher.txlog.files.cut import copy_piece
from dispatcher.txlog.files.disk import RealDisk
from dispatcher.txlog.files.scan import Found
from dispatcher.txlog.files.segment import Sizes

SMALL = Sizes(smallest=64 << 10, largest=128 << 10, batch=32 << 10, chunk=64 << 10)
Records = list[tuple[int, bytes]]


class FullDisk(RealDisk):
    """The real disk, with no space for more files while it is told so."""

    full = False

    def open(self, path: Path, *, create: bool = False, write: bool = True) -> int:
        if create and self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().open(path, create=create, write=write)


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cut-", dir="/var/tmp") as directory:
        yield Path(directory)


@pytest.fixture
async def log(place: Path) -> AsyncIterator[FileLog]:
    opened = FileLog(place / "log", sizes=SMALL)
    await opened.open("test", 1)
    yield opened
    await opened.close()


async def fill(log: FileLog, count: int, start: int = 0) -> Records:
    """Append so many records of 1 KiB, one a batch."""
    records = []
    for number in range(start, start + count):
        payload = b"%06d" % number * 170
        records.append(((await log.append([payload]))[0], payload))
    return records


async def nobody(size: int) -> None:
    """Nobody asks how far a copy is."""


async def records_in(path: Path) -> Records:
    """Open a copy as a log; returns what is in it. It can be written to."""
    found: Records = []
    log = FileLog(path, sizes=SMALL)
    await log.open("copy", 2, each(lambda position, payload: found.append((position, payload))))
    assert log.torn is None
    await fill(log, 100)
    await log.close()
    return found


async def test_copy_is_the_log_as_it_was_at_the_cut(log: FileLog, place: Path) -> None:
    """Whatever is appended, trimmed and recycled while it is made; and it is a whole log, of which
    no segment is short."""
    before = await fill(log, 500)
    await log.trim(before[100][0])
    cut = log.cut()
    copied: list[int] = []

    async def told(size: int) -> None:
        copied.append(size)

    async def go_on() -> None:
        for start in range(500, 2500, 250):
            later = await fill(log, 250, start)
            await log.trim(later[-100][0])

    await asyncio.gather(log.copy_to(place / "copy", cut, told), go_on())
    log.let_go()
    assert sum(copied) == cut.size_bytes
    found = inspect.verify(place / "copy", RealDisk(), SMALL)
    assert isinstance(found, Found)
    assert found.end == cut.end
    assert not found.remains
    assert [r for r in await records_in(place / "copy") if r[0] >= before[100][0]] == before[100:]


async def test_cut_keeps_its_segments_and_letting_go_removes_them(
    log: FileLog, place: Path
) -> None:
    """What was trimmed meanwhile takes space until then, and no longer."""
    records = await fill(log, 500)
    cut = log.cut()
    later = await fill(log, 500, 500)
    await log.trim(later[-1][0])
    held = log.size_bytes
    assert all((place / "log" / f"{number:08x}.seg").exists() for number in cut.segments)
    await log.copy_to(place / "copy", cut, nobody)
    log.let_go()
    await log.trim(later[-1][0] + 1)
    async with asyncio.timeout(60):
        while log.size_bytes > held - cut.size_bytes // 2:
            await fill(log, 1)
    assert not (place / "log" / f"{min(cut.segments):08x}.seg").exists()
    assert await records_in(place / "copy") == records


async def test_restart_while_a_cut_is_held_removes_what_was_kept_for_it(
    log: FileLog, place: Path
) -> None:
    """A cut does not outlive its process, and what it kept is no damage."""
    await fill(log, 500)
    cut = log.cut()
    later = await fill(log, 500, 500)
    await log.trim(later[-1][0])
    await log.close()
    again = FileLog(place / "log", sizes=SMALL)
    await again.open("again", 2)
    assert not (place / "log" / f"{min(cut.segments):08x}.seg").exists()
    await again.close()


async def _fill_up(log: FileLog) -> int:
    """Append and trim until the disk is full. Returns the last position."""
    last = 0
    for number in range(5000):
        try:
            (last,) = await log.append([bytes(1000)])
        except LogUnavailable:
            return last
        if number % 50 == 0:
            await log.trim(last)
    raise AssertionError("the disk never was full")


async def test_cut_is_given_up_when_the_log_itself_needs_the_space(place: Path) -> None:
    """A backup never keeps a full disk from being emptied."""
    disk = FullDisk()
    log = FileLog(place / "log", disk, sizes=SMALL)
    await log.open("test", 1)
    await fill(log, 500)
    cut = log.cut()
    disk.full = True
    last = await _fill_up(log)
    await log.trim(last)
    async with asyncio.timeout(60):
        while True:
            try:
                await log.append([bytes(1000)])
                break
            except LogUnavailable:
                await asyncio.sleep(0.05)
    with pytest.raises(LogUnavailable, match="needed"):
        await log.copy_to(place / "copy", cut, nobody)
    await log.close()


async def test_copy_that_is_not_finished_is_no_log(log: FileLog, place: Path) -> None:
    """Its span is written last."""
    await fill(log, 500)
    cut = log.cut()
    pieces = 0

    async def stop(size: int) -> None:
        nonlocal pieces
        pieces += 1
        if pieces == len(cut.segments):
            raise OSError(errno.ENOSPC, "no space left")

    with pytest.raises(OSError, match="no space"):
        await log.copy_to(place / "copy", cut, stop)
    log.let_go()
    with pytest.raises(LogCorrupt):
        await records_in(place / "copy")


async def test_cut_of_an_empty_log_is_an_empty_log(log: FileLog, place: Path) -> None:
    """Before the first record, and again after the last one was trimmed."""
    for name in ("first", "second"):
        cut = log.cut()
        await log.copy_to(place / name, cut, nobody)
        log.let_go()
        assert isinstance(inspect.verify(place / name, RealDisk(), SMALL), Found)
        records = await fill(log, 10)
        await log.trim(records[-1][0] + 1)
    assert await records_in(place / "first") == []


async def test_there_is_one_cut_at_a_time(log: FileLog) -> None:
    """A second one would let go of what the first one needs."""
    log.cut()
    with pytest.raises(RuntimeError):
        log.cut()
    log.let_go()
    log.cut()
    log.let_go()


def test_copy_has_its_full_length_on_the_disk(place: Path) -> None:
    """Blocks and not holes: a log that is started from it writes where there is space already."""

    async def copy() -> None:
        log = FileLog(place / "log")
        await log.open("test", 1)
        await log.append([b"x"])
        await log.copy_to(place / "copy", log.cut(), nobody)
        await log.close()

    asyncio.run(copy())
    (segment,) = (place / "copy").glob("*.seg")
    assert segment.stat().st_blocks * 512 >= segment.stat().st_size == 1 << 20
    assert shutil.disk_usage(place).free > 0


class InMemory:
    """A file of which a call reads and writes a part only."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = content
        self._at = 0
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # to be synced, and closed with it

    async def read(self, size: int) -> bytes:
        data = self.content[self._at : self._at + size]
        self._at += len(data)
        return data

    async def write(self, data: bytes) -> int:
        taken = data[: max(1, len(data) // 2)]
        self.content += taken
        return len(taken)

    def fileno(self) -> int:
        return self._file.fileno()


async def test_piece_is_whole_when_a_write_takes_a_part() -> None:
    """As it does on a disk that is nearly full. What follows the end is zeros."""
    reader, writer = InMemory(b"abcdefgh" * 1000), InMemory()
    await copy_piece(reader, writer, 5000, 20_000, nobody, lambda: False)
    assert writer.content == (b"abcdefgh" * 1000)[:5000] + bytes(15_000)


async def test_piece_that_is_shorter_than_it_has_to_be_is_not_copied() -> None:
    """A copy with zeros where records were would be one that lost them."""
    with pytest.raises(OSError, match="are needed"):
        await copy_piece(InMemory(b"abc"), InMemory(), 5000, 20_000, nobody, lambda: False)
