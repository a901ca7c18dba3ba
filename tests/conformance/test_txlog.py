"""What every engine of the transaction log promises. Each test runs with all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest

from dispatcher.errors import (
    BatchTooLarge,
    LogBusy,
    LogCorrupt,
    LogError,
    LogFailed,
    LogFenced,
    LogLocked,
    LogTrimmed,
    LogUnavailable,
    LogUnknown,
)
from dispatcher.txlog import RECORD_OVERHEAD_BYTES, TransactionLog, each
from tests.conformance.engines import Storage

Start = Callable[[], TransactionLog]
"""Makes a log object on the same storage each time, as a process that starts again does."""


@pytest.fixture
async def start(storage: Storage) -> AsyncIterator[Start]:
    made: list[TransactionLog] = []

    def make() -> TransactionLog:
        made.append(storage.new())
        return made[-1]

    yield make
    storage.hold(held=False)
    for log in made:
        await log.close()


@pytest.fixture
async def log(start: Start) -> TransactionLog:
    opened = start()
    await opened.open("test", 1)
    return opened


async def records_of(start: Start, log: TransactionLog) -> list[tuple[int, bytes]]:
    """Close the log, and return what another start finds."""
    again, visited = await restart(start, log)
    await again.close()
    return visited


async def restart(
    start: Start, log: TransactionLog
) -> tuple[TransactionLog, list[tuple[int, bytes]]]:
    """Close the log and open it again; returns what was visited too."""
    await log.close()
    visited: list[tuple[int, bytes]] = []
    again = start()
    await again.open("test", 2, each(lambda position, payload: visited.append((position, payload))))
    return again, visited


async def test_open_finds_nothing_when_the_log_is_new(start: Start) -> None:
    """A place with nothing in it is an empty log."""
    log = start()
    visited: list[bytes] = []
    bounds = await log.open("test", 1, each(lambda _, payload: visited.append(payload)))
    assert bounds.first <= bounds.end
    assert not visited


async def test_append_returns_positions_that_grow(log: TransactionLog) -> None:
    """Positions are in the order of the records, within a batch and from batch to batch."""
    positions = [*await log.append([b"a", b"b", b"c"]), *await log.append([b"d"])]
    assert positions == sorted(set(positions))
    assert len(positions) == 4


async def test_open_visits_every_record_byte_for_byte(start: Start, log: TransactionLog) -> None:
    """What was appended comes back as it was, with its positions."""
    payloads = [b"", b"\0" * 100, bytes(range(256)), b"x" * 100_000]
    first = await log.append(payloads[:3])
    second = await log.append(payloads[3:])
    assert await records_of(start, log) == list(zip(first + second, payloads, strict=True))


async def test_open_visits_every_record_when_the_log_was_closed(
    start: Start, log: TransactionLog
) -> None:
    """Another start visits exactly what was appended, once, in order, and goes on behind it."""
    positions = await log.append([b"a", b"b"]) + await log.append([b"c"])
    again, visited = await restart(start, log)
    assert visited == list(zip(positions, [b"a", b"b", b"c"], strict=True))
    (later,) = await again.append([b"d"])
    assert later > positions[-1]
    assert [payload for _, payload in await records_of(start, again)] == [b"a", b"b", b"c", b"d"]


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
    payload = b"z" * (log.max_batch_bytes - RECORD_OVERHEAD_BYTES)
    (position,) = await log.append([payload])
    assert await log.read([position]) == [payload]


async def test_read_raises_corrupt_when_there_is_no_record(log: TransactionLog) -> None:
    """A position that no append returned is not answered with something."""
    (position,) = await log.append([b"some bytes"])
    with pytest.raises(LogCorrupt):
        await log.read([position + 1])


async def test_append_stores_nothing_when_the_batch_is_too_large(
    start: Start, log: TransactionLog
) -> None:
    """One byte above the limit is refused, and the log goes on."""
    with pytest.raises(BatchTooLarge):
        await log.append([b"a", b"z" * (log.max_batch_bytes - 2 * RECORD_OVERHEAD_BYTES)])
    await log.append([b"b"])
    assert [payload for _, payload in await records_of(start, log)] == [b"b"]


async def test_append_stores_nothing_when_the_batch_is_empty(log: TransactionLog) -> None:
    """An empty batch has no positions."""
    assert await log.append([]) == []


async def test_append_is_refused_while_one_is_under_way(
    storage: Storage, log: TransactionLog
) -> None:
    """Gathering batches is the committer's work: two at once are a mistake of the caller."""
    storage.hold(held=True)
    first = asyncio.ensure_future(log.append([b"a"]))
    with pytest.raises(RuntimeError):
        await log.append([b"b"])
    storage.hold(held=False)
    await first
    await log.append([b"c"])


async def test_cancelled_append_is_stored_whole_or_not_at_all(
    storage: Storage, start: Start, log: TransactionLog
) -> None:
    """Nobody can take a batch back that is under way; the next one comes after it."""
    storage.hold(held=True)
    first = asyncio.ensure_future(log.append([b"a", b"b"]))
    await asyncio.sleep(0)
    first.cancel()
    storage.hold(held=False)
    async with asyncio.timeout(60):
        while True:
            try:
                await log.append([b"c"])
                break
            except RuntimeError:  # it is still under way
                await asyncio.sleep(0.005)
    stored = [payload for _, payload in await records_of(start, log)]
    assert stored in ([b"c"], [b"a", b"b", b"c"])


async def fill(log: TransactionLog, *, urgent: bool = False) -> list[bytes]:
    """Append until there is no space; returns what was stored."""
    stored: list[bytes] = []
    with suppress(LogUnavailable):
        for number in range(2000):
            payload = b"%06d" % number + bytes(10_000)
            await log.append([payload], urgent=urgent)
            stored.append(payload)
    return stored


async def test_append_is_unavailable_without_space_and_goes_on_with_it(
    storage: Storage, start: Start, log: TransactionLog
) -> None:
    """What was refused is certainly not there; nothing has to be opened again. Whether there is
    room it says without being given anything."""
    assert log.room()
    storage.fill(full=True)
    stored = await fill(log)
    assert not log.room()
    with pytest.raises(LogUnavailable) as caught:
        await log.append([b"refused" * 2000])
    assert not isinstance(caught.value, LogBusy)
    assert not caught.value.ends_process
    storage.fill(full=False)
    async with asyncio.timeout(60):
        while not log.room():  # noqa: ASYNC110  # looked for now and then
            await asyncio.sleep(0.05)
    await log.append([b"later" * 2000])
    found = [payload for _, payload in await records_of(start, log)]
    assert found == [*stored, b"later" * 2000]


async def test_urgent_append_is_stored_when_the_others_are_refused(
    storage: Storage, start: Start, log: TransactionLog
) -> None:
    """Space is kept back for what settles messages, and so makes space."""
    storage.fill(full=True)
    stored = await fill(log)
    (position,) = await log.append([b"urgent" * 1000], urgent=True)
    with pytest.raises(LogUnavailable):
        await log.append([b"refused" * 2000])
    assert await log.read([position]) == [b"urgent" * 1000]
    storage.fill(full=False)
    found = [payload for _, payload in await records_of(start, log)]
    assert found == [*stored, b"urgent" * 1000]


async def test_busy_log_is_asked_again(storage: Storage, start: Start, log: TransactionLog) -> None:
    """What the process lacks passes: nothing was done, nothing is wrong, and the same call works
    afterwards."""
    (position,) = await log.append([b"a"])
    storage.lack(lacking=True)
    with pytest.raises(LogBusy):
        await log.read([position])
    if storage.batches_need_it:
        await fill(log)
        with pytest.raises(LogBusy):
            await log.append([bytes(10_000)])
    storage.lack(lacking=False)
    assert await log.read([position]) == [b"a"]
    async with asyncio.timeout(60):
        while True:
            try:
                await log.append([b"b" * 10_000])
                break
            except LogBusy:
                await asyncio.sleep(0.05)
    assert (await records_of(start, log))[-1][1] == b"b" * 10_000


async def test_unknown_append_closes_the_log_and_another_start_says_what_became_of_it(
    storage: Storage, start: Start, log: TransactionLog
) -> None:
    """It may be stored. This object stores nothing any more; what was confirmed before is there."""
    await log.append([b"a"])
    storage.fail()
    lost: list[LogError] = []
    log.on_lost = lost.append
    with pytest.raises(LogUnknown):
        await log.append([b"unknown"])
    with pytest.raises(LogUnknown):
        await log.append([b"refused"])
    async with asyncio.timeout(60):
        while not lost:  # noqa: ASYNC110  # it is told behind who appends
            await asyncio.sleep(0.002)
    assert [type(error) for error in lost] in ([LogUnknown], [LogFailed]), "it is told once"
    assert not log.room()
    found = [payload for _, payload in await records_of(start, log)]
    assert found in ([b"a"], [b"a", b"unknown"])


async def test_log_has_one_owner_at_a_time(start: Start, log: TransactionLog) -> None:
    """While it is open, another owner is kept out, or it fences the first; never do both write."""
    (first,) = await log.append([b"first"])
    other = start()
    try:
        await other.open("other", 2)
    except LogLocked:
        await log.append([b"still first"])
        return
    with pytest.raises(LogFenced) as caught:
        await log.append([b"too late"])
    assert not caught.value.ends_process
    with pytest.raises(LogFenced):
        await log.trim(0)
    assert await log.read([first]) == [b"first"], "it may read until it is closed"
    await other.append([b"second"])
    assert [payload for _, payload in await records_of(start, other)] == [b"first", b"second"]


async def test_open_says_how_far_it_is(start: Start, log: TransactionLog) -> None:
    """Bytes that were read, of how many: it grows, and ends with all of them."""
    await log.append([bytes(50_000), bytes(50_000)])
    await log.append([bytes(50_000), bytes(50_000)])
    await log.close()
    again = start()
    seen: list[tuple[int, int]] = []
    await again.open("test", 2, each(lambda position, payload: seen.append(again.opening)))
    done, total = again.opening
    assert 200_000 <= done <= total
    assert [*seen, again.opening] == sorted([*seen, again.opening])


async def test_trim_keeps_what_is_not_before_the_position(
    start: Start, log: TransactionLog
) -> None:
    """Trimming is lazy and never takes more than it was given, also across a restart."""
    positions = [(await log.append([b"%d" % n]))[0] for n in range(10)]
    await log.trim(positions[6])
    await log.trim(positions[6])
    await log.trim(positions[2])
    assert await log.read(positions[6:]) == [b"6", b"7", b"8", b"9"]
    _, visited = await restart(start, log)
    assert [record[0] for record in visited][-4:] == positions[6:]


async def test_trim_to_the_end_leaves_a_log_that_goes_on(start: Start, log: TransactionLog) -> None:
    """Nothing is needed any more; the next record is found as ever."""
    await log.append([b"a" * 1000] * 100)
    (position,) = await log.append([b"b"])
    await log.trim(position + 1 + RECORD_OVERHEAD_BYTES)
    (later,) = await log.append([b"c"])
    assert await log.read([later]) == [b"c"]
    assert (await records_of(start, log))[-1] == (later, b"c")


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
    visited: list[bytes] = []
    await latest.open("same", 2, each(lambda _, payload: visited.append(payload)))
    assert visited == [b"a"]


async def test_append_raises_when_the_log_is_closed(log: TransactionLog) -> None:
    """A closed log stores nothing, and closing twice is fine."""
    await log.close()
    await log.close()
    with pytest.raises(LogError):
        await log.append([b"a"])


async def test_size_grows_with_what_is_stored(log: TransactionLog) -> None:
    """The size counts at least the payloads."""
    for _ in range(4):
        await log.append([b"z" * 50_000, b"z" * 50_000])
    assert log.size_bytes >= 400_000


async def walked(log: TransactionLog, upto: int) -> list[tuple[int, bytes]]:
    """All that a walk finds."""
    walk = log.walk(upto)
    found: list[tuple[int, bytes]] = []
    while (records := await walk.next()) is not None:
        assert len(records), "a portion is never empty"
        found += records
    return found


async def test_walk_finds_every_record_with_its_position(log: TransactionLog) -> None:
    """What was appended, in order and once, over many segments; records of every size."""
    assert await walked(log, log.bounds().end) == []
    appended: list[tuple[int, bytes]] = []
    for number in range(60):
        batch = [b"%d-%d" % (number, part) * (part * 300) for part in range(8)]
        appended += zip(await log.append(batch), batch, strict=True)
    largest = b"z" * (log.max_batch_bytes - RECORD_OVERHEAD_BYTES)
    appended += zip(await log.append([largest]), [largest], strict=True)
    assert await walked(log, log.bounds().end) == appended


async def test_walk_ends_where_the_log_ended_when_it_is_appended_to(log: TransactionLog) -> None:
    """What comes after its end was fixed is not read, however long it takes."""
    before = await log.append([b"a" * 1000] * 100)
    walk = log.walk(log.bounds().end)
    found: list[int] = []
    for _ in range(100):
        await log.append([b"b" * 10_000])
        if (records := await walk.next()) is not None:
            found += [position for position, _ in records]
    assert found == before


async def test_walk_begins_with_what_is_kept_after_a_restart(
    start: Start, log: TransactionLog
) -> None:
    """Records of earlier processes are read like others, those of a trimmed beginning are not."""
    positions = [(await log.append([b"%03d" % n * 5_000]))[0] for n in range(100)]
    await log.trim(positions[50])
    again, visited = await restart(start, log)
    later = await again.append([b"later"])
    found = await walked(again, again.bounds().end)
    assert found == [*visited, (later[0], b"later")]
    assert {position for position, _ in found} >= set(positions[50:])


async def test_walk_raises_trimmed_when_what_follows_is_gone(log: TransactionLog) -> None:
    """It never passes over records in silence."""
    positions = [(await log.append([b"x" * 60_000]))[0] for _ in range(100)]
    walk = log.walk(log.bounds().end)
    first = await walk.next()
    assert first is not None
    await log.trim(positions[-1])
    await log.append([b"later"])  # an engine may free what is not needed with the next batch
    found = [position for position, _ in first]
    is_trimmed = False
    while not is_trimmed:
        try:
            records = await walk.next()
        except LogTrimmed:
            is_trimmed = True
        else:
            assert records is not None, "there was more"
            found += [position for position, _ in records]
    assert found == positions[: len(found)], "what it found until then has no gap"


async def test_walk_goes_on_after_the_log_was_busy(storage: Storage, log: TransactionLog) -> None:
    """What is lacking passes: the same walk finds the rest, and nothing twice."""
    positions = [(await log.append([b"x" * 60_000]))[0] for _ in range(20)]
    walk = log.walk(log.bounds().end)
    found: list[int] = []
    storage.lack(lacking=True)
    with pytest.raises(LogBusy):
        await walk.next()
    while len(found) < len(positions):
        storage.lack(lacking=True)
        with suppress(LogBusy):  # what was read ahead is there
            found += [position for position, _ in await walk.next() or ()]
        storage.lack(lacking=False)
        found += [position for position, _ in await walk.next() or ()]
    assert found == positions
    assert await walk.next() is None


async def test_walk_raises_when_the_log_is_closed(log: TransactionLog) -> None:
    """A closed log is read by nobody."""
    await log.append([b"a"])
    walk = log.walk(log.bounds().end)
    await log.close()
    with pytest.raises(LogError):
        await walk.next()
    with pytest.raises(LogError):
        log.walk(0)
