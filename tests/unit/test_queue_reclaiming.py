"""Giving the beginning of a log back: what is looked at, what is lacking, and what is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from dispatcher.core.message import Message
from dispatcher.errors import LogBusy, LogTrimmed
from dispatcher.queue.compaction.source import ReclaimPolicy
from dispatcher.queue.deadletters import letters as rows
from dispatcher.queue.deadletters.burial import COPIES_AT_ONCE, MAX_WAITING_BYTES
from dispatcher.queue.deadletters.letters import _TIDY_AT_ONCE, Letters
from dispatcher.queue.deadletters.selection import LetterFilter
from dispatcher.queue.deadletters.space import LetterSpace
from dispatcher.queue.partition import Partition
from dispatcher.queue.pending.extents import Extent
from dispatcher.queue.ports import CHUNK_BYTES, LogName
from dispatcher.queue.records.ids import wire_id
from dispatcher.queue.records.letters import LetterFacts
from dispatcher.testing.log import FaultyLog, Space
from dispatcher.testing.loop import others
from dispatcher.testing.queue import Bench, failed, message, simulate
from tests.unit.test_queue_admin import big, dead

GREEDY = ReclaimPolicy(slack_bytes=500, dead_end_bytes=500)


def _small_extents(queue: Partition) -> None:
    queue.pending.extents.extent_bytes = 1_000
    queue.dead_letters.holdings.extents.extent_bytes = 1_000


class _Lacking(FaultyLog):
    """Has no descriptor for the next `lacks` reads."""

    lacks = 0

    async def read(self, positions: Sequence[int]) -> list[bytes]:
        if self.lacks:
            self.lacks -= 1
            self.reads += 1
            raise LogBusy("too many open files")
        return await super().read(positions)


def test_nothing_ends_when_descriptors_are_lacking_while_dead_letters_are_copied() -> None:
    """It is tried again after a rest, and the space of what is gone is freed all the same."""

    async def test(bench: Bench) -> None:
        assert isinstance(bench.dead_log, _Lacking)
        kept = await dead(bench, "kept")
        bench.dead_log.lacks = 3
        for n in range(12):
            await bench.queue.admin.purge([await dead(bench, f"d{n}")])
        assert bench.dead_log.lacks == 2, "not again with every batch"
        for n in range(12, 24):
            await asyncio.sleep(1)
            await bench.queue.admin.purge([await dead(bench, f"d{n}")])
        assert bench.dead_log.lacks == 0
        assert not bench.notes.errors
        assert bench.dead_log.size_bytes < 3_000
        page = await bench.queue.admin.letters(LetterFilter(), cursor=0, limit=10)
        assert [item.id for item in page.items] == [kept]

    simulate(test, dead_log=_Lacking(), prepare=_small_extents, reclaim=GREEDY)


def test_log_is_looked_at_again_after_a_rest_when_nothing_more_is_stored() -> None:
    """A log that nobody writes to any more does not stay as large as it was when copying rested."""

    async def test(bench: Bench) -> None:
        assert isinstance(bench.dead_log, _Lacking)
        await dead(bench, "kept")
        bench.dead_log.lacks = 1
        for n in range(12):
            await bench.queue.admin.purge([await dead(bench, f"d{n}")])
        assert bench.dead_log.size_bytes > 3_000
        await asyncio.sleep(3)
        assert bench.dead_log.size_bytes < 3_000
        assert len(bench.queue.dead_letters) == 1

    simulate(test, dead_log=_Lacking(), prepare=_small_extents, reclaim=GREEDY)


def test_dead_letter_of_many_chunks_is_found_by_the_extents_and_copied_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not once for each extent that a chunk of it lies in, with a look at all letters each time."""
    looks: list[int] = []
    find = LetterSpace._in

    async def counted(self: LetterSpace, extents: Sequence[Extent]) -> list[bytes]:
        looks.append(len(extents))
        return await find(self, extents)

    monkeypatch.setattr(LetterSpace, "_in", counted)

    async def test(bench: Bench) -> None:
        kept = await big(bench, 60)
        bench.end(bench.deliverer.flying[0], failed(404))
        await asyncio.sleep(5)
        chunks = len(bench.queue.dead_letters.holdings.chunks[kept.encode()])
        assert chunks > 50
        for n in range(400):
            await _come_and_go(bench, f"d{n}")
            if bench.dead_log.records[0][1][0] != 2:
                break
        await asyncio.sleep(2)
        assert len(looks) <= 4
        assert len(bench.queue.dead_letters) == 1
        (position, _), *_ = bench.queue.dead_letters.holdings.chunks[kept.encode()]
        assert position > chunks * CHUNK_BYTES, "it was copied"

    simulate(test, reclaim=ReclaimPolicy(slack_bytes=1_000_000, dead_end_bytes=100_000))


@pytest.mark.parametrize("reader", ["lane", "compaction"])
def test_record_that_is_gone_without_having_been_copied_ends_the_process(reader: str) -> None:
    """Asking again would never end, and nobody would know."""

    async def test(bench: Bench) -> None:
        for n in range(4):
            bench.accept(message(name=f"m{n}", body=b"x" * 900))
        await asyncio.sleep(0.1)
        await bench.crash()
        await bench.open()
        position = bench.log._positions[2]
        bench.log._positions.remove(position)
        del bench.log._payloads[position]
        bench.queue.start(bench.deliverer)
        if reader == "compaction":
            await bench.queue.admin.hold("http://a.example")
            oldest = bench.queue.pending.extents.of(position)
            with pytest.raises(LogTrimmed):
                await bench.queue.space.copy([oldest])
            return
        reads = bench.log.reads
        for _ in range(4):
            await asyncio.sleep(1)
            for sent in list(bench.deliverer.flying):
                bench.end(sent)
        (error,) = bench.notes.errors
        assert error[0] is LogName.TRANSACTION
        assert isinstance(error[1], LogTrimmed)
        assert bench.log.reads - reads < 10

    simulate(test, prepare=_small_extents)


def test_large_bodies_that_wait_for_a_full_dead_letter_log_are_counted() -> None:
    """No more attempts are started when they are too many, and few are copied at once when there
    is space again."""

    async def test(bench: Bench) -> None:
        bench.deliverer.answer = lambda sent: bench.queue.settling.failed(sent, failed(404))
        letters = bench.queue.dead_letters
        await dead_big(bench)
        bench.dead_log.space = Space.RESERVE
        for n in range(60):
            await big_one(bench, f"b{n}")
        await asyncio.sleep(2)
        waiting = bench.queue.figures.burying
        assert waiting == 60
        assert letters.waiting_bytes >= 60 * 1000
        bench.dead_log.append_s = 0.005
        bench.dead_log.space = Space.ENOUGH
        peak = 0
        while bench.queue.figures.burying:
            await asyncio.sleep(0.001)
            peak = max(peak, letters._committer.waiting_bytes)
        assert peak <= (COPIES_AT_ONCE + 2) * (CHUNK_BYTES + 1000) + 1000
        assert letters.waiting_bytes == 0
        assert len(letters) == 61

    simulate(test)


def test_attempts_stop_when_too_many_large_bodies_wait_for_the_dead_letter_log() -> None:
    """Their heads and histories stay in memory: that has a bound."""

    async def test(bench: Bench) -> None:
        bench.deliverer.answer = lambda sent: bench.queue.settling.failed(sent, failed(404))
        bench.dead_log.space = Space.RESERVE
        await dead_big(bench)
        assert bench.queue.starting.may_start()
        bench.queue.dead_letters._burying._large_bytes += MAX_WAITING_BYTES
        assert not bench.queue.starting.may_start()

    simulate(test)


async def _come_and_go(bench: Bench, name: str) -> None:
    """A dead letter of 100 kB, purged at once."""
    receipt = bench.accept(message(name=name, body=bytes(100_000)))
    await asyncio.sleep(0.01)
    assert isinstance(receipt.answer, Message)
    bench.end(receipt.answer, failed(404))
    await asyncio.sleep(0.01)
    await bench.queue.admin.purge([receipt.answer.wire_id.decode()])


async def big_one(bench: Bench, name: str) -> Message:
    """Accept a body of two chunks."""
    upload = bench.queue.intake.start_upload(lambda: None)
    for part in (b"c" * CHUNK_BYTES, b"d" * 100):
        upload.write(part)
    sent = message(name=name, body=b"")
    sent.body_size = upload.size_bytes
    bench.queue.intake.accept(sent, bench.receipts.one(), upload)
    await asyncio.sleep(0.01)
    return sent


async def dead_big(bench: Bench) -> None:
    """Give one up."""
    await big_one(bench, "first")
    await asyncio.sleep(0.5)


def _letter(n: int) -> LetterFacts:
    return LetterFacts(
        wire_id(0, 1, n), 0, 1, n, 0, 10 * n, b"http://a", 404, 0, "rejected", 5, None, n
    )


def test_rows_are_tidied_in_slices_and_are_right_after_each() -> None:
    """Found by id, in their order, with ordinals that cursors are made of; letters come and go
    meanwhile."""
    letters = Letters()
    count = 20_000
    for n in range(count):
        letters.add(_letter(n), n, 100)
    there = {n for n in range(count) if n % 3 == 0 and n > 4000}
    for n in set(range(count)) - there:
        letters.remove(wire_id(0, 1, n))
    ordinals = {n: letters.ordinal[letters.find(wire_id(0, 1, n))] for n in there}
    slices = 0
    while letters.tidy():
        slices += 1
        gone, come = min(there), count + slices
        there.remove(gone)
        letters.remove(wire_id(0, 1, gone))
        row = letters.add(_letter(come), come, 100)
        there.add(come)
        ordinals[come] = letters.ordinal[row]
        if slices % 5:
            continue
        rows = list(letters.alive())
        assert [letters.id(row) for row in rows] == [wire_id(0, 1, n) for n in sorted(there)]
        for n in list(there)[::97]:
            row = letters.find(wire_id(0, 1, n))
            assert letters.ordinal[row] == ordinals[n]
            assert letters.first_after(ordinals[n] - 1) == row
    assert slices > len(there) // _TIDY_AT_ONCE // 2
    assert letters.rows < len(there) + 200
    assert len(letters) == len(there)


def test_rows_are_brought_into_the_order_of_the_deaths_in_slices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the log's uptime, and by the wall clock among those that died in one second; those that
    are gone have no row any more."""
    for name in ("_LOOK_AT_ONCE", "_TIDY_AT_ONCE"):
        monkeypatch.setattr(rows, name, 100)
    letters = Letters()
    deaths = [(n * 7919 % 1000 // 10, n * 104_729 % 5000, n) for n in range(5000)]
    for uptime_s, dead_at, n in deaths:
        letters.add(_letter(n)._replace(uptime_s=uptime_s, dead_at=dead_at), n, 100)
    for n in range(0, 5000, 3):
        letters.remove(wire_id(0, 1, n))
    assert len(list(letters.sort())) > 100
    left = sorted(death for death in deaths if death[2] % 3)
    assert [letters.id(row) for row in letters.alive()] == [wire_id(0, 1, n) for _, _, n in left]
    assert letters.rows == len(letters) == len(left)
    assert [letters.find(wire_id(0, 1, n)) for _, _, n in left] == list(range(len(left)))
    ordinals = list(letters.ordinal)
    assert ordinals == sorted(set(ordinals))
    in_order = Letters()
    for n in range(5000):
        in_order.add(_letter(n), n, 100)
    assert len(list(in_order.sort())) == 2 * 5000 // 100, "nothing but a look at two columns"


def test_nothing_else_is_held_up_by_the_look_at_many_records() -> None:
    """Of an extent of very many small messages no more than a slice is looked at in one turn."""

    async def test(bench: Bench) -> None:
        queue: Any = bench.queue
        extent = queue.pending.extents.current
        for n in range(20_000):
            extent.offsets.append(n)
            extent.slots.append(0xFFFF)
        with others() as seen:
            await queue.space.copy([extent])
        assert seen.turns >= 4

    simulate(test)
