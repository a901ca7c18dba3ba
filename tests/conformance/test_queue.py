"""The queue runs on every engine, and does not know which one it is."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from random import Random

from dispatcher.core.clock import SystemClock
from dispatcher.core.message import Message
from dispatcher.queue.admin.surface import LetterFilter
from dispatcher.queue.partition import Partition, PartitionConfig
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.testing.queue import (
    POLICY,
    HeldDeliverer,
    Notes,
    Receipts,
    destination,
    failed,
    message,
)
from dispatcher.txlog.files.segment import Sizes
from tests.conformance.engines import Files, Storage

MESSAGES = 240
BIG = b"".join(bytes([n]) * CHUNK_BYTES for n in (1, 2)) + b"the end"


class Running:
    """A queue on both logs of an engine. What goes to `good` is delivered at once, what goes to
    `bad` is given up, everything else is in flight until the test says how it ended."""

    def __init__(self, storage: Storage, incarnation: int) -> None:
        self.deliverer = HeldDeliverer()
        self.notes = Notes()
        self.receipts = Receipts()
        self.queue = Partition(
            storage.new(),
            storage.beside().new(),
            PartitionConfig(POLICY, workers=8),
            self.notes,
            clock=SystemClock(),
            random=Random(1),
            incarnation=incarnation,
        )
        self.epoch = incarnation
        self.bad = "bad"
        self.delivered: Counter[bytes] = Counter()
        self.deliverer.on_start = self._deliver

    async def start(self) -> None:
        await self.queue.open("test", self.epoch)
        self.queue.start(self.deliverer)

    async def stop(self) -> None:
        await self.queue.drain(0.0)
        await self.queue.stop()
        assert not self.notes.errors
        assert not self.notes.deaths

    def _deliver(self, sent: Message) -> None:
        host = sent.destination.host
        if host == "held":
            return
        self.deliverer.flying.remove(sent)
        asyncio.get_running_loop().call_soon(self._end, sent, host == self.bad)

    def _end(self, sent: Message, is_bad: bool) -> None:
        if is_bad:
            self.queue.settling.failed(sent, failed(404))
        else:
            self.delivered[sent.wire_id] += 1
            self.queue.settling.delivered(sent, 200)

    async def accept(self, *messages: Message) -> None:
        """Accept messages; returns when all of them are durable."""
        for one in messages:
            self.queue.intake.accept(one, self.receipts.one())
        await until(lambda: all(one.wire_id for one in messages))

    async def accept_big(self) -> Message:
        """The same of a message with a body in chunks."""
        upload = self.queue.intake.start_upload(lambda: None)
        for start in range(0, len(BIG), CHUNK_BYTES):
            upload.write(BIG[start : start + CHUNK_BYTES])
        sent = message(destination("held"), b"", name="big")
        sent.body_size = len(BIG)
        self.queue.intake.accept(sent, self.receipts.one(), upload)
        await until(lambda: bool(sent.wire_id))
        return sent


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something that nobody tells us of."""
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def test_queue_delivers_gives_up_and_recovers(storage: Storage) -> None:
    """What was accepted is delivered once, or is a dead letter, or is there after a restart, whole
    and in order; dead letters come back."""
    if isinstance(storage, Files):
        storage.sizes = Sizes(smallest=1 << 20, largest=1 << 20)  # chunks are large
    running = Running(storage, 1)
    await running.start()
    sent = [
        message(destination(("good", "bad", "held")[number % 3]), b"%d" % number * 50)
        for number in range(MESSAGES)
    ]
    for start in range(0, MESSAGES, 40):
        await running.accept(*sent[start : start + 40])
    big = await running.accept_big()
    held = [one.wire_id for one in sent if one.destination.host == "held"]
    index = running.queue.pending.index
    await until(lambda: index.count == len(held) + 1)
    assert await running.queue.admin.count_letters(LetterFilter()) == MESSAGES // 3
    assert len(running.delivered) == MESSAGES // 3
    await running.stop()

    again = Running(storage, 2)
    again.bad = "nobody"
    await again.start()
    assert again.queue.pending.index.count == len(held) + 1
    assert await again.queue.admin.count_letters(LetterFilter()) == MESSAGES // 3
    moved = await again.queue.admin.redrive(LetterFilter())
    assert moved.count == MESSAGES // 3
    came: list[bytes] = []
    while len(came) <= len(held):
        await until(lambda: bool(again.deliverer.flying))
        one = again.deliverer.flying.pop(0)
        if one.chunks is not None:
            assert b"".join(await again.queue.settling.read_body(list(one.chunks))) == BIG
        came.append(one.wire_id)
        again.queue.settling.delivered(one, 200)
    assert came == [*held, big.wire_id]
    await until(lambda: not again.queue.pending.index.count)
    assert set(again.delivered) == {one.wire_id for one in sent if one.destination.host == "bad"}
    assert not {*running.delivered} & {*again.delivered, *came}
    assert await again.queue.admin.count_letters(LetterFilter()) == 0
    await again.stop()
