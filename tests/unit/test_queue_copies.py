"""Copies that give the beginning of a log back: they give way when the disk becomes full, and take
no more of it than was said before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from dispatcher.core.message import Message
from dispatcher.core.retry import RetryPolicy
from dispatcher.queue.compaction.source import ReclaimPolicy, Source
from dispatcher.queue.partition import Partition
from dispatcher.queue.pending.extents import Extent, Owner
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.records.kinds import OVERHEAD_BYTES
from dispatcher.testing.log import FaultyLog
from dispatcher.testing.loop import others
from dispatcher.testing.queue import Bench, destination, failed, message, simulate
from tests.unit.test_queue_admin import big, dead

GREEDY = ReclaimPolicy(
    slack_bytes=CHUNK_BYTES, dead_end_bytes=CHUNK_BYTES, copy_bytes=100_000, spare_bytes=10_000
)
_NEVER = ReclaimPolicy(slack_bytes=1 << 40)
_CHUNKS = 12


def _small_extents(queue: Partition) -> None:
    queue.pending.extents.extent_bytes = 2 * CHUNK_BYTES
    queue.dead_letters.holdings.extents.extent_bytes = 2 * CHUNK_BYTES


def _fill_soon(log: FaultyLog) -> None:
    """Leave room for little more than a copied chunk, and a third of what is there kept back."""
    log.capacity_bytes = (log.size_bytes + CHUNK_BYTES + 50_000) * 4 // 3


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110  # simulated time
            await asyncio.sleep(0.01)


def test_disk_that_fills_while_a_large_dead_letter_is_copied_comes_back_by_purging() -> None:
    """The copy gives way: purging finds the space that is kept back for it, and what is purged is
    trimmed."""

    async def test(bench: Bench) -> None:
        letters, admin = bench.queue.dead_letters, bench.queue.admin
        kept = await big(bench, _CHUNKS)
        bench.end(bench.deliverer.flying[0], failed(404))
        await _until(lambda: len(letters) == 1)
        bench.dead_log.append_s = 0.02
        for n in range(100):
            receipt = bench.accept(message(name=f"d{n}", body=bytes(100_000)))
            await asyncio.sleep(0.01)
            assert isinstance(receipt.answer, Message)
            bench.end(receipt.answer, failed(404))
            await _until(lambda: len(letters) == 2)
            await admin.purge([receipt.answer.wire_id.decode()])
            if letters.committer.copies.under_way:
                break
        _fill_soon(bench.dead_log)
        await _until(lambda: letters.full)
        await asyncio.sleep(5)
        assert letters.full
        assert not letters.committer.is_stuck, "what is kept back is there"
        before = bench.dead_log.size_bytes
        assert (await asyncio.wait_for(admin.purge([kept]), 1)).count == 1
        await _until(lambda: not letters.full)
        assert bench.dead_log.size_bytes < before / 4
        await dead(bench, "another")
        await _until(lambda: len(letters) == 1)
        assert not bench.notes.errors

    simulate(test, prepare=_small_extents, reclaim=GREEDY)


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_disk_that_fills_while_messages_are_copied_comes_back_by_delivering(large: bool) -> None:
    """The copies give way, and what is delivered is trimmed."""

    async def test(bench: Bench) -> None:
        queue = bench.queue
        await (_accept_large if large else _accept_many)(bench)
        waits = queue.pending.index.count
        bench.log.append_s = 0.02
        for n in range(100):
            await _come_and_go(bench, f"m{n}")
            if queue.committer.copies.under_way:
                break
        _fill_soon(bench.log)
        await _until(lambda: queue.committer.full)
        await asyncio.sleep(5)
        assert queue.committer.full
        assert not queue.committer.is_stuck, "what is kept back is there"
        assert queue.pending.index.count == waits
        while bench.deliverer.flying:
            bench.end(bench.deliverer.flying[0])
            await asyncio.sleep(0.01)
        assert not queue.pending.index.count
        await _until(lambda: not queue.committer.full)
        assert bench.log.size_bytes < CHUNK_BYTES * _CHUNKS / 2
        assert not bench.notes.errors
        await bench.crash()
        await bench.start()
        assert not bench.queue.pending.index.count, "nothing comes back"

    simulate(test, prepare=_small_extents, reclaim=GREEDY, workers=64)


async def _come_and_go(bench: Bench, name: str) -> None:
    bench.accept(message(name=name, body=bytes(100_000)))
    await asyncio.sleep(0.06)
    bench.end(next(one for one in bench.deliverer.flying if one.target == f"/{name}"))


async def _accept_large(bench: Bench) -> Message:
    upload = bench.queue.intake.start_upload(lambda: None)
    for n in range(_CHUNKS):
        upload.write(bytes([n]) * CHUNK_BYTES)
    sent = message(destination("held"), name="big", body=b"")
    sent.body_size = upload.size_bytes
    receipt = bench.receipts.one()
    bench.queue.intake.accept(sent, receipt, upload)
    await _until(lambda: receipt.answer is sent)
    return sent


async def _accept_many(bench: Bench) -> None:
    for n in range(30):
        bench.accept(message(destination("held"), name=f"held{n}", body=bytes(100_000)))
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("copied_before", [False, True])
def test_copies_take_no_more_than_was_said_of_messages_that_were_tried_often(
    copied_before: bool,
) -> None:
    """Their attempts are copied with them, and large bodies as a whole: on a full disk there must
    be space for all of that before it is begun."""

    async def test(bench: Bench) -> None:
        queue = bench.queue
        await _accept_large(bench)
        for n in range(20):
            bench.accept(message(destination(f"h{n}"), name=f"m{n}", body=b"x"))
        for _ in range(12):
            await asyncio.sleep(120)
            for sent in list(bench.deliverer.flying):
                bench.end(sent, failed(503))
        await asyncio.sleep(1)
        assert max(queue.pending.index.attempts) > 4
        for _ in range(1 + copied_before):
            extents = [extent for extent in queue.pending.extents if extent.live]
            queue.pending.extents.cut()
            assert len(extents) > 5
            said = await _said(queue.space, extents)
            before = _stored_bytes(bench.log)
            copied = queue.space.copied_total
            await queue.space.copy(extents)
            assert queue.space.copied_total == copied + 21
            taken = _stored_bytes(bench.log) - before
            assert said * 9 // 10 < taken <= said, "and not much less: it would not be begun"

    policy = RetryPolicy(retry_limit=1000, delay_ms=1000, max_delay_ms=20_000)
    simulate(test, prepare=_small_extents, reclaim=_NEVER, policy=policy, workers=64)


def test_copies_take_no_more_than_was_said_of_large_dead_letters() -> None:
    """Each is counted once, however many extents it lies in."""

    async def test(bench: Bench) -> None:
        letters = bench.queue.dead_letters
        await big(bench, _CHUNKS)
        bench.end(bench.deliverer.flying[0], failed(404))
        await dead(bench, "small")
        await _until(lambda: len(letters) == 2)
        extents = list(letters.holdings.extents)
        letters.holdings.extents.cut()
        said = await _said(letters.space, extents)
        before = _stored_bytes(bench.dead_log)
        await letters.space.copy(extents)
        taken = _stored_bytes(bench.dead_log) - before
        assert said * 9 // 10 < taken <= said

    simulate(test, prepare=_small_extents, reclaim=_NEVER)


def test_attempts_that_fail_leave_alone_what_is_kept_back_when_no_caller_comes() -> None:
    """Their records would use it up, little by little, and it would not be known that the disk is
    full: nothing could be settled, or copied, when the destination is back."""

    async def test(bench: Bench) -> None:
        queue = bench.queue
        for n in range(200):
            bench.accept(message(destination(f"h{n}"), name=f"m{n}"))
        await asyncio.sleep(0.1)
        bench.log.capacity_bytes = (bench.log.size_bytes + 5_000) * 4 // 3
        for _ in range(20):
            for sent in list(bench.deliverer.flying):
                bench.end(sent, failed(503))
            await asyncio.sleep(30)
        assert queue.committer.full
        assert bench.log.urgent_bytes > bench.log.capacity_bytes / 6
        bench.deliverer.answer = lambda sent: queue.settling.delivered(sent, 200)
        for sent in list(bench.deliverer.flying):
            bench.end(sent)
        await _until(lambda: not queue.pending.index.count)
        await _until(lambda: not queue.committer.full)
        assert not queue.committer.copies.under_way

    policy = RetryPolicy(retry_limit=1000, delay_ms=1000, max_delay_ms=20_000)
    simulate(test, log=FaultyLog(max_batch_bytes=5_000), policy=policy, workers=300)


class _Told(FaultyLog):
    """A log that says where its oldest part ends."""

    ends_at: int | None = None

    @property
    def oldest_ends_at(self) -> int | None:
        return self.ends_at


@pytest.mark.parametrize("is_told", [True, False])
def test_full_disk_is_copied_as_far_as_gives_something_back(is_told: bool) -> None:
    """All that is needed finds no space for its copies, but that of the oldest part does: this part
    pays for the next. Where a log does not say how far that is, nothing is copied in vain."""

    async def test(bench: Bench) -> None:
        queue, log = bench.queue, bench.log
        assert isinstance(log, _Told)
        for n in range(400):
            bench.accept(message(destination(f"h{n}"), bytes(1000), name=f"m{n}"))
        await _until(lambda: len(bench.deliverer.flying) == 400)
        for n, sent in enumerate(list(bench.deliverer.flying)):
            if n % 4:
                bench.end(sent)
        await _until(lambda: queue.pending.index.count == 100)
        _, second, *_ = queue.pending.extents
        before = log.size_bytes
        log.ends_at = second.start if is_told else None
        log.capacity_bytes = before + 30_000  # 100 000 are needed
        refused = bench.accept(message())
        await _until(lambda: refused.answer is not None)
        await asyncio.sleep(30)
        assert (log.size_bytes < before / 2) is is_told
        assert is_told or log.size_bytes >= before

    def small_extents(queue: Partition) -> None:
        queue.pending.extents.extent_bytes = 20_000

    reclaim = ReclaimPolicy(slack_bytes=1 << 40, spare_bytes=1000)
    simulate(test, log=_Told(), prepare=small_extents, reclaim=reclaim, workers=500)


def _stored_bytes(log: FaultyLog) -> int:
    """What was ever stored, also what was trimmed since."""
    return sum(len(payload) + OVERHEAD_BYTES for batch in log.appended for payload in batch)


async def _said(source: Source, extents: Sequence[Extent]) -> int:
    """What copying the oldest extents takes, as a full disk's reclaimer reckons."""
    counted: set[Owner] = set()
    said = 0
    for extent in extents:
        said += source.cost_bytes(extent, counted) + await source.growth_bytes(extent)
    return said


def test_others_have_their_turn_while_uploads_are_looked_through() -> None:
    """Only those with a chunk in the extent that is copied are looked at, and a long one in
    slices."""

    async def test(bench: Bench) -> None:
        queue = bench.queue
        upload = queue.intake.start_upload(lambda: None)
        upload.write(b"first")
        await asyncio.sleep(0.1)
        uploads = [queue.intake.start_upload(lambda: None) for _ in range(1000)]
        extent = queue.pending.extents.current
        queue.pending.extents.cut()
        for other in uploads:
            other.write(b"later")
        await asyncio.sleep(0.1)
        (first,) = upload.positions
        upload.positions += [other.positions[0] for other in uploads] * 20
        with others() as seen:
            await queue.space.copy([extent])
        assert upload.positions[0] > first
        assert seen.turns >= len(upload.positions) // 2000
        assert len(bench.log.records) == len(uploads) + 1, "no other was copied"

    simulate(test, reclaim=_NEVER)
