"""The queue on real files: what is needed of an old segment is copied, and the segment goes."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from dispatcher.core.clock import SystemClock
from dispatcher.core.message import Message
from dispatcher.queue.compaction.source import ReclaimPolicy
from dispatcher.queue.partition import Partition, PartitionConfig
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.testing.log import FaultyLog
from dispatcher.testing.queue import (
    POLICY,
    HeldDeliverer,
    Notes,
    Receipts,
    destination,
    failed,
    message,
)
from dispatcher.txlog.files import FileLog
from dispatcher.txlog.files.frame import segment_of
from dispatcher.txlog.files.segment import Sizes, name_of

SIZES = Sizes(smallest=512 << 10, largest=512 << 10, batch=300 << 10, chunk=128 << 10)
OLD = 12
BIG = b"".join(bytes([n]) * CHUNK_BYTES for n in (1, 2)) + b"the end"


class Running:
    """A queue on files in a directory, as one process has it. What goes to `busy` is delivered at
    once, everything else is in flight until the test says how it ended."""

    def __init__(self, directory: Path, incarnation: int) -> None:
        self.path = directory
        self.deliverer = HeldDeliverer()
        self.notes = Notes()
        self.receipts = Receipts()
        self.queue = Partition(
            FileLog(directory, sizes=SIZES),
            FaultyLog(),
            PartitionConfig(POLICY, workers=OLD, reclaim=ReclaimPolicy(slack_bytes=2 << 20)),
            self.notes,
            clock=SystemClock(),
            random=Random(1),
            incarnation=incarnation,
        )
        self.queue.pending.extents.extent_bytes = 64 << 10
        self.deliverer.on_start = self._deliver

    async def start(self) -> None:
        await self.queue.open("test", 1)
        self.queue.start(self.deliverer)

    async def stop(self) -> None:
        await self.queue.drain(0.0)
        await self.queue.stop()

    def _deliver(self, sent: Message) -> None:
        if sent.destination.host == "busy":
            self.deliverer.flying.remove(sent)
            asyncio.get_running_loop().call_soon(self.queue.settling.delivered, sent, 200)

    @property
    def segments(self) -> set[str]:
        """Names of the files that are there now."""
        return {file.name for file in self.path.glob("*.seg")}

    @property
    def size_bytes(self) -> int:
        """What they take on disk: all are of one size."""
        return len(self.segments) * SIZES.largest

    async def accept(self, *messages: Message) -> list[Message]:
        """Accept messages; returns when all of them are durable."""
        for one in messages:
            self.queue.intake.accept(one, self.receipts.one())
        await until(lambda: all(one.wire_id for one in messages))
        return list(messages)

    async def accept_big(self) -> Message:
        """The same of a message with a body in chunks."""
        upload = self.queue.intake.start_upload(lambda: None)
        for start in range(0, len(BIG), CHUNK_BYTES):
            upload.write(BIG[start : start + CHUNK_BYTES])
        sent = message(destination("big"), b"", name="big")
        sent.body_size = len(BIG)
        self.queue.intake.accept(sent, self.receipts.one(), upload)
        await until(lambda: bool(sent.wire_id))
        return sent

    async def pass_through(self, count: int) -> None:
        """Let so many other messages of 4 KB come and go."""
        for _ in range(count // 20):
            await self.accept(*(message(destination("busy"), b"x" * 4000) for _ in range(20)))


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something that nobody tells us of."""
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110  # files and counters
            await asyncio.sleep(0.002)


def copy_of(log: Path, beside: Path) -> Path:
    """What a process that is killed now leaves, while its threads still tend the directory."""
    for number in range(100):
        place = beside / f"found{number}"
        before = sorted(file.name for file in log.iterdir())
        try:
            shutil.copytree(log, place)
        except (shutil.Error, OSError):
            continue  # a file got another name just then
        if before == sorted(file.name for file in log.iterdir()):
            return place
    raise AssertionError("the directory is never at rest")


@pytest.mark.parametrize("ends", ["stopped", "killed"])
async def test_segments_that_are_mostly_dead_are_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    """Old messages that wait, among many that were delivered: their segments go away, with their
    names, and the log stays small; they are copied, and the next process finds each of them once,
    whole, in its order, with its attempts, and nothing else."""
    running = Running(tmp_path / "log", 1)
    await running.start()
    old: list[Message] = []
    for number in range(OLD):
        old += await running.accept(message(destination("old"), b"%d" % number * 100))
        await running.pass_through(20)
    big = await running.accept_big()
    await until(lambda: len(running.deliverer.flying) == 2)  # one of `old`, and the large one
    running.deliverer.flying.remove(old[0])
    running.queue.settling.failed(old[0], failed(500, retry_after=b"3600"))
    lay_in = {name_of(segment_of(one.position)) for one in [*old, big]}
    assert len(lay_in) > 2
    assert lay_in <= running.segments
    written = running.size_bytes

    while lay_in & running.segments:
        await running.pass_through(100)
        written += 100 * 4000
        assert written < 40 * 2**20, "old segments are never dropped"
    await running.pass_through(4000)
    assert running.queue.space.copied_total >= OLD
    await until(lambda: running.size_bytes <= 10 * SIZES.largest)
    index = running.queue.pending.index
    await until(lambda: index.count == OLD + 1)  # the others are delivered
    for one in [*old, big]:
        slot = running.queue.pending.find(one.position, one.incarnation)
        assert index.position[slot] > one.position
        view = await running.queue.admin.message(one.wire_id.decode())
        assert view is not None
        assert view.id == one.wire_id.decode()
    assert not running.notes.errors

    place = tmp_path / "log"
    if ends == "stopped":
        await running.stop()
    else:
        await running.queue.committer.flush()
        place = copy_of(tmp_path / "log", tmp_path)
        await running.stop()
    again = Running(place, 2)
    await again.start()
    assert again.queue.pending.index.count == OLD + 1
    came: list[Message] = []
    while again.queue.figures.in_flight or again.queue.pending.index.count > 1:
        await until(lambda: bool(again.deliverer.flying))
        one = again.deliverer.flying.pop(0)
        if one.chunks is not None:
            assert b"".join(await again.queue.settling.read_body(list(one.chunks))) == BIG
        came.append(one)
        again.queue.settling.delivered(one, 200)
    assert [(one.wire_id, one.body) for one in came if one.chunks is None] == [
        (one.wire_id, one.body) for one in old[1:]
    ]
    assert [one.wire_id for one in came if one.chunks is not None] == [big.wire_id]
    waiting = await again.queue.admin.message(old[0].wire_id.decode())
    assert waiting is not None
    assert (waiting.state.value, waiting.attempts, waiting.last_error) == (
        "scheduled",
        1,
        "http_500",
    )
    await again.stop()
