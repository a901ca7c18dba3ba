"""What every engine of the transaction log promises. Each test runs with all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from dispatcher.errors import BatchTooLarge, LogCorrupt, LogError, LogFenced, LogTrimmed
from dispatcher.txlog import TransactionLog
from dispatcher.txlog.files import FileLog
from dispatcher.txlog.memory import MemoryLog, MemoryStore

Start = Callable[[], TransactionLog]
"""Makes a log object on the same storage each time, as a process that starts again does."""


@pytest.fixture(params=["files", "memory"])
async def start(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Start]:
    made: list[TransactionLog] = []
    store = MemoryStore()

    def make() -> TransactionLog:
        files = request.param == "files"
        log: TransactionLog = FileLog(tmp_path / "log") if files else MemoryLog(store)
        made.append(log)
        return log

    yield make
    for log in made:
        await log.close()


@pytest.fixture
async def log(start: Start) -> TransactionLog:
    opened = start()
    await opened.open("test", 1)
    return opened


async def restart(
    start: Start, log: TransactionLog
) -> tuple[TransactionLog, list[tuple[int, bytes]]]:
    """Close the log and open it again; returns what was visited too."""
    await log.close()
    visited: list[tuple[int, bytes]] = []
    again = start()
    await again.open("test", 2, lambda position, payload: visited.append((position, payload)))
    return again, visited


async def test_open_finds_nothing_when_the_log_is_new(start: Start) -> None:
    """A place with nothing in it is an empty log."""
    log = start()
    visited: list[bytes] = []
    bounds = await log.open("test", 1, lambda _, payload: visited.append(payload))
    assert bounds.first <= bounds.end
    assert not visited
    assert not list(log.replay())


async def test_append_returns_positions_that_grow(log: TransactionLog) -> None:
    """Positions are in the order of the records, within a batch and from batch to batch."""
    positions = [*await log.append([b"a", b"b", b"c"]), *await log.append([b"d"])]
    assert positions == sorted(set(positions))
    assert len(positions) == 4


async def test_replay_yields_every_record_in_order(log: TransactionLog) -> None:
    """Replay gives back what was appended, byte for byte, with its positions."""
    payloads = [b"", b"\0" * 100, bytes(range(256)), b"x" * 100_000]
    first = await log.append(payloads[:3])
    second = await log.append(payloads[3:])
    assert list(log.replay()) == list(zip(first + second, payloads, strict=True))


async def test_replay_begins_at_a_position(log: TransactionLog) -> None:
    """With a start, replay leaves out what is before it."""
    positions = await log.append([b"a", b"b"]) + await log.append([b"c", b"d"])
    for index, position in enumerate(positions):
        assert [p for p, _ in log.replay(position)] == positions[index:]


async def test_open_visits_every_record_when_the_log_was_closed(
    start: Start, log: TransactionLog
) -> None:
    """Another start visits exactly what was appended, once, in order, and goes on behind it."""
    positions = await log.append([b"a", b"b"]) + await log.append([b"c"])
    again, visited = await restart(start, log)
    assert visited == list(zip(positions, [b"a", b"b", b"c"], strict=True))
    (later,) = await again.append([b"d"])
    assert later > positions[-1]
    assert [payload for _, payload in again.replay()] == [b"a", b"b", b"c", b"d"]


async def test_bounds_hold_every_record(start: Start, log: TransactionLog) -> None:
    """No record before `first`, none at or after `end`, and new ones come from `end` on."""
    positions = await log.append([b"a", b"b"])
    await log.close()
    again = start()
    bounds = await again.open("test", 2)
    assert bounds.first <= positions[0] < positions[1] < bounds.end
    assert (await again.append([b"c"]))[0] >= bounds.end


async def test_read_returns_records_in_the_order_asked_for(log: TransactionLog) -> None:
    """Any records, in any order, the same one twice."""
    payloads = [b"%04d" % n * (n % 50) for n in range(300)]
    positions = await log.append(payloads)
    order = [5, 299, 0, 5, 17, 123]
    assert await log.read([positions[n] for n in order]) == [payloads[n] for n in order]
    assert await log.read(positions) == payloads
    assert await log.read([]) == []


async def test_read_returns_a_record_of_the_largest_size(log: TransactionLog) -> None:
    """A batch of exactly `max_batch_bytes` is stored."""
    payload = b"z" * (log.max_batch_bytes - log.record_overhead_bytes)
    (position,) = await log.append([payload])
    assert await log.read([position]) == [payload]


async def test_read_raises_corrupt_when_there_is_no_record(log: TransactionLog) -> None:
    """A position that no append returned is not answered with something."""
    (position,) = await log.append([b"some bytes"])
    with pytest.raises(LogCorrupt):
        await log.read([position + 1])


async def test_append_stores_nothing_when_the_batch_is_too_large(log: TransactionLog) -> None:
    """One byte above the limit is refused, and the log goes on."""
    with pytest.raises(BatchTooLarge):
        await log.append([b"a", b"z" * (log.max_batch_bytes - 2 * log.record_overhead_bytes)])
    await log.append([b"b"])
    assert [payload for _, payload in log.replay()] == [b"b"]


async def test_append_stores_nothing_when_the_batch_is_empty(log: TransactionLog) -> None:
    """An empty batch has no positions."""
    assert await log.append([]) == []


async def test_append_is_refused_while_one_is_under_way(log: TransactionLog) -> None:
    """Gathering batches is the committer's work: two at once are a mistake of the caller."""
    if isinstance(log, MemoryLog):
        log.gate.clear()
    first = asyncio.ensure_future(log.append([b"a"]))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError):
        await log.append([b"b"])
    if isinstance(log, MemoryLog):
        log.gate.set()
    await first
    await log.append([b"c"])


async def test_trim_keeps_what_is_not_before_the_position(
    start: Start, log: TransactionLog
) -> None:
    """Trimming is lazy and never takes more than it was given, also across a restart."""
    positions = [(await log.append([b"%d" % n]))[0] for n in range(10)]
    await log.trim(positions[6])
    await log.trim(positions[6])
    await log.trim(positions[2])
    assert await log.read(positions[6:]) == [b"6", b"7", b"8", b"9"]
    assert [record[0] for record in log.replay()][-4:] == positions[6:]
    _, visited = await restart(start, log)
    assert [record[0] for record in visited][-4:] == positions[6:]


async def test_trim_to_the_end_leaves_a_log_that_goes_on(log: TransactionLog) -> None:
    """Nothing is needed any more; the next record is found as ever."""
    await log.append([b"a" * 1000] * 400)
    (position,) = await log.append([b"b"])
    await log.trim(position + 1 + log.record_overhead_bytes)
    (later,) = await log.append([b"c"])
    assert await log.read([later]) == [b"c"]
    assert list(log.replay())[-1] == (later, b"c")


async def test_read_raises_trimmed_before_the_first_position(
    start: Start, log: TransactionLog
) -> None:
    """What is before `first` was trimmed away, and is said to be."""
    await log.append([b"a"])
    await log.close()
    again = start()
    bounds = await again.open("test", 2)
    with pytest.raises(LogTrimmed):
        await again.read([bounds.first - 1])
    with pytest.raises(LogTrimmed):
        list(again.replay(bounds.first - 1))


async def test_open_is_fenced_when_a_higher_epoch_was_there(
    start: Start, log: TransactionLog
) -> None:
    """A lower epoch never opens the log again; the same or a higher one does, and finds all of
    it."""
    await log.append([b"a"])
    again, _ = await restart(start, log)
    await again.close()
    with pytest.raises(LogFenced):
        await start().open("old", 1)
    latest = start()
    await latest.open("same", 2)
    assert [payload for _, payload in latest.replay()] == [b"a"]


async def test_append_raises_when_the_log_is_closed(log: TransactionLog) -> None:
    """A closed log stores nothing, and closing twice is fine."""
    await log.close()
    await log.close()
    with pytest.raises(LogError):
        await log.append([b"a"])


async def test_size_grows_with_what_is_stored(log: TransactionLog) -> None:
    """The size counts at least the payloads."""
    await log.append([b"z" * 200_000, b"z" * 200_000])
    assert log.size_bytes >= 400_000
