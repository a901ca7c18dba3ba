"""The queue against a small model: whatever happens in whatever order, nothing is lost, nothing is
invented, and nothing waits for ever."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.core.retry import RetryPolicy
from dispatcher.errors import Refusal, Refused
from dispatcher.queue.admin import listing, operating
from dispatcher.queue.admin.surface import Cancelled, LetterFilter, LetterGone
from dispatcher.queue.bodies.upload import ChunkUpload
from dispatcher.queue.compaction.source import ReclaimPolicy
from dispatcher.queue.deadletters import letters, redrive, retention
from dispatcher.queue.deadletters.redrive import Redriving
from dispatcher.queue.deadletters.retention import RetentionPolicy
from dispatcher.queue.lanes import warm
from dispatcher.queue.partition import Partition
from dispatcher.queue.pending import owned
from dispatcher.queue.pending.extents import Extents, Owner
from dispatcher.queue.pending.index import NO_SLOT, State
from dispatcher.queue.pending.owned import owned_sizes
from dispatcher.queue.records.history import decode_history
from dispatcher.queue.records.ids import id_parts
from dispatcher.testing.admin import whole
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.log import FaultyLog, Space
from dispatcher.testing.loop import SimulatedLoop
from dispatcher.testing.queue import Bench, Receipts, destination, failed, message
from tests.property.understood import Waiting, letters_in, paused_in, understand

T = TypeVar("T")

WORKERS = 4
SLOW = 8
WARM_BYTES = 4_000
POLICY = RetryPolicy(retry_limit=3, delay_ms=100, max_delay_ms=20_000)
EXTENT = 1_000
SLACK = 500
CHUNK = 64
EVERYTHING = LetterFilter()
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
    redrives: int = 0
    given_up: bool = False
    over: bool = False  # delivered, dead or gone: must not be seen again
    perhaps_over: bool = False  # delivered, but a crash may have forgotten it
    gone: bool = False  # cancelled, purged or dropped: must never be seen again
    perhaps_gone: bool = False  # somebody wanted that, and was not told yet
    perhaps_back: bool = False  # as a dead letter, somebody wanted it to be sent again

    def lives_again(self) -> None:
        """It was redriven."""
        assert self.given_up, "redriven, and was no dead letter"
        self.redrives += 1
        self.given_up = self.over = self.perhaps_back = False
        self.attempts = self.least = self.due_us = 0

    def is_gone(self) -> None:
        """An operator took it away."""
        assert not self.gone, "taken away twice"
        self.gone = self.over = True
        self.given_up = False


RECLAIM = ReclaimPolicy(
    slack_bytes=SLACK,
    dead_end_bytes=500,
    copy_bytes=400,
    copy_most=3,
    group_bytes=1_000,
    stretch_bytes=3_000,
    spare_bytes=300,
)


class QueueMachine(RuleBasedStateMachine):
    """Hypothesis chooses what happens; the rules check what the queue makes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        for module, name, value in (
            (owned, "CHUNK_BYTES", CHUNK),
            (warm, "READ_BYTES", 600),
            (warm, "READ_MOST", 4),
            (letters, "_REWRITE_ABOVE", 4),
            (redrive, "MOST_AT_ONCE", 3),
            (redrive, "MOST_BYTES_AT_ONCE", 600),
            (operating, "MOST_AT_ONCE", 4),
            (operating, "_PURGED_AT_ONCE", 5),
            (listing, "_SLICE_SECONDS", math.inf),  # the same ones each time
            (listing, "_FIRST_SLICE", 2),
            (listing, "_MOST_ROWS", 2),
            (listing, "_READ_BYTES", 500),
            (retention, "_AT_ONCE", 2),
        ):
            self.patch.setattr(module, name, value)
        self.clock = SimulatedClock()
        self.loop = SimulatedLoop(self.clock)
        self.told: dict[str, Told] = {}
        self.uploads: list[tuple[ChunkUpload, list[bytes]]] = []
        self.order: dict[str, list[str]] = {}
        self.serial = 0
        self.running: dict[asyncio.Task[None], str] = {}
        self.paused: dict[str, bool | None] = {}  # None: an operator wants to change that
        self.noted = 0

    @initialize(segment=st.sampled_from([1, 3_000]), keep=st.sampled_from([False, False, True]))
    def begin(self, segment: int, keep: bool) -> None:
        self.bench = Bench(
            self.clock,
            log=FaultyLog(max_batch_bytes=1_500, segment_bytes=segment),
            dead_log=FaultyLog(max_batch_bytes=2_000, segment_bytes=segment),
            keep_everything=keep,
            policy=POLICY,
            workers=WORKERS,
            workers_slow=SLOW,
            warm_bytes=WARM_BYTES,
            prepare=self.prepare,
            reclaim=RECLAIM,
        )
        self.bench.deliverer.on_start = self.started
        self.restart()

    def do(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self.loop.run_until_complete(work())

    @property
    def queue(self) -> Partition:
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
                self.queue.intake.accept(self.made(told), told.receipt)

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
            upload = self.queue.intake.start_upload(lambda: None)
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
            self.queue.intake.accept(sent, told.receipt, upload)

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
            told.due_us = self.queue.clock.now_us() + _least_delay_us(result, picked.attempt)
        self.bench.end(picked, result)
        if not told.over:
            slot = picked.slot
            due_us = self.queue.pending.index.due_at[slot]
            most_us = max(told.due_us * 1.0, self.queue.clock.now_us() + 24_000_000)
            assert told.due_us <= due_us <= most_us

    async def check_body(self, told: Told, picked: Message) -> None:
        if picked.chunks is None:
            assert picked.body == told.body
            return
        read = await self.queue.settling.read_body(list(picked.chunks))
        assert b"".join(read) == told.body

    # ------------------------------------------------------------------ what operators do

    def prepare(self, queue: Partition) -> None:
        """A queue was made: have it work in small steps, and learn who takes letters away."""
        queue.pending.extents.extent_bytes = EXTENT
        queue.dead_letters.holdings.extents.extent_bytes = EXTENT
        told = _ToldRedriver(queue, self.by_id)
        queue.admin._operating._queue.redriver = told  # type: ignore[assignment]
        queue.retention._redriver = told  # type: ignore[assignment]

    def by_id(self, ids: Sequence[bytes]) -> list[Told]:
        return [told for told in self.told.values() if told.id in ids]

    def operate(self, name: str, work: Callable[[], Coroutine[Any, Any, None]], turns: int) -> None:
        """Begin what an operator wants, and go on after so many turns of the loop."""

        async def begin() -> None:
            self.running[asyncio.get_running_loop().create_task(work())] = name
            for _ in range(turns):
                await asyncio.sleep(0)

        self.do(begin)

    def take_results(self) -> None:
        for task in [task for task in self.running if task.done()]:
            del self.running[task]
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    def pick(self, data: st.DataObject, which: Callable[[Told], bool]) -> list[str]:
        ids = [told.id.decode() for told in self.told.values() if told.id and which(told)]
        return data.draw(st.lists(st.sampled_from(ids), max_size=6)) if ids else []

    @rule(host=st.sampled_from(HOSTS), sizes=st.lists(st.integers(0, 300), max_size=12))
    def die(self, host: str, sizes: list[int]) -> None:
        self.accept(host, sizes, 0)
        self.end_attempts(["404"] * 6, 0, 10)

    @rule(
        what=st.sampled_from(["redrive", "redrive", "purge", "both"]),
        turns=st.integers(0, 40),
        kept=st.tuples(st.booleans(), st.booleans()),
        data=st.data(),
    )
    def crash_amid(
        self, what: str, turns: int, kept: tuple[bool, bool], data: st.DataObject
    ) -> None:
        if what != "redrive":
            self.purge(data, False, 0)
        if what != "purge":
            self.redrive(data, True, 0)
        for _ in range(turns):
            self.do(partial(asyncio.sleep, 0))
        self.crash(*kept)

    @rule(data=st.data(), all_=st.booleans(), turns=st.integers(0, 12))
    def redrive(self, data: st.DataObject, all_: bool, turns: int) -> None:
        which = EVERYTHING if all_ else self.pick(data, lambda told: True)

        async def work() -> None:
            try:
                moved = await self.queue.admin.redrive(which)
            except Refused:
                return
            assert isinstance(which, LetterFilter) or (
                moved.count + len(moved.not_found) == len(set(which))
            )

        self.operate("redrive", work, turns)

    @rule(data=st.data(), all_=st.sampled_from([True, False, False]), turns=st.integers(0, 12))
    def purge(self, data: st.DataObject, all_: bool, turns: int) -> None:
        which = EVERYTHING if all_ else self.pick(data, lambda told: told.given_up)

        async def work() -> None:
            with suppress(Refused):
                await self.queue.admin.purge(which)

        self.operate("purge", work, turns)

    @rule(kilobytes=st.integers(0, 4), age_s=st.sampled_from([0, 1, 60]), turns=st.integers(0, 12))
    def drop(self, kilobytes: int, age_s: int, turns: int) -> None:
        async def work() -> None:
            self.queue.retention._policy = RetentionPolicy(age_s * 1000, kilobytes * 1000)
            with suppress(Refused):
                await self.queue.retention.drop()

        self.operate("drop", work, turns)

    @rule(data=st.data(), turns=st.integers(0, 12))
    def cancel(self, data: st.DataObject, turns: int) -> None:
        for message_id in set(self.pick(data, lambda told: not told.over)):
            self.operate("cancel", partial(self.cancels, message_id), turns)

    async def cancels(self, message_id: str) -> None:
        (told,) = self.by_id([message_id.encode()])
        if told.perhaps_gone:
            return  # it is being cancelled already: the model knows of one at a time
        told.perhaps_gone = True
        try:
            if await self.queue.admin.cancel(message_id) is Cancelled.DONE:
                assert message_id.encode() not in [m.wire_id for m in self.bench.deliverer.flying]
                told.is_gone()
        except Refused:
            _, incarnation, position = id_parts(message_id.encode())
            if self.queue.pending.find(position, incarnation) < 0:
                return  # taken out, and a crash may bring it back
        told.perhaps_gone = False

    @rule(host=st.sampled_from(HOSTS), turns=st.integers(0, 12))
    def pause(self, host: str, turns: int) -> None:
        if self.paused.get(host, False) is not None:
            self.operate("pause", partial(self.holds, host, held=True), turns)

    @rule(host=st.sampled_from(HOSTS), turns=st.integers(0, 12))
    def resume(self, host: str, turns: int = 0) -> None:
        if self.paused.get(host, False) is not None:
            self.operate("resume", partial(self.holds, host, held=False), turns)

    async def holds(self, host: str, *, held: bool) -> None:
        before, self.paused[host] = self.paused.get(host, False), None
        admin = self.queue.admin
        try:
            await (admin.hold(host) if held else admin.resume(host))
            self.paused[host] = held
        except Refused:
            self.paused[host] = before

    @rule(limit=st.integers(1, 4), ms=st.sampled_from([0, 0, 1, 50]))
    def list_letters(self, limit: int, ms: int) -> None:
        async def work() -> None:
            before = {told.id: told.redrives for told in self.told.values() if self.is_letter(told)}
            seen: list[str] = []
            cursor: int | None = 0
            while cursor is not None:
                page = await self.queue.admin.letters(EVERYTHING, cursor=cursor, limit=limit)
                seen += [item.id for item in page.items]
                cursor = page.next_cursor
                await asyncio.sleep(ms / 1000)
            for told in self.told.values():
                if before.get(told.id) == told.redrives and self.is_letter(told):
                    assert seen.count(told.id.decode()) == 1, "not seen, or seen twice"

        self.operate("list", work, 3)

    def is_letter(self, told: Told) -> bool:
        """It is one, and nobody is taking it away."""
        taken = told.perhaps_back or told.perhaps_gone
        return told.given_up and not taken and told.id in self.queue.dead_letters

    @rule(data=st.data())
    def look(self, data: st.DataObject) -> None:
        for message_id in set(self.pick(data, lambda told: True)):
            self.operate("look", partial(self.looks, message_id), 0)

    async def looks(self, message_id: str) -> None:
        (told,) = self.by_id([message_id.encode()])
        admin = self.queue.admin
        was = replace(told)
        view = await admin.message(message_id)
        why = await admin.explain(message_id)
        letter = await admin.letter(message_id)
        if told == was and not (told.perhaps_back or told.perhaps_gone):
            assert (view is None) <= told.over
            assert (why is None) <= told.over
            assert letter is None or told.given_up
        if letter is not None:
            with contextlib.suppress(LetterGone):
                assert await whole(letter.body) == told.body
        await admin.letter_groups(EVERYTHING)

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

    @rule(dead=st.booleans(), more=st.integers(0, 8_000))
    def limit_disk(self, dead: bool, more: int) -> None:
        """From now on it is full when a log has grown by so much: trimming gives space again."""
        log = self.bench.dead_log if dead else self.bench.log
        log.capacity_bytes = log.size_bytes + more

    def give_space(self) -> None:
        for log in (self.bench.log, self.bench.dead_log):
            log.space = Space.ENOUGH
            log.capacity_bytes = None

    @rule(append_s=st.sampled_from([0.0, 0.005, 0.5]), read_s=st.sampled_from([0.0, 0.003]))
    def change_speed(self, append_s: float, read_s: float) -> None:
        for log in (self.bench.log, self.bench.dead_log):
            log.append_s, log.read_s = append_s, read_s

    @rule(keep_batch=st.booleans(), keep_dead_batch=st.booleans())
    def crash(self, keep_batch: bool, keep_dead_batch: bool) -> None:
        self.do(lambda: self.bench.crash(keep_batch=keep_batch, keep_dead_batch=keep_dead_batch))
        self.learn(clean=False)
        self.after_crash()

    def after_crash(self) -> None:
        self.uploads.clear()
        self.give_space()
        self.restart()

    @rule()
    def stop_and_start(self) -> None:
        self.give_space()
        self.loop.run_for(2)
        # As a server stops: large letters under way are given time. Attempts here outlast it.
        self.do(partial(self.queue.drain, 30.0))
        self.do(self.bench.stop)
        self.learn(clean=True)
        self.uploads.clear()
        self.restart()

    def let_all_end_well(self) -> None:
        """Nothing waits for ever: with space and destinations that answer, the queue empties."""
        self.give_space()
        for upload, _ in self.uploads:
            upload.abort()
        self.uploads.clear()
        for _ in range(200):
            for host, held in self.paused.items():
                if held:  # once is not enough: it is refused until space is found again
                    self.resume(host)
            self.loop.run_for(0.01)
            if not (self.queue.pending.index.count or self.waiting() or self.running):
                break
            for picked in list(self.bench.deliverer.flying):
                self.do(partial(self.ends, picked, "200"))
            self.loop.run_for(0.7)
            self.take_results()
        self.loop.run_for(3)
        self.take_results()
        assert not self.running, "an operator waits for ever"
        assert not self.queue.redriver.is_busy
        assert not self.waiting()
        assert self.queue.pending.index.count == 0, "something sits in the queue"
        assert self.queue.pending.index.live_bytes == 0
        assert not self.queue.figures.in_flight
        assert not self.queue.figures.burying
        for told in self.told.values():
            assert told.over == isinstance(told.receipt.answer, Message) or (
                # Accepted, but its caller was told nothing before the crash; or cancelled, and who
                # wanted that was told that it takes too long.
                told.receipt.answer is None or told.perhaps_gone
            )
        self.check_dead_letters()

    def teardown(self) -> None:
        try:
            if hasattr(self, "bench"):
                self.let_all_end_well()
                self.check_consistency()
                self.do(self.bench.stop)
                assert not self.bench.notes.errors
                assert not self.loop.errors, self.loop.errors
            self.loop.close()
        finally:
            self.patch.undo()

    # ------------------------------------------------------------------ what the model knows

    def restart(self) -> None:
        self.running.clear()
        self.noted = len(self.bench.notes.dead)
        self.do(self.bench.open)
        self.order = defaultdict(list)
        entries = self.queue.pending.index
        entries.shrink_above = 4
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

    def learn(self, *, clean: bool) -> None:
        """The process ended: what will the next one know, as a reader of the logs understands it?

        Args:
            clean: it stopped in good order, so that everything that was settled is written down.
        """
        waiting, dead = understand(self.bench.log.records, self.bench.dead_log.records)
        for told in self.told.values():
            if told.id:
                self.learn_one(told, waiting.get(told.id), dead.get(told.id), clean=clean)
        keys = paused_in(self.bench.log.records)
        for host, held in self.paused.items():
            is_held = destination(host).key in keys
            assert held is None or held == is_held, "a pause was forgotten, or came back"
            self.paused[host] = is_held

    def learn_one(
        self, told: Told, waits: Waiting | None, dead: int | None, *, clean: bool
    ) -> None:
        if told.gone:
            assert waits is None, f"{told.name} came back to the queue"
            assert dead is None, f"{told.name} is a dead letter again"
        elif waits is not None:
            if clean and told.over:
                assert told.perhaps_back, "what finished was not written down"
            if clean and not told.over:
                assert told.least <= waits.attempts <= told.attempts
            assert told.redrives <= waits.redrives <= told.redrives + told.perhaps_back
            told.least = waits.attempts
            told.redrives = waits.redrives
            told.given_up = told.over = told.perhaps_over = False
        elif dead is not None:
            assert dead == told.redrives, f"{told.name} is in both places"
            assert told.given_up, f"{told.name} is a dead letter again"
            told.over = True
        else:
            assert told.perhaps_over or told.perhaps_gone, f"{told.name} was lost"
            told.gone = not told.perhaps_over
            told.over = True
            told.given_up = False
        told.perhaps_gone = told.perhaps_back = False
        told.due_us = 0

    def dead_letters(self) -> list[Any]:
        return list(letters_in(self.bench.dead_log.records).values())

    def check_dead_letters(self) -> None:
        letters = self.dead_letters()
        found = [letter.message.wire_id for letter in letters]
        given_up = [told for told in self.told.values() if told.given_up]
        assert len(set(found)) == len(found), "two dead letters of one message"
        assert set(found) <= {told.id for told in given_up}, "a dead letter of another one"
        # Who purges is told that it takes too long, and it goes on.
        missing = [told for told in given_up if told.id not in found]
        assert all(told.perhaps_gone for told in missing), "no dead letter"
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
        now = self.queue.clock.now_us()
        assert not isinstance(told.receipt.answer, Refusal), "was refused"
        assert told.id in (b"", sent.wire_id), "the id changed"
        told.id = sent.wire_id
        if told.perhaps_back and sent.redrives == told.redrives + 1:
            told.lives_again()
        assert sent.redrives == told.redrives
        assert sent.wire_id not in self.queue.dead_letters, "is in both places"
        assert not told.gone, "was taken away"
        assert not told.over, "was over"
        assert not self.paused.get(told.host), "the destination is paused"
        assert str(sent.destination) == str(destination(told.host))
        assert sent.timeout_ms == told.timeout_ms
        assert told.least <= sent.attempt - 1 <= told.attempts
        told.attempts = told.least = sent.attempt - 1
        assert now >= told.due_us, "too early"
        assert len(decode_history(sent.history)) == sent.attempt - 1
        assert sent.started_at == now
        assert len([m for m in self.bench.deliverer.flying if m.target == sent.target]) == 1
        peer = self.queue.lanes.of(sent.destination).peer
        assert peer.in_flight <= peer.limit.value, "more at once than the destination may have"
        assert now >= peer.paused_until, "the destination is left alone"
        order = self.order[str(sent.destination)]
        cancelled = {
            str(int(told.id[12:], 16))
            for told in self.told.values()
            if told.gone or (told.perhaps_gone and told.id != sent.wire_id)
        }
        while order and order[0] in cancelled:
            order.pop(0)
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
            self.take_results()
            there = letters_in(self.bench.dead_log.records)
            for dead, _ in self.bench.notes.dead[self.noted :]:
                told = self.told[dead.target[1:]]
                taken = told.perhaps_gone or told.perhaps_back
                assert dead.wire_id in there or not told.given_up or taken
            self.noted = len(self.bench.notes.dead)

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
            assert [entries.due_at[slot] for slot in chain[1:]] == chain[:-1], "links back"
            assert lane.tail == (chain[-1] if chain else NO_SLOT)
            assert 0 <= lane.warm <= lane.ready
            cold = chain[lane.warm] if lane.warm < len(chain) else NO_SLOT
            assert lane.first_cold == cold
            assert all(slot in queue.warm._messages for slot in chain[: lane.warm])
            assert all(entries.lane[slot] == lane.number for slot in chain)
            assert queue.lanes.by_number[lane.number] is lane
            assert bool(lane.place) == (lane in queue.traffic.turns)
            flying = [s for s in in_flight if entries.lane[s] == lane.number]
            assert lane.peer.in_flight == len(flying) <= WORKERS
            in_timer = [s for s in in_timers if entries.lane[s] == lane.number]
            assert lane.scheduled == len(in_timer)
            assert lane.away == sum(
                entries.lane[slot] == lane.number
                for slot, state in enumerate(entries.state)
                if state in (State.BURYING, State.REVIVING)
            )
            in_lanes += chain
        assert len(queue.warm) == sum(lane.warm for lane in queue.lanes)
        assert {entries.state[slot] for slot in in_lanes} <= {State.READY}
        assert {entries.state[slot] for slot in in_timers} <= {State.SCHEDULED}
        assert states[State.READY] == len(in_lanes) == len(set(in_lanes))
        assert states[State.SCHEDULED] == len(in_timers) == queue.pending.timers.count
        assert states[State.IN_FLIGHT] == queue.figures.in_flight
        assert states[State.BURYING] == queue.figures.burying
        assert queue.redriver.is_busy or not states[State.REVIVING], "a slot is nobody's"
        workers = queue.traffic.workers
        assert queue.figures.in_flight == len(in_flight) == len(workers.taken) + workers.slow
        assert workers.busy <= WORKERS
        assert queue.traffic.room.left_bytes >= 0
        assert entries.count == len(entries.state) - states[State.FREE]
        assert len(queue.traffic.learning) <= 2 * len(queue.lanes) + 2, "pauses pile up"
        self.check_extents()
        self.check_dead_space()

    def check_extents(self) -> None:
        queue = self.queue
        entries = queue.pending.index
        extents = queue.pending.extents
        held: list[tuple[int, int]] = []
        owners: Counter[tuple[int, Owner]] = Counter()
        for slot in range(len(entries.state)):
            if entries.state[slot] == State.FREE:
                continue
            assert (
                queue.pending.find(entries.id_position[slot], entries.incarnation_of(slot)) == slot
            )
            held.append((entries.position[slot], entries.size[slot]))
            if slot in queue.pending.owned:
                chunks = owned_sizes(*queue.pending.owned.by_slot[slot])
                for position, size in chunks:
                    owners[extents.of(position).start, slot] += size
                held += chunks
        assert owners == _owners(extents), "compaction would not find the records of a slot"
        total = sum(size for _, size in held)
        assert total == entries.live_bytes
        if queue.pauses._held is not None:
            held.append(queue.pauses._held)
        _check_live(extents, held, exactly=not queue.pending.uploading_bytes)
        self.check_is_there(self.bench.log, held)

    def check_dead_space(self) -> None:
        dead_letters = self.queue.dead_letters
        rows = dead_letters.letters
        extents = dead_letters.holdings.extents
        held: list[tuple[int, int]] = []
        owners: Counter[tuple[int, Owner]] = Counter()
        ids = set()
        total = 0
        for row in rows.alive():
            message_id = rows.id(row)
            ids.add(message_id)
            assert rows.find(message_id) == row
            chunks = dead_letters.holdings.chunks.get(message_id, [])
            own = rows.sizes[row] - sum(size for _, size in chunks)
            held += [(rows.position[row], own), *chunks]
            for position, size in chunks:
                owners[extents.of(position).start, message_id] += size
            total += rows.sizes[row]
        assert len(rows) == len(ids)
        assert rows.size_bytes == total
        assert dead_letters.holdings.chunks.keys() <= ids
        ordinals = [rows.ordinal[row] for row in rows.alive()]
        assert ordinals == sorted(set(ordinals))
        assert [rows.first_after(ordinal - 1) for ordinal in ordinals] == list(rows.alive())
        assert owners == _owners(extents), "compaction would not find the chunks of a letter"
        busy = self.queue.figures.burying or dead_letters.reclaimer.is_busy
        _check_live(extents, held, exactly=not busy)
        self.check_is_there(self.bench.dead_log, held)

    def check_is_there(self, log: FaultyLog, held: list[tuple[int, int]]) -> None:
        missing = [position for position, _ in held if position not in log._payloads]
        assert not missing, "what is needed was trimmed away"

    @precondition(lambda self: hasattr(self, "bench"))
    @rule()
    def check_size(self) -> None:
        """The log stays within about twice what is pending."""
        for log in (self.bench.log, self.bench.dead_log):
            if log.space is not Space.ENOUGH or log.capacity_bytes is not None:
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
        largest = 12 * (CHUNK + 40) + 800
        dead_bytes = self.queue.dead_letters.letters.size_bytes
        if not self.queue.figures.burying and self.bench.dead_log._segment_bytes == 1:
            most = 2 * dead_bytes + SLACK + 2 * (EXTENT + 2_000) + largest
            assert self.bench.dead_log.size_bytes <= most
        if self.queue.figures.burying or self.bench.log._segment_bytes > 1:
            return
        if self.bench.config.keep_everything:
            return
        live = self.queue.pending.index.live_bytes
        assert self.bench.log.size_bytes <= 2 * live + SLACK + 2 * (EXTENT + 1_500) + largest


class _ToldRedriver:
    """Tells the model what is taken away, before and after."""

    def __init__(self, queue: Partition, by_id: Callable[[Sequence[bytes]], list[Told]]) -> None:
        self._real = queue.redriver
        self._letters = queue.dead_letters
        self._seen_gone: set[bytes] = set()
        self._by_id = by_id

    @property
    def is_busy(self) -> bool:
        return self._real.is_busy

    async def redrive(self, ids: Sequence[bytes]) -> Redriving:
        before = {}
        for told in self._by_id(ids):
            told.perhaps_back = told.perhaps_back or told.given_up
            before[told.id] = told.redrives
        redriving = await self._real.redrive(ids)
        for told in self._by_id(redriving.done):
            if told.redrives == before[told.id]:  # it was not sent yet
                told.lives_again()
        for told in self._by_id(ids):
            if not self.is_busy:
                told.perhaps_back = False
        return redriving

    async def purge(self, ids: Sequence[bytes]) -> list[bytes]:
        purged = self._by_id(ids)
        begun = {told.id for told in purged if told.perhaps_gone}
        letters = [message_id for message_id in ids if message_id in self._letters]
        for told in purged:
            told.perhaps_gone = True
        done: list[bytes] = []
        try:
            done = await self._real.purge(ids)
        except Refused:  # those that were begun may be removed, now or later
            begun.update(letters)
        for told in self._by_id(done):
            told.perhaps_gone = False
            if told.id not in self._seen_gone:  # another purge saw it before this one was told
                told.is_gone()
        if not self.is_busy:  # or somebody else may be taking it away
            for told in purged:
                is_letter = told.id in self._letters or told.perhaps_back
                if told.given_up and told.id in begun and not is_letter:
                    told.is_gone()
                    self._seen_gone.add(told.id)
                told.perhaps_gone = False
        return done


def _check_live(extents: Extents, held: list[tuple[int, int]], *, exactly: bool) -> None:
    live: Counter[int] = Counter()
    live_bytes: Counter[int] = Counter()
    for position, size in held:
        start = extents.of(position).start
        live[start] += 1
        live_bytes[start] += size
    for extent in extents:
        assert extent.live >= live[extent.start]
        if exactly:
            assert extent.live == live[extent.start]
            assert extent.live_bytes == live_bytes[extent.start]
    assert extents.span_bytes == sum(extent.filled for extent in extents)


def _owners(extents: Extents) -> Counter[tuple[int, Owner]]:
    """How many bytes each extent holds for which slot or letter."""
    held: Counter[tuple[int, Owner]] = Counter()
    for extent in extents:
        for owner, size in extent.owners.items():
            if isinstance(owner, int | bytes):
                held[extent.start, owner] = size
    return held


def _least_delay_us(result: AttemptResult, attempt: int) -> int:
    asked = int(result.retry_after or b"0") * 1000
    return int(max(POLICY.delay_ms * 2 ** (attempt - 1) * 0.8, min(asked, 20_000))) * 1000


def _chained_in_timers(queue: Partition) -> list[int]:
    """Slots that wait in timers, without those that were settled and only linger there."""
    index = queue.pending.index
    free, slot = set(), index._free
    while slot != NO_SLOT:
        free.add(slot)
        slot = index.next[slot]
    found = []
    for slot in queue.pending.timers._heads.values():
        while slot != NO_SLOT:
            assert slot not in free, "it would be used again while a timer leads to it"
            if index.state[slot] != State.FREE:
                found.append(slot)
            slot = index.next[slot]
    return found


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(
    max_examples=int(os.environ.get("QUEUE_EXAMPLES", "150")),
    stateful_step_count=40,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking takes minutes: do it by hand
)
