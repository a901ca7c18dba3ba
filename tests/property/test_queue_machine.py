"""The queue against a small model: whatever happens in whatever order, nothing is lost, nothing is
invented, and nothing waits for ever."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.core.retry import RetryPolicy
from dispatcher.errors import Refusal
from dispatcher.queue import compaction, index, pending, readback
from dispatcher.queue.accepting import ChunkUpload
from dispatcher.queue.index import NO_SLOT, State
from dispatcher.queue.pending import chunk_sizes
from dispatcher.queue.queue import Queue
from dispatcher.queue.records import (
    Kind,
    decode_dead,
    decode_history,
    decode_settled,
    moved_facts,
    retry_facts,
)
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.log import FaultyLog, Space
from dispatcher.testing.loop import SimulatedLoop
from dispatcher.testing.queue import Bench, Receipts, destination, failed, message

T = TypeVar("T")

WORKERS = 4
POLICY = RetryPolicy(retry_limit=3, delay_ms=100, max_delay_ms=20_000)
EXTENT = 1_000
SLACK = 500
CHUNK = 64
HOSTS = ("a.example", "b.example", "https://c.example:8443")

OUTCOMES = {
    "500": failed(500),
    "503 in 2 s": failed(503, retry_after=b"2"),
    "429 in an hour": failed(429, retry_after=b"3600"),
    "404": failed(404),
    "connection": failed(failure=Failure.CONNECTION),
    "timeout": failed(failure=Failure.TIMEOUT),
    "egress": failed(failure=Failure.EGRESS),
}


@dataclass(slots=True)
class Told:
    """What the model knows of one message that was handed in."""

    name: str
    host: str
    body: bytes
    timeout_ms: int
    receipt: Receipts.One
    id: bytes = b""
    attempts: int = 0  # finished ones
    least: int = 0  # finished ones that a crash cannot have forgotten
    due_us: int = 0
    given_up: bool = False
    over: bool = False  # delivered or dead: must not be seen again
    perhaps_over: bool = False  # delivered, but a crash may have forgotten it


class QueueMachine(RuleBasedStateMachine):
    """Hypothesis chooses what happens; the rules check what the queue makes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        for module, name, value in (
            (compaction, "SLACK_BYTES", SLACK),
            (compaction, "DEAD_END_BYTES", 500),
            (compaction, "_COPY_BYTES", 400),
            (compaction, "_COPY_MOST", 3),
            (pending, "CHUNK_BYTES", CHUNK),
            (index, "SHRINK_ABOVE", 4),
            (readback, "READ_BYTES", 600),
            (readback, "READ_MOST", 4),
            (readback, "WARM_BYTES", 4_000),
        ):
            self.patch.setattr(module, name, value)
        self.clock = SimulatedClock()
        self.loop = SimulatedLoop(self.clock)
        self.told: dict[str, Told] = {}
        self.uploads: list[tuple[ChunkUpload, list[bytes]]] = []
        self.order: dict[str, list[str]] = {}
        self.serial = 0

    @initialize(segment=st.sampled_from([1, 3_000]))
    def begin(self, segment: int) -> None:
        self.bench = Bench(
            self.clock,
            log=FaultyLog(max_batch_bytes=1_500, segment_bytes=segment),
            dead_log=FaultyLog(max_batch_bytes=2_000),
            policy=POLICY,
            workers=WORKERS,
            prepare=_shrink,
        )
        self.bench.deliverer.on_start = self.started
        self.restart()

    def do(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self.loop.run_until_complete(work())

    @property
    def queue(self) -> Queue:
        return self.bench.queue

    # ------------------------------------------------------------------ rules

    @rule(
        host=st.sampled_from(HOSTS),
        sizes=st.lists(st.integers(0, 300), min_size=1, max_size=12),
        timeout_ms=st.sampled_from([0, 1, 3_600_000]),
    )
    def accept(self, host: str, sizes: list[int], timeout_ms: int) -> None:
        async def work() -> None:
            for size in sizes:
                told = self.tell(host, b"b" * size, timeout_ms)
                self.queue.accept(self.made(told), told.receipt)

        self.do(work)

    def tell(self, host: str, body: bytes, timeout_ms: int) -> Told:
        self.serial += 1
        name = f"m{self.serial}"
        told = Told(name, host, body, timeout_ms, self.bench.receipts.one())
        self.told[name] = told
        return told

    def made(self, told: Told) -> Message:
        return message(
            destination(told.host), told.body, name=told.name, timeout_ms=told.timeout_ms
        )

    @rule(pieces=st.integers(1, 12), last=st.integers(1, CHUNK))
    def start_upload(self, pieces: int, last: int) -> None:
        async def work() -> None:
            upload = self.queue.start_upload(lambda: None)
            chunks = [b"%02d" % n + b"c" * (CHUNK - 2) for n in range(pieces)]
            chunks[-1] = b"l" * last
            for chunk in chunks:
                upload.write(chunk)
            self.uploads.append((upload, chunks))

        self.do(work)

    @rule(pieces=st.integers(1, 12), last=st.integers(1, CHUNK), host=st.sampled_from(HOSTS))
    def accept_large(self, pieces: int, last: int, host: str) -> None:
        self.start_upload(pieces, last)
        self.finish_upload(host, len(self.uploads) - 1, goes_away=False)

    @precondition(lambda self: self.uploads)
    @rule(host=st.sampled_from(HOSTS), goes_away=st.booleans(), data=st.data())
    def end_upload(self, host: str, goes_away: bool, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.uploads) - 1))
        self.finish_upload(host, at, goes_away=goes_away)

    def finish_upload(self, host: str, at: int, *, goes_away: bool) -> None:
        upload, chunks = self.uploads.pop(at)

        async def work() -> None:
            if goes_away or upload.refusal is not None:
                upload.abort()
                return
            told = self.tell(host, b"".join(chunks), 0)
            sent = self.made(told)
            sent.body = b""
            self.queue.accept(sent, told.receipt, upload)

        self.do(work)

    @precondition(lambda self: self.bench.deliverer.flying)
    @rule(data=st.data(), outcome=st.sampled_from([*OUTCOMES, "200", "200", "200"]))
    def end_attempt(self, data: st.DataObject, outcome: str) -> None:
        flying = self.bench.deliverer.flying
        picked = flying[data.draw(st.integers(0, len(flying) - 1))]
        self.do(partial(self.ends, picked, outcome))

    @rule(
        outcomes=st.lists(st.sampled_from([*OUTCOMES, "200"]), min_size=1, max_size=5),
        keep=st.sampled_from([0, 0, 1]),
        ms=st.sampled_from([0, 10, 300, 3_000]),
    )
    def end_attempts(self, outcomes: list[str], keep: int, ms: int) -> None:
        for outcome in outcomes:
            for picked in list(self.bench.deliverer.flying)[keep:]:
                self.do(partial(self.ends, picked, outcome))
            self.loop.run_for(ms / 1000)

    async def ends(self, picked: Message, outcome: str) -> None:
        told = self.told[picked.target[1:]]
        await self.check_body(told, picked)
        if outcome == "200":
            told.perhaps_over = told.over = True
            self.bench.end(picked)
            return
        result = OUTCOMES[outcome]
        told.attempts = told.least = picked.attempt
        if outcome in ("404", "egress") or picked.attempt > POLICY.retry_limit:
            told.given_up = told.over = True
        else:
            told.due_us = self.queue.now_us() + _least_delay_us(result, picked.attempt)
        self.bench.end(picked, result)
        if not told.over:
            slot = picked.slot
            due_us = self.queue.pending.index.due_at[slot]
            most_us = max(told.due_us * 1.0, self.queue.now_us() + 24_000_000)
            assert told.due_us <= due_us <= most_us

    async def check_body(self, told: Told, picked: Message) -> None:
        if picked.chunks is None:
            assert picked.body == told.body
            return
        read = await self.queue.bodies.read(list(picked.chunks))
        assert b"".join(read) == told.body

    @rule(ms=st.sampled_from([0, 1, 30, 200, 2_000, 40_000]))
    def wait(self, ms: int) -> None:
        self.loop.run_for(ms / 1000)

    @rule(
        space=st.sampled_from(list(Space)),
        dead_space=st.sampled_from([Space.ENOUGH, Space.NOTHING]),
    )
    def fill_disk(self, space: Space, dead_space: Space) -> None:
        self.bench.log.space = space
        self.bench.dead_log.space = dead_space

    @rule(append_s=st.sampled_from([0.0, 0.005, 0.5]), read_s=st.sampled_from([0.0, 0.003]))
    def change_speed(self, append_s: float, read_s: float) -> None:
        for log in (self.bench.log, self.bench.dead_log):
            log.append_s, log.read_s = append_s, read_s

    @rule(keep_batch=st.booleans(), keep_dead_batch=st.booleans())
    def crash(self, keep_batch: bool, keep_dead_batch: bool) -> None:
        self.do(lambda: self.bench.crash(keep_batch=keep_batch, keep_dead_batch=keep_dead_batch))
        done, attempts = self.durable()
        for told in self.told.values():
            told.over = told.id in done
            if told.given_up and not told.over:
                told.given_up = False
            told.least = attempts.get(told.id, 0)
            told.due_us = 0
        self.after_crash()

    def after_crash(self) -> None:
        self.uploads.clear()
        self.bench.log.space = self.bench.dead_log.space = Space.ENOUGH
        self.restart()

    @rule()
    def stop_and_start(self) -> None:
        self.bench.log.space = self.bench.dead_log.space = Space.ENOUGH
        self.loop.run_for(2)
        self.do(self.bench.stop)
        done, attempts = self.durable()
        for told in self.told.values():
            if told.over:
                assert told.id in done, "what finished was not written down"
            if told.id and not told.over:
                assert told.least <= attempts.get(told.id, 0) <= told.attempts
        self.uploads.clear()
        self.restart()

    def let_all_end_well(self) -> None:
        """Nothing waits for ever: with space and destinations that answer, the queue empties."""
        self.bench.log.space = self.bench.dead_log.space = Space.ENOUGH
        for upload, _ in self.uploads:
            upload.abort()
        self.uploads.clear()
        for _ in range(200):
            self.loop.run_for(0.01)
            if not self.queue.pending.index.count and not self.waiting():
                break
            for picked in list(self.bench.deliverer.flying):
                self.do(partial(self.ends, picked, "200"))
            self.loop.run_for(0.7)
        self.loop.run_for(3)
        assert not self.waiting()
        assert self.queue.pending.index.count == 0, "something sits in the queue"
        assert self.queue.pending.index.live_bytes == 0
        assert not self.queue.in_flight
        assert not self.queue.burying
        for told in self.told.values():
            assert told.over == isinstance(told.receipt.answer, Message) or (
                # Accepted, but its caller was told nothing before the crash.
                told.receipt.answer is None
            )
        self.check_dead_letters()

    def teardown(self) -> None:
        if hasattr(self, "bench"):
            self.let_all_end_well()
            self.check_consistency()
            self.do(self.bench.stop)
            assert not self.bench.notes.errors
            assert not self.loop.errors
        self.loop.close()
        self.patch.undo()

    # ------------------------------------------------------------------ what the model knows

    def restart(self) -> None:
        self.do(self.bench.open)
        self.order = defaultdict(list)
        entries = self.queue.pending.index
        for lane in self.queue.lanes:
            ids = []
            slot = lane.head
            while slot != NO_SLOT:
                ids.append(entries.id_position[slot])
                slot = entries.next[slot]
            assert ids == sorted(ids), "not oldest first"
            self.order[str(lane.destination)] = [str(position) for position in ids]

        async def start() -> None:
            self.queue.start(self.bench.deliverer)

        self.do(start)

    def waiting(self) -> bool:
        """Whether records wait for the disk."""
        return bool(self.queue.committer.waiting_bytes) or self.bench.log.is_busy

    def durable(self) -> tuple[set[bytes], dict[bytes, int]]:
        """Ids that a start will not see again, and the attempts that it will remember, as a reader
        of the log understands it."""
        ids = {int(told.id[12:], 16): told.id for told in self.told.values() if told.id}
        done = {letter.message.wire_id for letter in self.dead_letters()}
        attempts: dict[bytes, int] = {}
        there = set()
        for position, payload in self.bench.log.records:
            kind = payload[0]
            if kind == Kind.MESSAGE and position in ids:
                there.add(ids[position])
            elif kind == Kind.SETTLED:
                done |= {ids[p] for p in decode_settled(payload) if p in ids}
            elif kind == Kind.RETRY:
                id_position, count, _ = retry_facts(payload)
                if id_position in ids:
                    attempts[ids[id_position]] = count
            elif kind == Kind.MOVED:
                id_position, count, _, _ = moved_facts(payload)
                if id_position in ids:
                    there.add(ids[id_position])
                    attempts[ids[id_position]] = count
        # What was trimmed away must have been settled.
        for told in self.told.values():
            if told.id and told.id not in there and told.id not in done:
                assert told.perhaps_over or told.id in done, f"{told.name} was lost"
                done.add(told.id)
        return done, attempts

    def dead_letters(self) -> list[Any]:
        return [
            decode_dead(payload)
            for _, payload in self.bench.dead_log.records
            if payload[0] == Kind.DEAD
        ]

    def check_dead_letters(self) -> None:
        letters = self.dead_letters()
        found = Counter(letter.message.wire_id for letter in letters)
        expected = {told.id for told in self.told.values() if told.given_up}
        assert found == Counter(expected), "not exactly one dead letter each"
        at = dict(self.bench.dead_log.records)
        for letter in letters:
            sent = letter.message
            assert len(decode_history(sent.history)) == sent.attempt
            body = sent.body
            if sent.chunks is not None:
                body = b"".join(at[position][1:] for position in sent.chunks)
            assert body == self.told[sent.target[1:]].body

    def started(self, sent: Message) -> None:
        """The queue starts an attempt: is it a right one?"""
        told = self.told[sent.target[1:]]
        now = self.queue.now_us()
        assert not isinstance(told.receipt.answer, Refusal), "was refused"
        assert told.id in (b"", sent.wire_id), "the id changed"
        told.id = sent.wire_id
        assert not told.over, "was over"
        assert str(sent.destination) == str(destination(told.host))
        assert sent.timeout_ms == told.timeout_ms
        assert told.least <= sent.attempt - 1 <= told.attempts
        told.attempts = told.least = sent.attempt - 1
        assert now >= told.due_us, "too early"
        assert len(decode_history(sent.history)) == sent.attempt - 1
        assert sent.started_at == now
        assert len([m for m in self.bench.deliverer.flying if m.target == sent.target]) == 1
        assert self.queue.in_flight <= WORKERS
        lane = self.queue.lanes.of(sent.destination)
        assert lane.in_flight <= lane.limit.value, "more at once than the lane may"
        assert now >= lane.paused_until, "the lane is paused"
        order = self.order[str(sent.destination)]
        if str(sent.position) in order:
            assert order.pop(0) == str(sent.position), "not oldest first"

    # ------------------------------------------------------------------ invariants

    @invariant()
    def check(self) -> None:
        if hasattr(self, "bench"):
            self.check_consistency()
            for told in self.told.values():
                answer = told.receipt.answer
                if isinstance(answer, Message):
                    assert told.id in (b"", answer.wire_id), "the id changed"
                    told.id = answer.wire_id
            for dead, _ in self.bench.notes.dead:
                assert dead.wire_id in {letter.message.wire_id for letter in self.dead_letters()}

    def check_consistency(self) -> None:
        """Index, lanes, timers and extents tell one story."""
        queue = self.queue
        entries = queue.pending.index
        states = Counter(entries.state)
        in_timers = _chained_in_timers(queue)
        in_lanes: list[int] = []
        in_flight = {m.slot for m in self.bench.deliverer.flying}
        for lane in queue.lanes:
            chain = []
            slot = lane.head
            while slot != NO_SLOT:
                chain.append(slot)
                slot = entries.next[slot]
            assert lane.ready == len(chain)
            assert lane.tail == (chain[-1] if chain else NO_SLOT)
            assert 0 <= lane.warm <= lane.ready
            cold = chain[lane.warm] if lane.warm < len(chain) else NO_SLOT
            assert lane.first_cold == cold
            assert all(slot in queue._warm._messages for slot in chain[: lane.warm])
            assert all(entries.lane[slot] == lane.number for slot in chain)
            assert queue.lanes.by_number[lane.number] is lane
            assert lane.queued == (lane in queue._turns)
            flying = [s for s in in_flight if entries.lane[s] == lane.number]
            assert lane.in_flight == len(flying)
            in_timer = [s for s in in_timers if entries.lane[s] == lane.number]
            assert lane.scheduled == len(in_timer)
            in_lanes += chain
        assert len(queue._warm) == sum(lane.warm for lane in queue.lanes)
        assert {entries.state[slot] for slot in in_lanes} <= {State.READY}
        assert {entries.state[slot] for slot in in_timers} <= {State.SCHEDULED}
        assert states[State.READY] == len(in_lanes) == len(set(in_lanes))
        assert states[State.SCHEDULED] == len(in_timers) == queue.pending.timers.count
        assert states[State.IN_FLIGHT] == queue.in_flight + queue.burying
        assert queue.in_flight == len(in_flight) <= WORKERS
        assert entries.count == len(entries.state) - states[State.FREE]
        assert (len(queue._learning)) <= 2 * len(queue.lanes) + 2, "pauses pile up"
        self.check_extents()

    def check_extents(self) -> None:
        queue = self.queue
        entries = queue.pending.index
        extents = queue.pending.extents
        live: Counter[int] = Counter()
        live_bytes: Counter[int] = Counter()
        total = 0
        held: list[tuple[int, int]] = []
        for slot in range(len(entries.state)):
            if entries.state[slot] == State.FREE:
                continue
            assert queue.pending.find(entries.id_position[slot]) == slot
            held.append((entries.position[slot], entries.size[slot]))
            if slot in queue.pending.big:
                held += chunk_sizes(*queue.pending.big[slot])
        for position, size in held:
            start = extents.of(position).start
            live[start] += 1
            live_bytes[start] += size
            total += size
        assert total == entries.live_bytes
        for extent in extents:
            assert extent.live >= live[extent.start]
            if not queue.pending.uploading_bytes:
                assert extent.live == live[extent.start]
                assert extent.live_bytes == live_bytes[extent.start]
        assert extents.span_bytes == sum(extent.filled for extent in extents)

    @precondition(lambda self: hasattr(self, "bench"))
    @rule()
    def check_size(self) -> None:
        """The log stays within about twice what is pending."""
        if self.bench.log.space is not Space.ENOUGH:
            return
        for upload, _ in self.uploads:
            upload.abort()
        self.uploads.clear()
        for log in (self.bench.log, self.bench.dead_log):
            log.append_s = log.read_s = 0.0
        self.loop.run_for(3)
        # A batch makes the queue look at its log.
        self.accept("a.example", [1], 0)
        self.loop.run_for(3)
        self.accept("a.example", [1], 0)
        self.loop.run_for(3)
        if self.queue.burying or self.bench.log._segment_bytes > 1:
            return
        live = self.queue.pending.index.live_bytes
        largest = 12 * (CHUNK + 40) + 800
        assert self.bench.log.size_bytes <= 2 * live + SLACK + 2 * (EXTENT + 1_500) + largest


def _shrink(queue: Queue) -> None:
    queue.pending.extents.extent_bytes = EXTENT


def _least_delay_us(result: AttemptResult, attempt: int) -> int:
    asked = int(result.retry_after or b"0") * 1000
    return int(max(POLICY.delay_ms * 2 ** (attempt - 1) * 0.8, min(asked, 20_000))) * 1000


def _chained_in_timers(queue: Queue) -> list[int]:
    found = []
    for slot in queue.pending.timers._heads.values():
        while slot != NO_SLOT:
            found.append(slot)
            slot = queue.pending.index.next[slot]
    return found


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=150, stateful_step_count=40)
