"""Full disks, from full to going on by itself: the whole queue on segments of real size.

The disk is simulated, with a capacity, and gives back what is trimmed. What is checked each time:
nothing is lost, accepting goes on without a restart, and after a kill nothing is delivered again
that was settled before the last moments.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest

from dispatcher.core.clock import SystemClock
from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult
from dispatcher.core.terms import Terms
from dispatcher.queue.deadletters.selection import LetterFilter
from dispatcher.queue.partition import Partition, PartitionConfig
from dispatcher.queue.pending.index import State
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.refusals import DISK_FULL
from dispatcher.testing.disk import SimulatedDisk
from dispatcher.testing.queue import POLICY, Notes, Receipts, destination, failed, message
from dispatcher.txlog.files import FileLog
from dispatcher.txlog.files.disk import Disk
from dispatcher.txlog.files.segment import MIB
from tests.effort import IS_THOROUGH, thorough

_AT_ONCE = 200
_KEYED_BYTES = 400 if IS_THOROUGH else 2000
"""The smaller messages are, the more of a log is keys, and the longer it takes."""
_SETTLED_SECONDS = 1.5
"""After that what was settled is durable."""


class _Locked:
    """A simulated disk that several threads use."""

    def __init__(self, disk: SimulatedDisk) -> None:
        self._disk = disk
        self._lock = threading.RLock()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._disk, name)

        def locked(*args: Any, **options: Any) -> Any:
            with self._lock:
                return method(*args, **options)

        return locked


class _Destinations:
    """What is sent ends at once, as `result` says for its host (200: delivered); hosts in `down`
    keep it in flight."""

    def __init__(self) -> None:
        self.results: dict[str, AttemptResult] = {}
        self.down: set[str] = set()
        self.delivered: list[bytes] = []
        self._held: list[Message] = []
        self.queue: Partition

    def deliver(self, sent: Message) -> None:
        if sent.destination.host in self.down:
            self._held.append(sent)
        else:
            asyncio.get_running_loop().call_soon(self._end, sent)

    def under_way(self, message_id: bytes) -> tuple[int, int] | None:
        return None

    def up(self) -> None:
        """All answer from now on."""
        self.down.clear()
        held, self._held = self._held, []
        for sent in held:
            self._end(sent)

    def _end(self, sent: Message) -> None:
        result = self.results.get(sent.destination.host)
        if result is not None:
            self.queue.settling.failed(sent, result)
            return
        self.delivered.append(sent.wire_id)
        self.queue.settling.delivered(sent, 200)


class Node:
    """Processes one after the other on the same disks. `disk` is that of the transaction log, and
    of the other one too if there is only one."""

    queue: Partition

    def __init__(self, mib: int, *, dead_mib: int | None = None) -> None:
        self.disk = SimulatedDisk(capacity_bytes=mib * MIB)
        self.dead_disk = (
            self.disk if dead_mib is None else SimulatedDisk(capacity_bytes=dead_mib * MIB)
        )
        self.accepted: set[bytes] = set()
        self._starts = 0
        self._keys = 0

    async def start(self) -> None:
        self._starts += 1
        disk = _Locked(self.disk)
        dead_disk = disk if self.dead_disk is self.disk else _Locked(self.dead_disk)
        self.destinations = _Destinations()
        self.notes = Notes()
        self.log = FileLog(Path("/a/log"), cast(Disk, disk))
        self.queue = self.destinations.queue = Partition(
            self.log,
            FileLog(Path("/b/log"), cast(Disk, dead_disk)),
            PartitionConfig(POLICY, workers=64),
            self.notes,
            clock=SystemClock(),
            random=Random(1),
            incarnation=self._starts,
        )
        await self.queue.open("test", self._starts)

    def begin(self) -> None:
        """Deliver. What is down is decided before."""
        self.queue.start(self.destinations)

    async def kill(self) -> None:
        """End the process, and start another one that does not deliver yet."""
        self.queue.close_intake()
        self.queue.stop_timers()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.wait(others, timeout=5) if others else None
        await self.log.close()  # what is under way may be stored; nobody hears of it
        self.disk.kill()
        self.dead_disk.kill()
        await self.start()

    async def accept(
        self,
        size_bytes: int,
        hosts: list[str],
        most: int = 10**9,
        *,
        keyed: bool = False,
        calls_back: bool = False,
    ) -> int:
        """Accept messages until it is refused; returns how many were. `keyed`: each has an
        idempotency key. `calls_back`: somebody is told of each."""
        before = len(self.accepted)
        while self.queue.intake.refusal() is None and len(self.accepted) - before < most:
            receipts = Receipts()
            for n in range(_AT_ONCE):
                one = message(destination(hosts[n % len(hosts)]), b"x" * size_bytes)
                if keyed:
                    self._keys += 1
                    one.accepted_at = self.queue.clock.wall_us()
                    one.terms = Terms(idempotency_key=f"{self._keys:x}", request_print=self._keys)
                if calls_back:
                    one.terms = Terms(callback="http://told/")
                self.queue.intake.accept(one, receipts.one())
            await until(partial(_are_answered, receipts))
            self.accepted.update(one.wire_id for one in receipts.accepted)
        return len(self.accepted) - before

    async def accept_large(self, chunks: int) -> None:
        """The same for bodies of so many chunks."""
        while self.queue.intake.refusal() is None:
            upload = self.queue.intake.start_upload(lambda: None)
            for _ in range(chunks):
                upload.write(bytes(CHUNK_BYTES))
            sent = message(destination("a"), b"")
            sent.body_size = upload.size_bytes
            receipt = Receipts().one()
            self.queue.intake.accept(sent, receipt, upload)
            await until(partial(_is_answered, receipt))
            if receipt.answer is sent:
                self.accepted.add(sent.wire_id)

    async def fill(self, accept: Callable[[], Any]) -> None:
        """Accept until the disk stays full."""
        while self.queue.intake.refusal() is None:
            await accept()
            await asyncio.sleep(1.2)
        assert self.queue.intake.refusal() is DISK_FULL

    async def accepts(self) -> None:
        """Wait until it accepts again, by itself."""
        await until(lambda: self.queue.intake.refusal() is None)
        assert not self.notes.errors
        assert not self.notes.deaths


def _are_answered(receipts: Receipts) -> bool:
    return len(receipts.accepted) + len(receipts.refused) == _AT_ONCE


def _is_answered(receipt: Receipts.One) -> bool:
    return receipt.answer is not None


async def until(holds: Callable[[], bool], seconds: float = 200) -> None:
    """Wait for something that nobody tells us of."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110  # counters
            await asyncio.sleep(0.002)


@pytest.mark.parametrize(
    "size_bytes",
    [pytest.param(400, marks=thorough), 4000, 0],
    ids=["small", "4 KB", "large"],
)
def test_full_disk_goes_on_when_everything_is_delivered(size_bytes: int) -> None:
    """Also when the end of the disk had room for small segments only."""

    async def test() -> None:
        node = Node(140)
        await node.start()
        node.destinations.down = {"a", "b"}
        node.begin()
        await node.fill(
            (lambda: node.accept(size_bytes, ["a", "b"]))
            if size_bytes
            else (lambda: node.accept_large(4))
        )
        assert node.log.size_bytes > 120 * MIB, "the disk was used"
        node.destinations.up()
        await until(lambda: not node.queue.pending.index.count)
        await node.accepts()
        assert await node.accept(1000, ["a"], 1000) >= 1000
        await until(lambda: not node.queue.pending.index.count)
        assert sorted(node.destinations.delivered) == sorted(node.accepted), "each once"
        await asyncio.sleep(_SETTLED_SECONDS)
        await node.kill()
        assert node.queue.pending.index.count == 0, "nothing is delivered again"
        await node.queue.stop()

    asyncio.run(test())


def test_full_disk_goes_on_although_all_messages_had_keys() -> None:
    """Their keys are kept, and what is kept back is enough for them."""

    async def test() -> None:
        node = Node(140)
        await node.start()
        node.destinations.down = {"a", "b"}
        node.begin()
        await node.fill(lambda: node.accept(_KEYED_BYTES, ["a", "b"], keyed=True))
        node.destinations.up()
        await until(lambda: not node.queue.pending.index.count)
        await node.accepts()
        assert await node.accept(1000, ["a"], 1000) >= 1000
        await until(lambda: not node.queue.pending.index.count)
        assert sorted(node.destinations.delivered) == sorted(node.accepted), "each once"
        await asyncio.sleep(_SETTLED_SECONDS)
        count = node.queue.keys.entries.count
        await node.kill()
        assert node.queue.pending.index.count == 0, "nothing is delivered again"
        assert node.queue.keys.entries.count == count
        await node.queue.stop()

    asyncio.run(test())


@thorough
def test_full_disk_goes_on_although_all_messages_call_back() -> None:
    """What is kept back is enough for some of the callbacks, and when those are delivered for more.
    Nobody is told twice."""

    async def test() -> None:
        node = Node(140)
        await node.start()
        node.destinations.down = {"a", "b"}
        node.begin()
        await node.fill(lambda: node.accept(4000, ["a", "b"], calls_back=True))
        node.destinations.up()
        await until(lambda: not node.queue.pending.index.count)
        await node.accepts()
        delivered = node.destinations.delivered
        assert len(set(delivered)) == len(delivered) == 2 * len(node.accepted)
        assert node.accepted <= set(delivered)
        assert not node.queue.figures.burying
        await node.queue.stop()

    asyncio.run(test())


@thorough
def test_full_disk_of_messages_that_are_smaller_than_their_callbacks_goes_on_when_some_go() -> None:
    """What is kept back may be too little: then a few ends wait, in memory, and no other message
    that calls back is attempted, so that an operator can cancel those."""

    async def test() -> None:
        node = Node(140)
        await node.start()
        node.destinations.down = {"a", "b"}
        node.begin()
        await node.fill(lambda: node.accept(100, ["a", "b"], calls_back=True))
        node.destinations.up()
        queue, index = node.queue, node.queue.pending.index
        count = -1
        while count < len(node.destinations.delivered):  # as long as some space comes back
            count = len(node.destinations.delivered)
            await asyncio.sleep(2)
        assert queue.endings.are_waiting, "nothing is attempted in vain"
        assert queue.figures.burying < 1000
        assert queue.committer.full
        for slot in range(index.slots):
            if index.state[slot] in (State.READY, State.SCHEDULED):
                queue.changing.cancel([slot]).close()
                if not slot % 1000:
                    await asyncio.sleep(0)
        await until(lambda: not index.count)
        await node.accepts()
        assert len(set(node.destinations.delivered)) == len(node.destinations.delivered)
        await queue.stop()

    asyncio.run(test())


def test_what_is_delivered_on_a_full_disk_stays_so_after_a_kill_in_the_middle() -> None:
    """There is space to settle all of it, before anything is trimmed."""

    async def test() -> None:
        node = Node(140)
        await node.start()
        node.destinations.down = {"a", "b"}
        node.begin()
        await node.fill(lambda: node.accept(1000, ["a", "b"]))
        node.destinations.down = {"a"}  # half of each segment: none can be given back
        half = len(node.accepted) // 2
        for sent in [one for one in node.destinations._held if one.destination.host == "b"]:
            node.destinations._held.remove(sent)
            node.destinations._end(sent)
        await until(lambda: len(node.destinations.delivered) == half)
        await asyncio.sleep(_SETTLED_SECONDS)
        assert node.queue.committer.full
        assert not node.queue.committer.is_stuck
        delivered = set(node.destinations.delivered)
        await node.kill()
        assert node.queue.pending.index.count == len(node.accepted) - half
        node.begin()
        await until(lambda: not node.queue.pending.index.count)
        assert delivered | set(node.destinations.delivered) == node.accepted
        assert not delivered & set(node.destinations.delivered)
        await node.accepts()
        await node.queue.stop()

    asyncio.run(test())


@thorough
def test_full_disk_goes_on_although_a_few_messages_wait_in_each_segment() -> None:
    """They are copied with what the records that settle them leave."""

    async def test() -> None:
        node = Node(140)
        await node.start()
        node.destinations.down = {"a", "b"}
        node.begin()
        waits = 0
        while node.queue.intake.refusal() is None:
            waits += await node.accept(1000, ["b"], 1)
            await node.accept(1000, ["a"], 10_000)
            await asyncio.sleep(0.01)
        node.destinations.down = {"b"}
        held, node.destinations._held = node.destinations._held, []
        for sent in held:
            node.destinations.deliver(sent)
        await until(lambda: node.queue.pending.index.count == waits)
        await node.accepts()
        assert node.queue.space.copied_total >= 1
        node.destinations.up()
        await until(lambda: not node.queue.pending.index.count)
        assert set(node.destinations.delivered) >= node.accepted
        await node.queue.stop()

    asyncio.run(test())


def test_full_disk_of_dead_letters_goes_on_when_they_are_purged() -> None:
    """All of them, by themselves in a few portions; and none comes back."""

    async def test() -> None:
        node = Node(400, dead_mib=100)
        await node.start()
        node.destinations.results = {"a": failed(404)}
        node.begin()
        letters = node.queue.dead_letters
        while not letters.full:
            await node.accept(1500, ["a"], 1000)
            await until(lambda: letters.full or not node.queue.figures.burying)
        await asyncio.sleep(1.2)
        count = len(letters)
        assert count > 40_000
        assert (await node.queue.admin.purge(LetterFilter())).count >= count
        await until(lambda: not letters.full)
        await until(lambda: not node.queue.figures.burying)
        assert not node.notes.errors
        await asyncio.sleep(_SETTLED_SECONDS)
        left = len(letters)
        await node.kill()
        assert len(node.queue.dead_letters) == left
        assert node.queue.pending.index.count == 0
        await node.queue.stop()

    asyncio.run(test())


@thorough
def test_full_disk_of_both_logs_goes_on_when_the_dead_letters_are_purged() -> None:
    """They lie on one disk, and much of what waits in the other log can't be delivered."""

    async def test() -> None:
        node = Node(140)
        await node.start()
        node.destinations.results = {"a": failed(404)}
        node.destinations.down = {"b"}
        node.begin()
        letters = node.queue.dead_letters
        while node.queue.intake.refusal() is None:
            await node.accept(1500, ["a", "a", "a", "b"], 1000)
            await until(lambda: letters.full or not node.queue.figures.burying)
        await asyncio.sleep(1.2)
        while len(letters):
            assert (await node.queue.admin.purge(LetterFilter())).count
        await until(lambda: not (letters.full or node.queue.figures.burying))
        await node.accepts()
        node.destinations.up()
        await until(lambda: not node.queue.pending.index.count)
        await node.queue.stop()

    asyncio.run(test())


def test_full_disk_goes_on_when_space_is_given() -> None:
    """By itself, and nothing was lost meanwhile."""

    async def test() -> None:
        node = Node(40)
        await node.start()
        node.destinations.down = {"a"}
        node.begin()
        await node.fill(lambda: node.accept(1000, ["a"]))
        node.disk.capacity_bytes = 80 * MIB
        await node.accepts()
        await node.accept(1000, ["a"], 10_000)
        node.destinations.up()
        await until(lambda: not node.queue.pending.index.count)
        assert sorted(node.destinations.delivered) == sorted(node.accepted)
        await node.queue.stop()

    asyncio.run(test())
