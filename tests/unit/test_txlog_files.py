"""The file engine on a real disk: locks, places that cannot be used, torn tails, segments,
threads."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from dispatcher.errors import (
    ConfigError,
    LogCorrupt,
    LogError,
    LogLocked,
    LogTrimmed,
    LogUnavailable,
    LogUnknown,
)
from dispatcher.txlog import each
from dispatcher.txlog.files import FileLog, inspect
from dispatcher.txlog.files.disk import RealDisk
from dispatcher.txlog.files.frame import HEADER_BYTES, offset_of, segment_of
from dispatcher.txlog.files.place import check_free
from dispatcher.txlog.files.segment import HEADER_SPACE, Sizes, name_of

SMALL = Sizes(smallest=64 << 10, largest=256 << 10, batch=32 << 10, chunk=64 << 10)
RECORD = bytes(range(256)) * 4

Make = Callable[..., FileLog]


class TroubledDisk(RealDisk):
    """The real disk, with calls that fail while an error is set."""

    def __init__(self) -> None:
        self.write_error: int | None = None
        self.sync_error: int | None = None
        self.rename_error: int | None = None

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        _raise(self.write_error)
        return super().pwrite(fd, data, offset)

    def sync(self, fd: int) -> None:
        _raise(self.sync_error)
        super().sync(fd)

    def rename(self, old: Path, new: Path) -> None:
        _raise(self.rename_error)
        super().rename(old, new)


def _raise(error: int | None) -> None:
    if error is not None:
        raise OSError(error, os.strerror(error))


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    made: list[FileLog] = []

    def factory(**options: object) -> FileLog:
        options.setdefault("sizes", SMALL)
        made.append(FileLog(tmp_path / "log", **options))  # type: ignore[arg-type]  # as given
        return made[-1]

    yield factory
    for log in made:
        await log.close()


def segments(path: Path) -> list[str]:
    return sorted(name for name in os.listdir(path) if name.endswith(".seg"))


async def fill(log: FileLog, count: int) -> list[int]:
    """Append records one by one until there are `count`, and let the housekeeper keep up."""
    positions = []
    for number in range(count):
        positions += await log.append([b"%06d" % number + RECORD])
    return positions


async def reopen(make: Make, log: FileLog) -> tuple[FileLog, list[tuple[int, bytes]]]:
    await log.close()
    again = make()
    visited: list[tuple[int, bytes]] = []
    await again.open(
        "again", 1, each(lambda position, payload: visited.append((position, payload)))
    )
    return again, visited


async def test_open_is_refused_when_another_process_has_the_log(make: Make, tmp_path: Path) -> None:
    """The second process is told who has it, and the first goes on."""
    log = make()
    await log.open("first", 1)
    code = f"""if True:
        import asyncio, pathlib
        from dispatcher.txlog.files import FileLog
        log = FileLog(pathlib.Path({str(tmp_path / "log")!r}))
        asyncio.run(log.open("second", 9))
    """
    second = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert "LogLocked" in second.stderr
    assert f"in use by process {os.getpid()}" in second.stderr
    await log.append([b"still here"])


async def test_open_is_refused_when_the_lock_file_was_deleted(make: Make, tmp_path: Path) -> None:
    """The directory is locked too, so that tidying up lets nobody in; a repair is refused as
    well."""
    log = make()
    await log.open("first", 1)
    for lock in ("deleted", "made again"):
        (tmp_path / "log" / "lock").unlink()
        if lock == "made again":
            (tmp_path / "log" / "lock").touch()
        with pytest.raises(LogLocked):
            await make().open("second", 2)
        with pytest.raises(LogLocked):
            check_free(tmp_path / "log", RealDisk())
        with pytest.raises(LogLocked):
            inspect.dry_run(tmp_path / "log", RealDisk(), SMALL)
        with pytest.raises(LogLocked):
            inspect.repair(tmp_path / "log", RealDisk(), SMALL)
    await log.append([b"still here"])
    await log.close()
    await make().open("next", 2)


async def test_open_is_refused_twice_in_one_process(make: Make) -> None:
    """The lock is the file's, not the process's."""
    await make().open("first", 1)
    with pytest.raises(LogLocked):
        await make().open("second", 1)


async def test_lock_is_free_after_close(make: Make) -> None:
    """And after an open that failed, at whatever it met."""
    log = make()
    await log.open("first", 1)
    await log.close()

    def refuse(position: int, payload: bytes) -> None:
        raise ValueError("not mine")

    log = make()
    await log.open("second", 1)
    await log.append([b"x"])
    await log.close()
    with pytest.raises(ValueError, match="not mine"):
        await make().open("third", 2, each(refuse))
    await make().open("fourth", 3)


async def test_open_makes_the_directories(tmp_path: Path) -> None:
    """Those above too; what is in them is for this user only."""
    log = FileLog(tmp_path / "a" / "b" / "log", sizes=SMALL)
    await log.open("x", 1)
    await log.close()
    path = tmp_path / "a" / "b" / "log"
    assert path.stat().st_mode & 0o777 == 0o700
    assert {(path / name).stat().st_mode & 0o777 for name in os.listdir(path)} == {0o600}


async def test_open_names_the_place_when_it_is_a_file(tmp_path: Path) -> None:
    """A setting that is wrong ends with the exit code of a wrong setting."""
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "log"):
        log = FileLog(path)
        with pytest.raises(ConfigError, match=str(path)):
            await log.open("x", 1)
        await log.close()


async def test_torn_tail_is_cut_and_kept_aside(make: Make, tmp_path: Path) -> None:
    """The last batch is damaged: the start cuts it, says so, keeps the bytes, and goes on."""
    log = make()
    await log.open("x", 1)
    await log.append([b"whole"])
    (position,) = await log.append([b"torn" * 100])
    await log.close()
    path = tmp_path / "log" / name_of(1)
    content = bytearray(path.read_bytes())
    content[offset_of(position) + 100] ^= 1
    path.write_bytes(content)
    again, visited = await reopen(make, log)
    assert [payload for _, payload in visited] == [b"whole"]
    assert again.torn is not None
    assert again.torn.position == position
    assert again.torn.backup is not None
    kept = again.torn.backup.read_bytes()
    assert kept == bytes(content[offset_of(position) :][: len(kept)])
    assert len(kept) == again.torn.size_bytes == HEADER_BYTES + 400
    await again.append([b"next"])
    _, visited = await reopen(make, again)
    assert [payload for _, payload in visited] == [b"whole", b"next"]


async def test_clean_log_reports_no_torn_tail(make: Make) -> None:
    """Nothing was cut, nothing is said."""
    log = make()
    await log.open("x", 1)
    await log.append([RECORD])
    again, _ = await reopen(make, log)
    assert again.torn is None


@pytest.mark.parametrize("size", [0, 100, HEADER_SPACE, HEADER_SPACE + 1])
@pytest.mark.parametrize("number", [1, 2])
async def test_truncated_file_stops_the_start(
    make: Make, tmp_path: Path, number: int, size: int
) -> None:
    """Whether the log ends in it or it is the spare: it was longer once, so something is gone."""
    log = make()
    await log.open("x", 1)
    await log.append([b"whole"])
    await log.close()
    path = tmp_path / "log" / name_of(number)
    os.truncate(path, size)
    with pytest.raises(LogCorrupt) as caught:
        await make().open("x", 1)
    assert (caught.value.path, caught.value.offset) == (str(path), size if size >= 40 else 0)
    assert path.stat().st_size == size


async def test_damage_stops_the_start_and_changes_nothing(make: Make, tmp_path: Path) -> None:
    """The error has the file and the offset, no byte of the log is touched, and the lock is
    free."""
    log = make()
    await log.open("x", 1)
    positions = await fill(log, 200)
    await log.close()
    victim = positions[100]
    path = tmp_path / "log" / name_of(segment_of(victim))
    content = bytearray(path.read_bytes())
    content[offset_of(victim) + 50] ^= 0x40
    path.write_bytes(content)
    before = {p.name: p.read_bytes() for p in (tmp_path / "log").glob("*.seg")}
    for _ in range(2):
        with pytest.raises(LogCorrupt) as caught:
            await make().open("x", 1)
        assert (caught.value.path, caught.value.offset) == (str(path), offset_of(victim))
    assert {p.name: p.read_bytes() for p in (tmp_path / "log").glob("*.seg")} == before


async def test_segments_are_trimmed_and_read_as_trimmed(make: Make, tmp_path: Path) -> None:
    """Whole segments before the position go, the others stay, and the log takes no more space."""
    log = make()
    await log.open("x", 1)
    positions = await fill(log, 1500)
    before = log.size_bytes
    await log.trim(positions[1200])
    kept = segments(tmp_path / "log")
    assert kept[0] == name_of(segment_of(positions[1200]))
    assert log.size_bytes < before
    assert log.size_bytes == sum((tmp_path / "log" / n).stat().st_size for n in kept)
    with pytest.raises(LogTrimmed):
        await log.read([positions[0]])
    assert (await log.read([positions[1200]]))[0].startswith(b"001200")
    _, visited = await reopen(make, log)
    assert [p for p, _ in visited if p >= positions[1200]] == positions[1200:]


async def test_log_shrinks_when_nothing_is_needed(make: Make, tmp_path: Path) -> None:
    """Everything is trimmed: the next batch goes on in another segment, and the used one is
    freed."""
    log = make()
    await log.open("x", 1)
    positions = await fill(log, 1100)
    await log.trim(positions[-1] + HEADER_BYTES + len(RECORD) + 6)
    (position,) = await log.append([RECORD])
    await log.trim(position)
    assert len(segments(tmp_path / "log")) <= 2
    assert await log.read([position]) == [RECORD]


async def test_nothing_is_trimmed_when_everything_is_kept(make: Make) -> None:
    """EVENT_SOURCING keeps the whole log."""
    log = make(keep_everything=True)
    await log.open("x", 1)
    positions = await fill(log, 300)
    await log.trim(positions[-1])
    assert len(await log.read(positions)) == 300


async def test_walk_stops_where_the_disk_gives_something_else_back(
    make: Make, tmp_path: Path
) -> None:
    """What cannot be believed is damage, with its place; nothing behind it is told."""
    log = make(keep_everything=True)
    await log.open("x", 1)
    positions = await fill(log, 600)
    damaged = positions[400]
    path = tmp_path / "log" / name_of(segment_of(damaged))
    with path.open("r+b") as file:
        file.seek(offset_of(damaged) + HEADER_BYTES + 10)
        file.write(b"?")
    walk = log.walk(log.bounds().end)
    found: list[int] = []
    caught: LogCorrupt | None = None
    while caught is None:
        try:
            records = await walk.next()
        except LogCorrupt as error:
            caught = error
        else:
            assert records is not None, "it stops before the end"
            found += [position for position, _ in records]
    assert path.name in str(caught)
    assert found == [position for position in positions if position < damaged][: len(found)]
    assert found


async def test_append_goes_on_after_the_disk_was_full(make: Make) -> None:
    """No space is no failure: the batch is refused for certain, and later ones are accepted."""
    disk = TroubledDisk()
    log = make(disk=disk)
    await log.open("x", 1)
    await log.append([b"before"])
    disk.write_error = errno.ENOSPC
    with pytest.raises(LogUnavailable):
        await log.append([b"refused"])
    disk.write_error = None
    async with asyncio.timeout(60):
        while True:
            try:
                await log.append([b"after"])
                break
            except LogUnavailable:  # the spare segment was not there yet, and is tried again
                await asyncio.sleep(0.05)
    _, visited = await reopen(make, log)
    assert [payload for _, payload in visited] == [b"before", b"after"]


async def test_urgent_batches_use_the_space_that_is_kept_back(make: Make) -> None:
    """While there is no space for another segment, ordinary batches are refused early, urgent ones
    are stored, and trimming makes it good again."""
    disk = TroubledDisk()
    log = make(disk=disk)
    await log.open("x", 1)
    positions = await fill(log, 60)
    disk.rename_error = errno.ENOSPC  # so that no segment can be made
    with pytest.raises(LogUnavailable):
        await fill(log, 500)
    urgent = await log.append([b"settled"], urgent=True)
    assert await log.read(urgent) == [b"settled"]
    disk.rename_error = None
    await log.trim(urgent[0])
    await fill(log, 5)
    with pytest.raises(LogTrimmed):
        await log.read([positions[0]])


async def test_accepting_resumes_by_itself(make: Make) -> None:
    """Space comes back without any call but the next append."""
    disk = TroubledDisk()
    log = make(disk=disk)
    await log.open("x", 1)
    disk.rename_error = errno.ENOSPC
    with pytest.raises(LogUnavailable):
        await fill(log, 500)
    disk.rename_error = None
    for _ in range(1000):
        try:
            await log.append([RECORD])
            break
        except LogUnavailable:
            await asyncio.sleep(0.02)
    else:
        pytest.fail("accepting did not resume within twenty seconds")


async def test_log_shrinks_when_the_trim_ends_within_the_last_record(
    make: Make, tmp_path: Path
) -> None:
    """Who trims knows where records start, not how long they are: a position behind the start of
    the last one says that nothing is needed."""
    log = make()
    await log.open("x", 1)
    positions = await fill(log, 1100)
    used = segment_of(positions[-1])
    await log.trim(positions[-1])
    assert await log.read([positions[-1]]), "before its start: it is needed"
    await log.trim(positions[-1] + 1)
    (position,) = await log.append([RECORD])
    assert segment_of(position) == used + 1
    await log.trim(position)
    with pytest.raises(LogTrimmed):
        await log.read([positions[-1]])
    assert len(segments(tmp_path / "log")) <= 2
    assert await log.read([position]) == [RECORD]
    _, visited = await reopen(make, log)
    assert visited == [(position, RECORD)]


@pytest.mark.parametrize("name", ["write_error", "sync_error"])
async def test_failed_write_or_sync_closes_the_log(make: Make, name: str) -> None:
    """Nobody knows whether the batch is stored; nothing is written or synced any more."""
    disk = TroubledDisk()
    log = make(disk=disk)
    await log.open("x", 1)
    setattr(disk, name, errno.EIO)
    with pytest.raises(LogUnknown):
        await log.append([b"unknown"])
    setattr(disk, name, None)
    with pytest.raises(LogUnknown):
        await log.append([b"refused"])
    _, visited = await reopen(make, log)
    assert [payload for _, payload in visited] in ([], [b"unknown"])


async def test_failure_to_make_a_segment_is_reported_by_an_append(make: Make) -> None:
    """What goes wrong in the background does not stay there."""
    disk = TroubledDisk()
    log = make(disk=disk)
    await log.open("x", 1)
    disk.rename_error = errno.EIO
    with pytest.raises(LogUnknown, match="segment"):
        await fill(log, 500)


async def test_cancelled_append_keeps_the_log_busy_until_it_is_known(make: Make) -> None:
    """A caller that goes away does not let the next batch overtake."""
    log = make()
    await log.open("x", 1)
    first = log.append([b"a"])
    first.cancel()
    with pytest.raises(RuntimeError):
        log.append([b"b"])
    async with asyncio.timeout(60):
        while True:
            try:
                await log.append([b"c"])
                break
            except RuntimeError:
                await asyncio.sleep(0.01)
    _, visited = await reopen(make, log)
    assert [payload for _, payload in visited] == [b"a", b"c"]


async def test_close_waits_for_the_batch_under_way(make: Make) -> None:
    """What was handed over is stored or refused, never left open."""
    log = make()
    await log.open("x", 1)
    last = log.append([b"last"])
    again, visited = await reopen(make, log)
    assert last.done()
    assert [payload for _, payload in visited] == [b"last"]
    await again.close()


async def test_damaged_record_is_not_read(make: Make, tmp_path: Path) -> None:
    """A bit that flips under a running server is found when the record is read."""
    log = make()
    await log.open("x", 1)
    (position,) = await log.append([RECORD])
    with (tmp_path / "log" / name_of(1)).open("r+b") as file:
        file.seek(offset_of(position) + 200)
        file.write(b"?")
    with pytest.raises(LogCorrupt) as caught:
        await log.read([position])
    assert caught.value.offset == offset_of(position)


async def test_reading_goes_on_while_segments_are_trimmed(make: Make) -> None:
    """A read beside trimming and recycling gives the record or says that it is trimmed, nothing
    else."""
    log = make()
    await log.open("x", 1)
    positions: list[int] = []
    appended = asyncio.Semaphore(0)
    seen = {"read": 0, "trimmed": 0}

    async def read_all() -> None:
        for number in range(1200):
            await appended.acquire()
            try:
                (payload,) = await log.read([positions[max(0, number - 50)]])
            except LogTrimmed:
                seen["trimmed"] += 1
            else:
                assert payload == b"%06d" % max(0, number - 50) + RECORD
                seen["read"] += 1

    reading = asyncio.create_task(read_all())
    for number in range(1200):
        positions += await log.append([b"%06d" % number + RECORD])
        appended.release()
        if number % 40 == 0:
            await log.trim(positions[max(0, number - 60)])
    await reading
    assert seen["read"] > 100


async def test_descriptors_are_closed(make: Make) -> None:
    """A log leaves nothing open, whether it was opened or not."""
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        log = make()
        await log.open("x", 1)
        await fill(log, 200)
        await log.close()
    await make().close()
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 1


async def test_open_that_fails_says_so_when_the_disk_is_full(make: Make) -> None:
    """The first start needs space for the first segment."""
    disk = TroubledDisk()
    disk.write_error = errno.ENOSPC
    with pytest.raises(LogError, match="space"):
        await make(disk=disk).open("x", 1)
