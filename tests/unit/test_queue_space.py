"""The queue and its log: large bodies, copying forward, trimming, damage, limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from dispatcher.core.clock import QueueUs
from dispatcher.core.message import Message
from dispatcher.errors import LogBusy, LogCorrupt, Refusal
from dispatcher.queue.bodies.upload import ChunkUpload
from dispatcher.queue.compaction.messages import Messages
from dispatcher.queue.compaction.source import ReclaimPolicy
from dispatcher.queue.partition import Partition
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.ports import CHUNK_BYTES, LogName
from dispatcher.queue.records.history import decode_history
from dispatcher.queue.records.kinds import Kind
from dispatcher.queue.recovery.replay import Recovery
from dispatcher.testing import queue as testing
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.lanes import lanes_of
from dispatcher.testing.log import FaultyLog, Space
from dispatcher.testing.loop import run
from dispatcher.testing.queue import Bench, Receipts, destination, failed, message

CHUNKS = [b"%d" % n + b"c" * (CHUNK_BYTES - 1) for n in range(3)] + [b"the end"]


def _small_extents(queue: Partition) -> None:
    queue.pending.extents.extent_bytes = 2_000


def simulate(test: Callable[[Bench], Coroutine[Any, Any, None]], **options: Any) -> Bench:
    """Run a test with a started queue whose extents are small."""

    async def main(clock: SimulatedClock) -> Bench:
        bench = await Bench(clock, prepare=_small_extents, **options).start()
        await test(bench)
        return bench

    return run(main)


@pytest.fixture
def greedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy forward as soon as there is anything dead."""
    monkeypatch.setattr(testing, "RECLAIM", ReclaimPolicy(slack_bytes=1_000, dead_end_bytes=1_000))


def _upload(bench: Bench, name: str = "big") -> tuple[ChunkUpload, Message, Receipts.One]:
    upload = bench.queue.intake.start_upload(lambda: None)
    for chunk in CHUNKS:
        upload.write(chunk)
    sent = message(name=name, body=b"")
    sent.body_size = sum(map(len, CHUNKS))
    return upload, sent, bench.receipts.one()


async def _accept_big(bench: Bench, name: str = "big") -> Message:
    upload, sent, receipt = _upload(bench, name)
    bench.queue.intake.accept(sent, receipt, upload)
    upload.abort()  # used up: it has no effect
    await asyncio.sleep(0.01)
    assert receipt.answer is sent
    return sent


async def _read(bench: Bench, sent: Message) -> bytes:
    assert sent.chunks is not None
    return b"".join(await bench.queue.settling.read_body(list(sent.chunks)))


async def _pass_through(bench: Bench, count: int, size: int = 1_000) -> None:
    """Let other messages be accepted and delivered at once."""

    def answer(sent: Message) -> None:
        bench.queue.settling.delivered(sent, 200)

    held = list(bench.deliverer.flying)
    for n in range(count):
        bench.accept(message(body=b"x" * size, name=f"other{n}"))
        await asyncio.sleep(0.01)
        for sent in [sent for sent in bench.deliverer.flying if sent not in held]:
            bench.deliverer.flying.remove(sent)
            answer(sent)
    await asyncio.sleep(1.1)


async def _until(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came")


def _live(bench: Bench) -> int:
    return sum(extent.live for extent in bench.queue.pending.extents)


# Large bodies.


def test_large_body_is_delivered_from_its_chunks_also_after_a_restart() -> None:
    """The message exists with its last record; its chunks are live as long as it is."""

    async def test(bench: Bench) -> None:
        await _accept_big(bench)
        assert bench.queue.pending.uploading_bytes == 0
        await bench.crash()
        await bench.start()
        await asyncio.sleep(0.1)
        (sent,) = bench.deliverer.flying
        assert await _read(bench, sent) == b"".join(CHUNKS)
        bench.end(sent)
        assert _live(bench) == 0
        assert bench.queue.pending.index.live_bytes == 0

    simulate(test)


def test_aborted_upload_leaves_dead_bytes_and_nothing_else() -> None:
    """Whether the caller goes away before, while or after its chunks became durable."""

    async def test(bench: Bench) -> None:
        bench.log.append_s = 0.01
        for wait in (0.0, 0.015, 1.0):
            upload, _, _ = _upload(bench)
            await asyncio.sleep(wait)
            upload.abort()
            upload.abort()
            await asyncio.sleep(1)
            assert _live(bench) == 0
            assert bench.queue.pending.uploading_bytes == 0
            assert upload.unstored_bytes == 0

    simulate(test)


def test_refused_upload_refuses_its_message_once_and_lets_go() -> None:
    """The disk becomes full in the middle of a body."""

    async def test(bench: Bench) -> None:
        bench.log.append_s = 0.01
        progress: list[int] = []
        upload = bench.queue.intake.start_upload(lambda: progress.append(upload.unstored_bytes))
        upload.write(CHUNKS[0])
        await asyncio.sleep(0.1)
        bench.log.space = Space.RESERVE
        for chunk in CHUNKS[1:]:
            upload.write(chunk)
        receipt = bench.receipts.one()
        bench.queue.intake.accept(message(body=b""), receipt, upload)
        await asyncio.sleep(1)
        assert isinstance(receipt.answer, Refusal)
        assert receipt.answer.slug == "disk_full"
        assert upload.refusal is not None
        assert progress == [0]
        assert _live(bench) == 0
        assert bench.queue.pending.uploading_bytes == 0

    simulate(test)


def test_upload_without_a_chunk_is_a_message_without_body() -> None:
    """Nothing was written: there is nothing to hold."""

    async def test(bench: Bench) -> None:
        receipt = bench.receipts.one()
        bench.queue.intake.accept(
            message(body=b""), receipt, bench.queue.intake.start_upload(lambda: None)
        )
        await asyncio.sleep(0.1)
        (sent,) = bench.deliverer.flying
        assert sent.chunks is None
        bench.end(sent)
        assert _live(bench) == 0

    simulate(test)


@pytest.mark.usefixtures("greedy")
def test_delivered_large_body_whose_chunks_are_trimmed_does_not_come_back() -> None:
    """Its chunks may be trimmed before the record that settles it is durable. If power fails in
    between, its message is still there, but must not be delivered without its body."""

    async def test(bench: Bench) -> None:
        sent = await _accept_big(bench)
        assert sent.chunks is not None
        bench.end(sent)
        await bench.log.trim(bench.queue.pending.extents.of(sent.position).start)
        assert not [p for p, _ in bench.log.records if p == sent.chunks[0]]
        assert [p for p, _ in bench.log.records if p == sent.position]
        await bench.crash()
        await bench.start()
        await asyncio.sleep(1)
        assert bench.queue.pending.index.count == 0
        assert len(bench.deliverer.started) == 1
        assert not bench.notes.errors

    simulate(test)


@pytest.mark.usefixtures("greedy")
@pytest.mark.parametrize("when", ["in flight", "in memory"])
def test_large_body_is_found_when_it_is_copied_forward_meanwhile(when: str) -> None:
    """Delivery holds the old positions of the chunks; they lead to the copies."""

    async def test(bench: Bench) -> None:
        if when == "in memory":
            for n in range(2):  # the lane's limit is used up
                bench.accept(message(name=f"first{n}"))
            await asyncio.sleep(0.01)
        sent = await _accept_big(bench)
        before = sent.chunks
        await _pass_through_log(bench, 2_000_000)
        await asyncio.sleep(5)
        assert before is not None
        assert before[0] not in dict(bench.log.records), "it was not copied"
        if when == "in memory":
            bench.end(bench.deliverer.flying[0])
        sent = next(m for m in bench.deliverer.flying if m.target == "/big")
        assert await _read(bench, sent) == b"".join(CHUNKS)
        bench.end(sent, failed(500))
        assert not bench.queue.pending.owned.relocated
        await asyncio.sleep(1)
        again = next(m for m in bench.deliverer.flying if m.target == "/big")
        assert again.attempt == 2
        assert await _read(bench, again) == b"".join(CHUNKS)
        bench.end(again)
        for other in list(bench.deliverer.flying):
            bench.end(other)
        assert bench.queue.pending.index.live_bytes == 0

    simulate(test)


async def _pass_through_log(bench: Bench, size: int) -> None:
    """Fill the log with dead bytes: uploads that are given up."""
    for _ in range(size // CHUNK_BYTES + 1):
        upload = bench.queue.intake.start_upload(lambda: None)
        upload.write(b"d" * CHUNK_BYTES)
        await asyncio.sleep(0.01)
        upload.abort()
    await asyncio.sleep(1)


# Copying forward and trimming.


@pytest.mark.usefixtures("greedy")
def test_message_keeps_its_id_its_attempts_and_its_time_when_it_is_copied() -> None:
    """Copied several times, while it waits for a retry, and read back by the next start."""

    async def test(bench: Bench) -> None:
        bench.accept(message(name="kept"))
        await asyncio.sleep(0.01)
        (sent,) = bench.deliverer.flying
        bench.end(sent, failed(503, retry_after=b"15"))
        due_at = bench.queue.pending.index.due_at[sent.slot]
        for n in range(30):
            upload = bench.queue.intake.start_upload(lambda: None)
            upload.write(b"%d" % n * 1000)
            await asyncio.sleep(0.01)
            upload.abort()
        await asyncio.sleep(2)
        assert bench.queue.space.copied_total > 1
        assert sent.position not in dict(bench.log.records)
        assert bench.queue.pending.find(sent.position, sent.incarnation) == sent.slot
        await bench.crash()
        await bench.start()
        slot = bench.queue.pending.find(sent.position, sent.incarnation)
        assert bench.queue.pending.index.due_at[slot] == due_at
        await asyncio.sleep(16)
        (again,) = bench.deliverer.flying
        assert (again.wire_id, again.attempt) == (sent.wire_id, 2)
        assert bench.queue.clock.now_us() >= due_at

    simulate(test)


@pytest.mark.usefixtures("greedy")
def test_log_is_trimmed_when_everything_is_delivered() -> None:
    """The log of an idle queue is small, whatever went through it."""

    async def test(bench: Bench) -> None:
        await _pass_through(bench, 50)
        assert bench.queue.pending.index.live_bytes == 0
        assert bench.log.size_bytes < 6_000
        assert len(bench.queue.pending.extents) < 5

    simulate(test)


def test_retry_record_that_comes_when_memory_was_given_back_harms_nobody() -> None:
    """The message was delivered before the record of its earlier retry was durable, and nothing was
    left: whoever shares the batch must be told all the same."""

    async def test(bench: Bench) -> None:
        bench.queue.pending.index.shrink_above = 0
        bench.accept(message())
        await asyncio.sleep(0.01)
        bench.log.append_s = 1.0
        bench.accept(message(name="holds the log"))
        await asyncio.sleep(0.9)
        bench.end(bench.deliverer.flying[0], failed(500))
        await _until(lambda: bool(bench.deliverer.flying))
        while bench.deliverer.flying:
            bench.end(bench.deliverer.flying[0])
            await asyncio.sleep(0)
        bench.queue.pending.shrink()
        receipt = bench.accept(message(name="later"))
        await asyncio.sleep(5)
        assert isinstance(receipt.answer, Message)

    simulate(test)


@pytest.mark.usefixtures("greedy")
def test_slow_upload_does_not_make_every_batch_look_through_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A body that arrives slowly is copied now and then, and does not hold the beginning of the
    log."""
    looks: list[object] = []
    copy = Messages.copy

    def counted(self: Messages, extent: Any) -> Any:
        looks.append(extent)
        return copy(self, extent)

    monkeypatch.setattr(Messages, "copy", counted)

    async def test(bench: Bench) -> None:
        upload = bench.queue.intake.start_upload(lambda: None)
        upload.write(b"slow")
        await asyncio.sleep(0.1)
        await _pass_through(bench, 300)
        assert 1 <= len(looks) <= 160, "once for each stretch of the log"
        assert bench.log.size_bytes < 10_000
        upload.write(b" but sure")
        sent = message(name="slow", body=b"")
        sent.body_size = 13
        bench.queue.intake.accept(sent, bench.receipts.one(), upload)
        await _until(lambda: sent in bench.deliverer.flying)
        await _pass_through(bench, 30)
        assert await _read(bench, sent) == b"slow but sure"
        await bench.crash()
        await bench.start()
        await asyncio.sleep(1)
        (again,) = bench.deliverer.flying
        assert await _read(bench, again) == b"slow but sure"
        bench.end(again)
        await _pass_through(bench, 3)
        assert bench.log.size_bytes < 10_000
        assert not bench.queue.pending.uploads

    simulate(test)


@pytest.mark.usefixtures("greedy")
@pytest.mark.parametrize("read_s", [0.0, 0.003])
@pytest.mark.parametrize("ends", ["finished", "aborted"])
def test_a_body_that_ends_while_it_is_copied_is_as_it_was_sent(ends: str, read_s: float) -> None:
    """Whenever it ends: the message has the old places or the new ones, and all are released."""

    async def test(bench: Bench) -> None:
        bench.log.append_s = 0.002
        bench.log.read_s = read_s
        expected = {}
        for n in range(40):
            upload = bench.queue.intake.start_upload(lambda: None)
            for part in (b"first %d" % n, b"second"):
                upload.write(part)
            await asyncio.sleep(0.01)
            await _pass_through(bench, 2)
            copying = asyncio.create_task(
                bench.queue.space.copy([bench.queue.pending.extents.oldest])
            )
            await asyncio.sleep(0.0005 * n)
            if ends == "finished":
                sent = message(destination(f"h{n}"), name=f"big{n}", body=b"")
                sent.body_size = upload.size_bytes
                bench.queue.intake.accept(sent, bench.receipts.one(), upload)
                expected[sent.target] = b"first %dsecond" % n
            else:
                upload.abort()
            await copying
        await asyncio.sleep(1)
        await bench.crash()
        await bench.start()
        for _ in range(len(expected)):
            await _until(lambda: bool(bench.deliverer.flying))
            sent = bench.deliverer.flying[0]
            assert await _read(bench, sent) == expected.pop(sent.target)
            bench.end(sent)
        assert bench.queue.pending.index.count == 0
        assert not bench.notes.lost
        assert _live(bench) == 0

    simulate(test, workers=100)


def test_with_event_sourcing_nothing_is_deleted_and_memory_does_not_grow() -> None:
    """EVENT_SOURCING=true: the records stay, what memory knows of dead ones does not."""

    async def test(bench: Bench) -> None:
        await _pass_through(bench, 100)
        kinds = [payload[0] for _, payload in bench.log.records]
        assert kinds.count(Kind.MESSAGE) == 100
        assert len(bench.queue.pending.extents) < 5

    simulate(test, keep_everything=True)


@pytest.mark.usefixtures("greedy")
def test_large_body_that_is_delivered_while_it_is_copied_leaves_nothing() -> None:
    """The copy that nobody needs any more is let go."""

    async def test(bench: Bench) -> None:
        sent = await _accept_big(bench)
        bench.log.append_s = 0.3
        await _pass_through_log(bench, 1_500_000)
        await _until(lambda: bench.queue.pending.uploading_bytes > CHUNK_BYTES)
        bench.end(sent)
        await asyncio.sleep(5)
        assert bench.queue.pending.index.count == 0
        assert bench.queue.pending.uploading_bytes == 0
        assert _live(bench) == 0

    simulate(test)


@pytest.mark.usefixtures("greedy")
def test_attempt_that_fails_while_its_message_is_copied_is_not_forgotten() -> None:
    """Its record lies before the copy, which therefore has to hold it."""

    async def test(bench: Bench) -> None:
        bench.accept(message())
        await asyncio.sleep(0.01)
        (sent,) = bench.deliverer.flying
        bench.log.read_s = 0.05
        upload = bench.queue.intake.start_upload(lambda: None)
        upload.write(b"d" * 10_000)
        await asyncio.sleep(0.001)
        upload.abort()
        upload = bench.queue.intake.start_upload(lambda: None)
        upload.write(b"d" * 10)
        await _until(lambda: bench.log.reads > 0)
        await asyncio.sleep(0.035)  # too late for the record to be durable when the read ends
        bench.end(sent, failed(503, retry_after=b"10"))
        await asyncio.sleep(1)
        kinds = [payload[0] for _, payload in bench.log.records]
        assert Kind.MOVED in kinds
        await bench.crash()
        await bench.start()
        await asyncio.sleep(12)
        (again,) = bench.deliverer.flying
        assert again.attempt == 2
        assert len(decode_history(again.history)) == 1

    simulate(test)


# Limits.


def test_backlog_above_the_limit_is_refused_with_large_bodies_counted() -> None:
    """MAX_BACKLOG_BYTES holds for messages, and for bodies that are still arriving."""

    async def test(bench: Bench) -> None:
        assert bench.queue.intake.refusal() is None
        upload, _, _ = _upload(bench)
        await asyncio.sleep(0.1)
        refusal = bench.queue.intake.refusal()
        assert refusal is not None
        assert (refusal.slug, refusal.status) == ("backlog_full", 503)
        upload.abort()
        assert bench.queue.intake.refusal() is None
        bench.accept(message(body=b"b" * 240_000))
        bench.accept(message(body=b"b" * 240_000))
        await asyncio.sleep(0.1)
        refusal = bench.queue.intake.refusal()
        assert refusal is not None
        bench.end(bench.deliverer.flying[0])
        assert bench.queue.intake.refusal() is None

    simulate(test, max_backlog_bytes=400_000)


def test_queue_says_why_it_accepts_nothing() -> None:
    """A failed log comes first, also while the process stops because of it; then stopping, then a
    full disk."""

    async def test(bench: Bench) -> None:
        async def slug() -> str | None:
            await asyncio.sleep(0.1)
            refusal = bench.queue.intake.refusal()
            return None if refusal is None else refusal.slug

        bench.log.space = Space.RESERVE
        bench.accept(message())
        assert await slug() == "disk_full"
        bench.log.space = Space.ENOUGH
        await asyncio.sleep(1.1)
        assert await slug() is None
        bench.queue.close_intake()
        assert await slug() == "shutting_down"
        bench.log.broken = True
        bench.accept(message())
        assert await slug() == "log_failed"
        assert [log for log, _ in bench.notes.errors] == [LogName.TRANSACTION]
        await asyncio.wait_for(bench.queue.stop(), 5)

    simulate(test)


# Damage.


class _Damaged(FaultyLog):
    is_damaged = False

    async def read(self, positions: Any) -> list[bytes]:
        if self.is_damaged:
            raise LogCorrupt("memory", 1, "damaged by the test")
        return await super().read(positions)


@pytest.mark.parametrize("reader", ["lane", "dead letter", "compaction"])
def test_damage_that_is_read_ends_the_process(reader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits silently for a message that cannot be read."""
    if reader == "compaction":
        monkeypatch.setattr(testing, "RECLAIM", ReclaimPolicy(slack_bytes=1_000))

    async def test(bench: Bench) -> None:
        assert isinstance(bench.log, _Damaged)
        sent = await _accept_big(bench)
        if reader == "compaction":
            bench.log.is_damaged = True
            await _pass_through_log(bench, 2_500_000)
        else:
            bench.end(sent, failed(404 if reader == "dead letter" else 500))
            bench.log.is_damaged = True
        await asyncio.sleep(3)
        assert len(bench.notes.errors) == 1
        assert bench.queue.committer.dead
        assert bench.accept(message()).answer is not None
        await asyncio.wait_for(bench.stop(), 20)

    simulate(test, log=_Damaged())


class _Short(FaultyLog):
    lacks_descriptors = False

    async def read(self, positions: Any) -> list[bytes]:
        if self.lacks_descriptors:
            raise LogBusy("too many open files")
        return await super().read(positions)


@pytest.mark.parametrize("reader", ["lane", "dead letter", "compaction"])
def test_read_is_made_again_when_the_process_lacked_descriptors(
    reader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is wrong with the log, so nothing ends, and nothing waits for ever."""
    if reader == "compaction":
        monkeypatch.setattr(testing, "RECLAIM", ReclaimPolicy(slack_bytes=1_000))

    async def test(bench: Bench) -> None:
        assert isinstance(bench.log, _Short)
        sent = await _accept_big(bench)
        bench.log.lacks_descriptors = True
        if reader == "compaction":
            await _pass_through_log(bench, 2_500_000)
        else:
            bench.end(sent, failed(404 if reader == "dead letter" else 500))
        await asyncio.sleep(3)
        bench.log.lacks_descriptors = False
        if reader == "compaction":
            await _pass_through_log(bench, 10)
            assert sent.position not in dict(bench.log.records)
        await asyncio.sleep(3)
        for again in list(bench.deliverer.flying):
            bench.end(again)
        assert not bench.notes.errors
        assert bench.queue.pending.index.count == 0
        assert bench.queue.figures.dead_total == (reader == "dead letter")

    simulate(test, log=_Short())


def test_stop_ends_although_a_large_dead_letter_finds_no_space() -> None:
    """It is tried again after the next start."""

    async def test(bench: Bench) -> None:
        bench.dead_log.space = Space.NOTHING
        sent = await _accept_big(bench)
        bench.end(sent, failed(404))
        await asyncio.sleep(1)
        await asyncio.wait_for(bench.stop(), 5)
        bench.dead_log.space = Space.ENOUGH
        await bench.start()
        await asyncio.sleep(0.1)
        (again,) = bench.deliverer.flying
        bench.end(again, failed(404))
        await asyncio.sleep(1)
        assert bench.queue.figures.dead_total == 1
        assert bench.queue.pending.index.count == 0
        await bench.stop()

    simulate(test)


@pytest.mark.usefixtures("greedy")
def test_stop_in_the_middle_of_a_copy_tells_every_caller() -> None:
    """A copy that is given up does not disturb the batch it is in."""

    async def test(bench: Bench) -> None:
        await _accept_big(bench)
        await _pass_through_log(bench, 300_000)
        bench.log.append_s = 0.5
        await _pass_through_log(bench, 1_500_000)
        await _until(lambda: bench.queue.reclaimer.is_busy)
        await asyncio.sleep(0.2)
        receipts = [bench.accept(message(name=f"{n}")) for n in range(3)]
        bench.end(bench.deliverer.flying[0])
        await bench.queue.stop()
        assert not bench.queue.reclaimer.is_busy
        await asyncio.sleep(1)
        assert all(isinstance(receipt.answer, Message) for receipt in receipts)

    simulate(test)


def test_recovery_does_not_resurrect_what_a_lazily_trimmed_prefix_shows() -> None:
    """Records before the trimmed position may be visited again: their settling is behind them."""

    async def test(bench: Bench) -> None:
        for n in range(3):
            bench.accept(message(name=f"{n}"))
        await asyncio.sleep(0.01)
        while bench.deliverer.flying:
            bench.end(bench.deliverer.flying[0])
            await asyncio.sleep(0)
        await asyncio.sleep(0.1)
        records = bench.log.records
        lanes = lanes_of(limit=1)
        recovery = Recovery(Pending(), lanes, bench.queue.pauses, bench.queue.keys)
        for position, payload in records:
            recovery.visit(position, payload)
        await recovery.finish(QueueUs(0), QueueUs(0))
        assert recovery.settled == 3
        assert recovery._pending.index.count == 0

    simulate(test)
