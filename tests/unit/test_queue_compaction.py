"""Copying forward while messages come and go: what held before a wait may not hold after it."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.core.message import Message
from dispatcher.queue import compaction
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.testing.queue import Bench, destination, message, simulate

CHUNKS = [b"%d" % n + b"c" * (CHUNK_BYTES - 1) for n in range(2)]


async def _accept_big(bench: Bench) -> Message:
    upload = bench.queue.start_upload(lambda: None)
    for chunk in CHUNKS:
        upload.write(chunk)
    sent = message(name="big", body=b"")
    sent.body_size = sum(map(len, CHUNKS))
    bench.queue.accept(sent, bench.receipts.one(), upload)
    await asyncio.sleep(0.01)
    return sent


def test_a_large_message_that_takes_the_place_of_a_settled_one_is_not_copied_onto_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second portion of an extent is settled while the first is copied, and its slot is used
    again: its chunks, asked for while they are delivered, must not lead to themselves for ever."""
    monkeypatch.setattr(compaction, "_COPY_MOST", 2)

    async def test(bench: Bench) -> None:
        queue = bench.queue
        for n in range(4):
            bench.accept(message(destination(f"h{n}"), name=f"m{n}"))
        await asyncio.sleep(0.01)
        sent = list(bench.deliverer.flying)
        assert len(sent) == 4
        bench.log.read_s = 0.1
        copying = asyncio.create_task(queue._compactor._copy(queue.pending.extents.oldest))
        await asyncio.sleep(0.01)
        slot = sent[3].slot
        bench.end(sent[3])
        big = await _accept_big(bench)
        assert (big.slot, big in bench.deliverer.flying) == (slot, True)
        await copying
        assert big.chunks is not None
        relocated = queue.pending.relocated
        assert not [position for position, now in relocated.items() if now == position]
        assert await queue.bodies.read(list(big.chunks)) == CHUNKS
        for one in (*sent[:3], big):
            bench.end(one)
        assert queue.pending.index.count == 0
        assert not relocated
        await asyncio.sleep(1)
        await bench.crash()
        await bench.start()
        await asyncio.sleep(1)
        assert len(bench.deliverer.started) == 5, "nothing comes back"

    simulate(test, workers=64)
