"""Messages that are accepted together: all of them or none, whatever their bodies are."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from dispatcher.core.message import Message
from dispatcher.core.outcome import Failure
from dispatcher.errors import LogError, Refusal
from dispatcher.queue.bodies.copied import CopiedUpload
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.records.kinds import OVERHEAD_BYTES
from dispatcher.queue.refusals import (
    BACKLOG_FULL,
    DISK_FULL,
    GROUP_TOO_LARGE,
    LOG_FAILED,
    SHUTTING_DOWN,
)
from dispatcher.testing.log import FaultyLog, Space
from dispatcher.testing.queue import Bench, Receipts, destination, failed, message, simulate

MOST = 512 * 1024
"""What a batch of the log holds."""


def group(count: int, body: bytes = b"hello", *, name: str = "x") -> list[Message]:
    return [message(destination(f"h{number}"), body, name=name) for number in range(count)]


def answers(receipts: Sequence[Receipts.One]) -> set[Message | bytes | Refusal | None]:
    return {receipt.answer for receipt in receipts}


async def delivered(bench: Bench) -> dict[str, bytes]:
    """Deliver all, and return the body of each by its host."""
    found: dict[str, bytes] = {}
    while bench.deliverer.flying:
        for sent in list(bench.deliverer.flying):
            body = sent.body
            if sent.chunks is not None:
                body = b"".join(await bench.queue.settling.read_body(list(sent.chunks)))
            assert len(body) == sent.body_size
            found[sent.destination.host] = body
            bench.end(sent)
        await asyncio.sleep(1)
    return found


def upload_of(bench: Bench, messages: list[Message], body: bytes) -> CopiedUpload:
    upload = bench.queue.intake.start_uploads(
        lambda: None, copies=len(messages), head_bytes=sum(len(one.head) for one in messages)
    )
    for start in range(0, len(body), CHUNK_BYTES):
        upload.write(body[start : start + CHUNK_BYTES])
    for one in messages:
        one.body, one.body_size = b"", len(body)
    return upload


def test_group_is_one_batch_and_each_message_counts() -> None:
    """All are durable when the receipt comes, each has an id of its own, and each is delivered."""

    async def test(bench: Bench) -> None:
        bench.log.append_s = 0.5
        sent = group(20)
        receipts = bench.accept_all(sent)
        await asyncio.sleep(0.4)
        assert answers(receipts) == {None}
        await asyncio.sleep(0.4)
        assert [receipt.answer for receipt in receipts] == sent
        assert [len(batch) for batch in bench.log.appended] == [20]
        assert len({one.wire_id for one in sent}) == 20
        assert bench.queue.figures.accepted_total == 20
        assert await delivered(bench) == {f"h{number}": b"hello" for number in range(20)}
        assert bench.queue.figures.delivered_total == 20

    simulate(test, workers=30)


def test_group_is_refused_as_a_whole_when_the_disk_is_full() -> None:
    """Also one with a body in chunks, whose copies give their space back."""

    async def test(bench: Bench) -> None:
        bench.log.capacity_bytes = MOST
        sent = group(10)
        large = bench.receipts.one()
        bench.queue.intake.accept_all(
            sent,
            Receipts.Together([large] + [bench.receipts.one() for _ in sent[1:]]),
            upload_of(bench, sent, bytes(CHUNK_BYTES + 1)),
        )
        await asyncio.sleep(5)
        assert large.answer is DISK_FULL
        bench.log.space = Space.NOTHING
        assert answers(bench.accept_all(group(3))) <= {None, DISK_FULL}
        await asyncio.sleep(5)
        assert set(bench.receipts.refused) == {DISK_FULL}
        assert not bench.receipts.accepted
        assert not bench.queue.pending.live_bytes
        bench.log.space, bench.log.capacity_bytes = Space.ENOUGH, None
        await asyncio.sleep(5)
        receipts = bench.accept_all(group(3))
        await asyncio.sleep(1)
        assert all(isinstance(receipt.answer, Message) for receipt in receipts)

    simulate(test)


def test_group_is_refused_as_a_whole_when_the_log_failed() -> None:
    """Whether it is stored nobody knows, and that is said of all."""

    async def test(bench: Bench) -> None:
        bench.log.broken = True
        receipts = bench.accept_all(group(3))
        await asyncio.sleep(1)
        assert answers(receipts) == {LOG_FAILED}
        assert answers(bench.accept_all(group(3))) == {LOG_FAILED}

    simulate(test)


def test_group_is_refused_as_a_whole_when_the_server_stops() -> None:
    """One that came before is stored."""

    async def test(bench: Bench) -> None:
        bench.log.append_s = 0.5
        before = bench.accept_all(group(3))
        await bench.stop()
        assert all(isinstance(receipt.answer, Message) for receipt in before)
        assert answers(bench.accept_all(group(3))) == {SHUTTING_DOWN}

    simulate(test)


def test_small_bodies_that_no_batch_holds_go_into_chunks() -> None:
    """Ten times 200 KiB; the messages themselves are one batch all the same."""

    async def test(bench: Bench) -> None:
        body = bytes(range(200)) * 1024
        receipts = bench.accept_all(group(10, body))
        await asyncio.sleep(1)
        assert all(isinstance(receipt.answer, Message) for receipt in receipts)
        assert len(bench.log.appended[-1]) == 10
        assert await delivered(bench) == {f"h{number}": body for number in range(10)}
        await asyncio.sleep(1)
        assert not bench.queue.pending.live_bytes

    simulate(test, workers=20)


@pytest.mark.parametrize("size", [CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_each_message_has_a_large_body_of_its_own(size: int) -> None:
    """So one that is delivered takes nothing from the others, and one that waits keeps its own."""

    async def test(bench: Bench) -> None:
        body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        sent = group(4)
        upload = upload_of(bench, sent, body)
        together = Receipts.Together([bench.receipts.one() for _ in sent])
        bench.queue.intake.accept_all(sent, together, upload)
        await asyncio.sleep(1)
        assert bench.receipts.accepted == sent
        assert len({one.chunks for one in sent}) == 4
        assert bench.queue.pending.live_bytes >= 4 * size
        last = next(one for one in bench.deliverer.flying if one.destination.host == "h3")
        bench.deliverer.flying.remove(last)
        assert await delivered(bench) == {f"h{number}": body for number in range(3)}
        await asyncio.sleep(1)
        assert size <= bench.queue.pending.live_bytes < 1.1 * size
        bench.deliverer.flying.append(last)
        assert await delivered(bench) == {"h3": body}

    simulate(test)


def test_copies_of_a_large_body_take_bounded_memory() -> None:
    """However many members there are, no more waits for the log than a batch, and what the caller
    has sent."""

    async def test(bench: Bench) -> None:
        bench.log.append_s = 0.01
        sent = group(40)
        most = 0
        upload = bench.queue.intake.start_uploads(lambda: None, copies=40, head_bytes=4000)
        for _ in range(3):
            upload.write(bytes(CHUNK_BYTES))
            while upload.unstored_bytes >= CHUNK_BYTES:
                most = max(most, upload.unstored_bytes)
                assert bench.queue.committer.waiting_bytes <= 2 * (CHUNK_BYTES + OVERHEAD_BYTES + 8)
                await asyncio.sleep(0.001)
        assert most <= 3 * CHUNK_BYTES
        for one in sent:
            one.body, one.body_size = b"", 3 * CHUNK_BYTES
        together = Receipts.Together([bench.receipts.one() for _ in sent])
        bench.queue.intake.accept_all(sent, together, upload)
        await asyncio.sleep(5)
        assert bench.receipts.accepted == sent

    simulate(test)


def test_caller_that_goes_away_leaves_nothing_of_a_large_body() -> None:
    """Copies that are on their way are dead bytes when they arrive."""

    async def test(bench: Bench) -> None:
        bench.log.append_s = 0.5
        upload = upload_of(bench, group(8), bytes(2 * CHUNK_BYTES))
        await asyncio.sleep(0.7)
        assert bench.queue.pending.live_bytes
        upload.abort()
        upload.abort()
        await asyncio.sleep(5)
        assert not bench.queue.pending.live_bytes
        assert not upload.unstored_bytes
        assert not bench.queue.pending.uploads

    simulate(test)


def test_heads_that_no_batch_holds_are_refused() -> None:
    """With 413; of a large body when its first chunk comes, and not when it is there."""

    async def test(bench: Bench) -> None:
        for body in (b"", b"small", bytes(CHUNK_BYTES)):
            sent = group(20, body)
            for one in sent:
                one.head += b"A: %b\r\n" % bytes(MOST // 20)
            assert answers(bench.accept_all(sent)) == {GROUP_TOO_LARGE}
        upload = bench.queue.intake.start_uploads(lambda: None, copies=2, head_bytes=MOST)
        upload.write(b"x")
        assert upload.refusal is GROUP_TOO_LARGE
        upload.abort()
        assert not bench.log.appended
        assert not bench.queue.pending.live_bytes

    simulate(test)


def test_copies_end_where_the_backlog_is_full() -> None:
    """There may be hundreds of them, so the limit is looked at with each chunk."""

    async def test(bench: Bench) -> None:
        sent = group(8)
        upload = bench.queue.intake.start_uploads(lambda: None, copies=8, head_bytes=800)
        for _ in range(4):
            upload.write(bytes(CHUNK_BYTES))
            await asyncio.sleep(1)
        assert upload.refusal is BACKLOG_FULL
        assert bench.queue.pending.uploading_bytes < 17 * (CHUNK_BYTES + OVERHEAD_BYTES + 8)
        together = Receipts.Together([bench.receipts.one() for _ in sent])
        bench.queue.intake.accept_all(sent, together, upload)
        assert answers(together.ones) == {BACKLOG_FULL}
        assert not bench.queue.pending.live_bytes

    simulate(test, max_backlog_bytes=9 * CHUNK_BYTES)


def test_member_that_is_down_holds_up_no_other() -> None:
    """It is tried again for itself, with an id and attempts of its own."""

    async def test(bench: Bench) -> None:
        bench.accept_all(group(3))
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        down = next(one for one in bench.deliverer.flying if one.destination.host == "h1")
        bench.end(down, failed(failure=Failure.CONNECTION))
        for one in list(bench.deliverer.flying):
            bench.end(one)
        assert bench.queue.figures.delivered_total == 2
        await asyncio.sleep(1)
        (again,) = bench.deliverer.flying
        assert (again.wire_id, again.attempt) == (down.wire_id, 2)

    simulate(test)


@pytest.mark.parametrize("keep_batch", [False, True])
def test_crash_keeps_all_or_none(keep_batch: bool) -> None:
    """Of what was not answered; and what was answered is there."""

    async def test(bench: Bench) -> None:
        bench.accept_all(group(5, name="first"))
        await asyncio.sleep(0.1)
        bench.log.append_s = 1.0
        receipts = bench.accept_all(group(5, name="second"))
        await asyncio.sleep(0.5)
        await bench.crash(keep_batch=keep_batch)
        assert answers(receipts) == {None}
        await bench.start()
        bench.deliverer.started.clear()
        await asyncio.sleep(0.1)
        await delivered(bench)
        targets = sorted(target for target, _ in bench.deliverer.started)
        assert targets == ["/first"] * 5 + ["/second"] * 5 * keep_batch

    simulate(test, workers=20)


def test_receipt_that_raises_hurts_no_message() -> None:
    """They exist, whatever became of the caller."""

    class Broken:
        def accepted_all(self, messages: object) -> None:
            raise LogError("the caller is gone")

        def duplicate_all(self, message_ids: Sequence[bytes]) -> None:
            raise AssertionError(message_ids)

        def refused(self, refusal: Refusal) -> None:
            raise AssertionError(refusal)

    async def test(bench: Bench) -> None:
        bench.queue.intake.accept_all(group(3), Broken())
        await asyncio.sleep(1)
        assert len(bench.deliverer.flying) == 3
        assert [name for name, _ in bench.notes.deaths] == ["stored"]

    simulate(test)


def test_group_waits_for_a_batch_that_has_room_for_all_of_it() -> None:
    """A unit is never divided, whatever waits before it."""

    async def test(bench: Bench) -> None:
        bench.log.append_s = 0.1
        bench.accept(message(name="first"))
        for number in range(4):
            bench.accept(message(name=f"m{number}", body=bytes(80_000)))
        receipts = bench.accept_all(group(4, bytes(80_000)))
        await asyncio.sleep(2)
        assert all(isinstance(receipt.answer, Message) for receipt in receipts)
        assert [len(batch) for batch in bench.log.appended] == [1, 4, 4]

    simulate(test, log=FaultyLog(max_batch_bytes=MOST))
