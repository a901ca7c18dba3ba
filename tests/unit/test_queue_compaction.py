"""Copying forward while messages come and go: what held before a wait may not hold after it."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.core.message import Message
from dispatcher.queue.compaction.source import ReclaimPolicy
from dispatcher.queue.partition import Partition
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.testing.queue import Bench, destination, message, simulate

CHUNKS = [b"%d" % n + b"c" * (CHUNK_BYTES - 1) for n in range(2)]


async def _accept_big(bench: Bench, chunks: list[bytes] = CHUNKS) -> Message:
    upload = bench.queue.intake.start_upload(lambda: None)
    for chunk in chunks:
        upload.write(chunk)
    sent = message(destination("big"), name="big", body=b"")
    sent.body_size = sum(map(len, chunks))
    bench.queue.intake.accept(sent, bench.receipts.one(), upload)
    await asyncio.sleep(0.01)
    return sent


def test_a_large_message_that_takes_the_place_of_a_settled_one_is_not_copied_onto_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second portion of an extent is settled while the first is copied, and its slot is used
    again: its chunks, asked for while they are delivered, must not lead to themselves for ever."""

    async def test(bench: Bench) -> None:
        queue = bench.queue
        for n in range(4):
            bench.accept(message(destination(f"h{n}"), name=f"m{n}"))
        await asyncio.sleep(0.01)
        sent = list(bench.deliverer.flying)
        assert len(sent) == 4
        bench.log.read_s = 0.1
        copying = asyncio.create_task(queue.space.copy([queue.pending.extents.oldest]))
        await asyncio.sleep(0.01)
        slot = sent[3].slot
        bench.end(sent[3])
        big = await _accept_big(bench)
        assert (big.slot, big in bench.deliverer.flying) == (slot, True)
        await copying
        assert big.chunks is not None
        relocated = queue.pending.owned.relocated
        assert not [position for position, now in relocated.items() if now == position]
        assert await queue.settling.read_body(list(big.chunks)) == CHUNKS
        for one in (*sent[:3], big):
            bench.end(one)
        assert queue.pending.index.count == 0
        assert not relocated
        await asyncio.sleep(1)
        await bench.crash()
        await bench.start()
        await asyncio.sleep(1)
        assert len(bench.deliverer.started) == 5, "nothing comes back"

    simulate(test, workers=64, reclaim=ReclaimPolicy(copy_most=2))


def test_large_body_whose_record_lies_many_extents_behind_its_chunks_is_copied_forward() -> None:
    """Its oldest chunk does not keep all that comes after it on the disk, however little is copied
    at once; and it is whole afterwards."""
    chunks = [bytes([n]) * CHUNK_BYTES for n in range(12)]
    body_bytes = sum(map(len, chunks))
    policy = ReclaimPolicy(
        slack_bytes=CHUNK_BYTES, dead_end_bytes=CHUNK_BYTES, group_bytes=CHUNK_BYTES
    )

    async def test(bench: Bench) -> None:
        await bench.queue.admin.hold("http://big")
        big = await _accept_big(bench, chunks)
        slot, first = big.slot, bench.queue.pending.owned.positions(big.slot)[0]
        for n in range(60):
            bench.accept(message(name=f"m{n}", body=bytes(100_000)))
            await asyncio.sleep(0.1)
            bench.end(bench.deliverer.flying[0])
            assert bench.log.size_bytes <= 3 * body_bytes
        now = bench.queue.pending.owned.positions(slot)
        assert now[0] > first
        assert bench.queue.space.copied_total <= 3
        assert await bench.queue.settling.read_body(list(now)) == chunks

    simulate(test, prepare=_small_extents, reclaim=policy)


def _small_extents(queue: Partition) -> None:
    queue.pending.extents.extent_bytes = 2 * CHUNK_BYTES
