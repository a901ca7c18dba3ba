"""Idempotency keys: one message a key, however often it comes and whatever happens in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from dispatcher.core.idempotency import begin_print, print_of
from dispatcher.core.message import Message
from dispatcher.core.terms import Terms
from dispatcher.errors import Refusal
from dispatcher.queue.admin.surface import Cancelled
from dispatcher.queue.compaction.source import ReclaimPolicy
from dispatcher.queue.deadletters.retention import RetentionPolicy
from dispatcher.queue.partition import Partition
from dispatcher.queue.records.keys import decode_keys
from dispatcher.queue.records.kinds import Kind
from dispatcher.queue.records.settled import decode_settled
from dispatcher.queue.refusals import IDEMPOTENCY_CONFLICT
from dispatcher.testing.log import FaultyLog, Space
from dispatcher.testing.queue import Bench, Receipts, destination, failed, message, simulate

WINDOW_MS = 60_000
SMALL = ReclaimPolicy(slack_bytes=2_000, dead_end_bytes=500, copy_bytes=400, group_bytes=1_000)


def _small_extents(queue: Partition) -> None:
    queue.pending.extents.extent_bytes = 1_000


def simulated(test: Callable[[Bench], Coroutine[Any, Any, None]], **options: Any) -> None:
    """With a short window and small extents."""
    wanted = {"idempotency_window_ms": WINDOW_MS, "reclaim": SMALL, "prepare": _small_extents}
    bench = simulate(test, **{**wanted, **options})
    assert not bench.notes.errors
    assert not bench.notes.deaths


def keyed(
    bench: Bench, key: str, body: bytes = b"hello", *, to: str = "a.example", name: str = "x"
) -> Message:
    """A message with an idempotency key, as ingress makes it."""
    made = message(destination(to), body, name=name)
    made.accepted_at = bench.clock.now_us()
    printer = begin_print(made.head)
    printer.update(body)
    made.terms = Terms(idempotency_key=key, request_print=print_of(printer))
    return made


async def accept(bench: Bench, key: str, **asked: Any) -> Message | bytes | Refusal:
    """What a caller is told."""
    receipt = bench.accept(keyed(bench, key, **asked))
    await asyncio.sleep(0.01)
    assert receipt.answer is not None
    return receipt.answer


async def first(bench: Bench, key: str, **asked: Any) -> bytes:
    """The id of a message that was stored."""
    answer = await accept(bench, key, **asked)
    assert isinstance(answer, Message)
    return answer.wire_id


async def deliver_all(bench: Bench) -> None:
    """Until nothing is in flight."""
    while bench.deliverer.flying:
        bench.end(bench.deliverer.flying[0])
        await asyncio.sleep(0.1)


async def die(bench: Bench) -> None:
    """What is in flight becomes dead letters."""
    while bench.deliverer.flying:
        bench.end(bench.deliverer.flying[0], failed(404))
        await asyncio.sleep(0.1)


async def restart(bench: Bench) -> None:
    """As after a power failure."""
    await bench.crash()
    await bench.start()


def test_second_request_has_the_id_of_the_first_and_stores_nothing() -> None:
    """202 with the first message's id; nothing is counted as accepted."""

    async def test(bench: Bench) -> None:
        one = await first(bench, "k")
        records = len(bench.log.records)
        assert await accept(bench, "k") == one
        assert bench.queue.figures.accepted_total == 1
        assert bench.queue.pending.index.count == 1
        assert len(bench.log.records) == records

    simulated(test)


@pytest.mark.parametrize("asked", [{"body": b"other"}, {"name": "other"}, {"body": b""}])
def test_another_request_with_the_key_is_a_conflict(asked: dict[str, Any]) -> None:
    """Method and target, or the body, differ."""

    async def test(bench: Bench) -> None:
        await first(bench, "k")
        assert await accept(bench, "k", **asked) is IDEMPOTENCY_CONFLICT
        assert bench.queue.pending.index.count == 1

    simulated(test)


def test_a_key_belongs_to_its_destination() -> None:
    """The same at another place is another message."""

    async def test(bench: Bench) -> None:
        one = await first(bench, "k")
        assert await first(bench, "k", to="b.example") != one
        assert await accept(bench, "k", to="b.example") != one

    simulated(test)


def test_two_at_the_same_moment_make_one_message() -> None:
    """The second waits until the first is durable; one that asks for something else is refused
    only then, and whoever comes behind is not held up."""

    async def test(bench: Bench) -> None:
        bench.log.append_s = 1.0
        receipts = [bench.accept(keyed(bench, "k")) for _ in range(3)]
        other = bench.accept(keyed(bench, "k", b"other"))
        await asyncio.sleep(0.5)
        assert [one.answer for one in [*receipts, other]] == [None] * 4
        await asyncio.sleep(2)
        answer = receipts[0].answer
        assert isinstance(answer, Message)
        assert [one.answer for one in receipts[1:]] == [answer.wire_id] * 2
        assert other.answer is IDEMPOTENCY_CONFLICT
        assert bench.queue.pending.index.count == 1

    simulated(test)


def test_second_is_refused_when_the_first_is() -> None:
    """Nothing is there that it could be a duplicate of; and the key is free."""

    async def test(bench: Bench) -> None:
        bench.log.space = Space.NOTHING
        receipts = [bench.accept(keyed(bench, "k")) for _ in range(2)]
        await asyncio.sleep(0.5)
        slugs = [one.answer.slug for one in receipts if isinstance(one.answer, Refusal)]
        assert slugs == ["disk_full"] * 2
        bench.log.space = Space.ENOUGH
        await asyncio.sleep(3)
        await first(bench, "k")

    simulated(test)


def test_key_outlives_a_crash_after_delivery() -> None:
    """The record of the message has the key."""

    async def test(bench: Bench) -> None:
        one = await first(bench, "k")
        await deliver_all(bench)
        await restart(bench)
        assert await accept(bench, "k") == one
        assert await accept(bench, "k", body=b"other") is IDEMPOTENCY_CONFLICT

    simulated(test)


def test_keys_outlive_the_records_of_their_messages() -> None:
    """What the messages took is given back, and their keys are written again, also twice."""

    async def test(bench: Bench) -> None:
        ids = {}
        for turn in range(3):
            for number in range(60):
                key = f"{turn}-{number}"
                ids[key] = await first(bench, key, body=b"b" * 200)
            await deliver_all(bench)
            await asyncio.sleep(2)
        assert bench.log.size_bytes < 3 * len(ids) * 44 + 4_000
        kinds = [payload[0] for _, payload in bench.log.records]
        assert Kind.KEYS in kinds
        await restart(bench)
        for key, one in ids.items():
            assert await accept(bench, key, body=b"b" * 200) == one
        bench.clock.advance(us=WINDOW_MS * 1000)
        await asyncio.sleep(3)
        assert bench.queue.keys.entries.count == 0
        await first(bench, "anew")
        await deliver_all(bench)
        await asyncio.sleep(2)
        assert bench.log.size_bytes < 4_000, "nothing keeps what is over"

    simulated(test)


def test_crash_at_any_batch_of_compaction_loses_no_key() -> None:
    """Each batch may be the last one."""
    appended = 40
    for last in range(appended):

        async def test(bench: Bench, last: int = last) -> None:
            ids = {}
            for number in range(40):
                ids[f"{number}"] = await first(bench, f"{number}", body=b"b" * 100)
                await deliver_all(bench)
                if len(bench.log.appended) > last:
                    break
            await restart(bench)
            await deliver_all(bench)
            for key, one in ids.items():
                assert await accept(bench, key, body=b"b" * 100) == one

        simulated(test)


def test_cancelled_message_frees_its_key_durably() -> None:
    """It may be sent again, and that one is remembered."""

    async def test(bench: Bench) -> None:
        bench.deliverer.answer = None
        await bench.queue.admin.hold("a.example")
        one = await first(bench, "k")
        assert await bench.queue.admin.cancel(one.decode()) is Cancelled.DONE
        await restart(bench)
        two = await first(bench, "k", body=b"other")
        assert two != one
        await restart(bench)
        assert await accept(bench, "k", body=b"other") == two

    simulated(test)


@pytest.mark.parametrize("crashes", [False, True])
def test_key_is_free_when_its_dead_letter_was_purged(crashes: bool) -> None:
    """Before, it stands for the letter."""

    async def test(bench: Bench) -> None:
        one = await first(bench, "k")
        await die(bench)
        if crashes:
            await restart(bench)
        assert await accept(bench, "k") == one
        await bench.queue.admin.purge([one.decode()])
        if crashes:
            await restart(bench)
        two = await first(bench, "k")
        assert two != one
        await deliver_all(bench)
        await restart(bench)
        assert await accept(bench, "k") == two

    simulated(test)


def test_key_is_free_when_its_dead_letter_fell_to_retention() -> None:
    """As after a purge."""

    async def test(bench: Bench) -> None:
        one = await first(bench, "k")
        await die(bench)
        bench.queue.retention._policy = RetentionPolicy(max_bytes=1)
        await bench.queue.retention.drop()
        await restart(bench)
        assert await first(bench, "k") != one

    simulated(test)


def test_redriven_message_keeps_its_key() -> None:
    """Also when it was delivered then, whatever was compacted meanwhile."""

    async def test(bench: Bench) -> None:
        one = await first(bench, "k")
        await die(bench)
        for number in range(30):  # so that the key is written again
            await first(bench, f"{number}", body=b"b" * 200)
            await deliver_all(bench)
        await bench.queue.admin.redrive([one.decode()])
        await asyncio.sleep(0.1)
        assert await accept(bench, "k") == one
        await restart(bench)
        assert await accept(bench, "k") == one
        await deliver_all(bench)
        assert await accept(bench, "k") == one
        await restart(bench)
        for number in range(30, 60):
            await first(bench, f"{number}", body=b"b" * 200)
            await deliver_all(bench)
        await restart(bench)
        assert await accept(bench, "k") == one

    simulated(test)


def test_window_ends_when_it_should_unless_the_message_is_pending() -> None:
    """It begins with the 202, and lasts as long as the message waits."""

    async def test(bench: Bench) -> None:
        one = await first(bench, "delivered")
        await deliver_all(bench)
        two = await first(bench, "waits")
        bench.clock.advance(us=WINDOW_MS * 1000 - 1_000_000)
        assert await accept(bench, "delivered") == one
        bench.clock.advance(us=1_100_000)
        again = await first(bench, "delivered")
        assert again != one
        assert await accept(bench, "delivered") == again
        assert await accept(bench, "waits") == two
        await asyncio.sleep(2 * WINDOW_MS / 1000)
        assert await accept(bench, "waits") == two
        await restart(bench)
        assert await accept(bench, "waits") == two
        await deliver_all(bench)
        assert await first(bench, "waits") != two

    simulated(test)


def test_dead_letter_holds_no_key_beyond_the_window() -> None:
    """Only a pending message does."""

    async def test(bench: Bench) -> None:
        one = await first(bench, "k")
        await die(bench)
        bench.clock.advance(us=WINDOW_MS * 1000 + 100_000)
        two = await first(bench, "k")
        assert two != one
        await bench.queue.admin.redrive([one.decode()])
        await asyncio.sleep(0.1)
        assert await accept(bench, "k") == two
        await restart(bench)
        assert await accept(bench, "k") == two

    simulated(test)


def test_large_body_of_a_duplicate_is_let_go() -> None:
    """It was stored while it arrived, and holds nothing."""

    async def test(bench: Bench) -> None:
        def large() -> tuple[Receipts.One, Message]:
            upload = bench.queue.intake.start_upload(lambda: None)
            upload.write(b"c" * 300)
            upload.write(b"d" * 300)
            sent = keyed(bench, "k", b"c" * 300 + b"d" * 300)
            sent.body = b""
            receipt = bench.receipts.one()
            bench.queue.intake.accept(sent, receipt, upload)
            return receipt, sent

        one, two = large(), large()
        await asyncio.sleep(1)
        assert isinstance(one[0].answer, Message)
        assert two[0].answer == one[1].wire_id
        three = large()
        await asyncio.sleep(1)
        assert three[0].answer == one[1].wire_id
        assert bench.queue.pending.uploading_bytes == 0
        await deliver_all(bench)
        await restart(bench)
        assert large()[0].answer == one[1].wire_id

    simulated(test)


def test_key_outlives_the_chunks_of_its_message() -> None:
    """Its record is still there when they were trimmed."""

    async def test(bench: Bench) -> None:
        upload = bench.queue.intake.start_upload(lambda: None)
        for _ in range(10):
            upload.write(b"c" * 300)
        sent = keyed(bench, "k", b"c" * 3_000)
        sent.body = b""
        receipt = bench.receipts.one()
        bench.queue.intake.accept(sent, receipt, upload)
        await asyncio.sleep(1)
        await deliver_all(bench)
        await asyncio.sleep(1)
        assert sum(payload[0] == Kind.CHUNK for _, payload in bench.log.records) < 10
        await restart(bench)
        assert not bench.notes.lost
        assert await accept(bench, "k", body=b"c" * 3_000) == sent.wire_id

    simulated(test)


def test_keys_record_says_which_messages_were_given_up_only_when_that_is_durable() -> None:
    """Before, a crash would bring the message back, and its key would be free once it was
    delivered."""

    async def test(bench: Bench) -> None:
        await bench.queue.admin.hold("b.example")
        for number in range(20):
            await first(bench, f"{number}", body=b"b" * 100, to="b.example")
        waiting = [one.wire_id for one in bench.receipts.accepted]
        for one in waiting[:10]:
            cancelled = bench.queue.admin.cancel(one.decode())
            task = asyncio.ensure_future(cancelled)
            await asyncio.sleep(0)
            extent = bench.queue.pending.extents.oldest
            await bench.queue.keys.space.move_from(extent)
            await task
        seen: set[bytes] = set()
        settled: set[int] = set()
        for batch in bench.log.appended:
            for payload in batch:
                if payload[0] == Kind.UNDELIVERED:
                    settled.update(decode_settled(payload)[1])
                elif payload[0] == Kind.KEYS:
                    for key in decode_keys(payload):
                        assert not key.undelivered or key.position in settled
                        seen.add(key.hashed)
        assert seen

    simulated(test)


def test_key_that_is_written_again_while_its_message_is_redriven_is_not_lost() -> None:
    """The record that brings the message back may lie before the one that has its key."""

    async def test(bench: Bench) -> None:
        one = await first(bench, "k")
        await die(bench)
        bench.log.append_s = bench.dead_log.append_s = 1.0
        extents = bench.queue.pending.extents
        extents.cut()
        redriving = asyncio.ensure_future(bench.queue.admin.redrive([one.decode()]))
        for _ in range(100):
            await asyncio.sleep(0.1)
            if any(payload[0] == Kind.MOVED_TERMS for payload in bench.log._under_way or ()):
                break
        moving = asyncio.ensure_future(bench.queue.keys.space.move_from(extents.oldest))
        for _ in range(100):
            await asyncio.sleep(0.1)
            if bench.queue.pending.reviving:
                break
        extents.cut()
        await asyncio.gather(redriving, moving)
        bench.log.append_s = bench.dead_log.append_s = 0.0
        await asyncio.sleep(2)
        await deliver_all(bench)
        await asyncio.sleep(2)
        assert Kind.MOVED_TERMS not in [payload[0] for _, payload in bench.log.records]
        await restart(bench)
        assert await accept(bench, "k") == one

    simulated(test)


def test_keys_give_way_on_a_full_disk_where_nothing_else_can() -> None:
    """There is no space to write them again; without that nothing could be accepted until their
    window is over. Keys of what waits are kept."""

    async def test(bench: Bench) -> None:
        bench.log.capacity_bytes = 20_000
        ids: list[object] = []
        while bench.queue.intake.refusal() is None:
            receipt = bench.accept(keyed(bench, f"{len(ids)}", b""))
            await asyncio.sleep(0.01)
            ids.append(receipt.answer)
        assert isinstance(receipt.answer, Refusal)
        while bench.deliverer.flying:
            bench.end(bench.deliverer.flying[0])
            await asyncio.sleep(0.01)
        await asyncio.sleep(20)
        assert bench.queue.committer.full
        assert not bench.notes.keys
        await asyncio.sleep(20)
        assert 0 < sum(bench.notes.keys) < len(ids), "the oldest are forgotten"
        assert bench.queue.intake.refusal() is None
        await first(bench, "more")
        await deliver_all(bench)
        await restart(bench)
        assert bench.queue.pending.index.count == 0
        last = ids[-2]
        assert isinstance(last, Message)
        assert await accept(bench, f"{len(ids) - 2}", body=b"") == last.wire_id

    simulated(
        test,
        log=FaultyLog(max_batch_bytes=1_500, segment_bytes=3_000),
        reclaim=replace(SMALL, stretch_bytes=3_000, spare_bytes=4_500),
    )


def test_keys_hold_no_memory_of_a_log_that_is_kept_as_history() -> None:
    """What is known of parts of the log in which nothing waits is forgotten, keys or not; they are
    found after a restart all the same."""

    async def test(bench: Bench) -> None:
        ids = {}
        for number in range(60):
            ids[f"{number}"] = await first(bench, f"{number}", body=b"b" * 100)
            await deliver_all(bench)
        assert len(bench.queue.pending.extents) < 5
        await restart(bench)
        assert len(bench.queue.pending.extents) > 5
        await first(bench, "more")
        await deliver_all(bench)
        assert len(bench.queue.pending.extents) < 5
        for key, one in ids.items():
            assert await accept(bench, key, body=b"b" * 100) == one

    simulated(test, keep_everything=True)
