"""More comes than the disk takes: the queue refuses before memory is full and goes on by itself."""

from __future__ import annotations

import asyncio

from dispatcher.core.message import Message
from dispatcher.queue.flow.intake import MAX_UNSTORED_BYTES
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.refusals import OVERLOADED
from dispatcher.testing.queue import Bench, message, simulate

BODY = bytes(CHUNK_BYTES)


async def _until_caught_up(bench: Bench) -> None:
    for _ in range(10_000):
        if not bench.queue.committer.waiting_bytes:
            break
        await asyncio.sleep(1)
    await asyncio.sleep(1)


def test_queue_refuses_while_more_waits_for_the_log_than_it_may() -> None:
    """503 `overloaded` with Retry-After above 64 MiB, whatever the disk takes; nothing that was
    taken before is refused, and when the log has caught up more is taken."""

    async def test(bench: Bench) -> None:
        queue = bench.queue
        bench.deliverer.answer = lambda sent: queue.settling.delivered(sent, 200)
        bench.log.append_s = 0.5
        for _ in range(2):
            before = len(bench.receipts.accepted)
            receipts = []
            while queue.intake.refusal() is None:
                assert queue.committer.waiting_bytes <= MAX_UNSTORED_BYTES
                receipts.append(bench.accept(message(body=BODY)))
            assert queue.intake.refusal() is OVERLOADED
            assert (OVERLOADED.status, OVERLOADED.slug) == (503, "overloaded")
            assert OVERLOADED.retry_after_s
            assert 0 < queue.committer.waiting_bytes - MAX_UNSTORED_BYTES < len(BODY) + 1000
            assert MAX_UNSTORED_BYTES == 64 * 2**20
            await asyncio.sleep(0.4)
            assert queue.intake.refusal() is OVERLOADED, "the disk has taken nothing yet"
            await asyncio.sleep(1.2)
            assert queue.intake.refusal() is None, "what waits is below the bound again"
            await _until_caught_up(bench)
            assert all(isinstance(receipt.answer, Message) for receipt in receipts)
            assert len(bench.receipts.accepted) == before + len(receipts)
        assert not bench.receipts.refused
        assert bench.accept(message()).answer is None
        await asyncio.sleep(2)
        assert (
            queue.figures.delivered_total
            == queue.figures.accepted_total
            == len(bench.receipts.accepted)
        )

    simulate(test)


def test_bodies_that_are_uploaded_count_among_what_waits() -> None:
    """Large ones come in chunks: many callers at once would fill the memory as well."""

    async def test(bench: Bench) -> None:
        queue = bench.queue
        bench.log.append_s = 0.5
        uploads = [queue.intake.start_upload(lambda: None) for _ in range(8)]
        written = 0
        while queue.intake.refusal() is None:
            uploads[written % len(uploads)].write(BODY)
            written += 1
        assert queue.intake.refusal() is OVERLOADED
        assert written * len(BODY) <= MAX_UNSTORED_BYTES + 2 * len(BODY)
        await _until_caught_up(bench)
        assert queue.intake.refusal() is None
        assert all(upload.refusal is None for upload in uploads)
        assert sum(len(upload.positions) for upload in uploads) == written
        for upload in uploads:
            upload.abort()

    simulate(test)
