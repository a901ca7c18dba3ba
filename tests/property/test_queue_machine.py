"""The queue against a small model: whatever happens in whatever order, nothing is lost, nothing is
invented, and nothing waits for ever."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dispatcher.core.callbacks import is_callback
from dispatcher.core.clock import SteadyClock, WallUs
from dispatcher.core.destination import Destination
from dispatcher.core.flow import parse_flow
from dispatcher.core.idempotency import place_in_group
from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.core.retry import RetryPolicy
from dispatcher.core.terms import Terms
from dispatcher.errors import Refusal, Refused
from dispatcher.queue.admin import acting, listing, matching, operating, waiting
from dispatcher.queue.admin.surface import Cancelled, LetterFilter, LetterGone, MessageFilter
from dispatcher.queue.bodies import copied
from dispatcher.queue.bodies.upload import ChunkUpload
from dispatcher.queue.compaction.source import ReclaimPolicy
from dispatcher.queue.deadletters import letters, redrive, retention
from dispatcher.queue.deadletters.editing import LetterEdit
from dispatcher.queue.deadletters.redrive import Redriving
from dispatcher.queue.deadletters.retention import RetentionPolicy
from dispatcher.queue.flow import together
from dispatcher.queue.lanes import lanes, lines, warm
from dispatcher.queue.lanes.line import FlowLine, Line, OrderLine
from dispatcher.queue.partition import Partition
from dispatcher.queue.pending import owned
from dispatcher.queue.pending.deadlines import NEVER
from dispatcher.queue.pending.extents import Extents, Owner
from dispatcher.queue.pending.index import NO_SLOT, State
from dispatcher.queue.pending.owned import owned_sizes
from dispatcher.queue.records.history import decode_history
from dispatcher.queue.records.ids import id_parts
from dispatcher.queue.records.keys import KEY_BYTES
from dispatcher.queue.refusals import IDEMPOTENCY_CONFLICT, LOG_FAILED
from dispatcher.testing.admin import whole
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.log import FaultyLog, Space
from dispatcher.testing.loop import SimulatedLoop
from dispatcher.testing.queue import Bench, Receipts, destination, failed, message
from tests.effort import times
from tests.property.understood import (
    Waiting,
    copies_in,
    letters_in,
    paused_in,
    stored_in,
    understand,
    waiting_in,
)

T = TypeVar("T")

WORKERS = 4
SLOW = 8
WARM_BYTES = 4_000
POLICY = RetryPolicy(retry_limit=3, delay_ms=100, max_delay_ms=20_000)
EXTENT = 1_000
SLACK = 500
CHUNK = 64
EVERYTHING = LetterFilter()
NOWHERE = destination("nowhere.example")
FLOWS = {
    "one": (parse_flow("parallelism=1"), 1, 0),
    "two": (parse_flow("parallelism=2, rate=5/1s, burst=2"), 2, 5),
    "often": (parse_flow("rate=5/1s, burst=2"), 1000, 5),
}
"""Of a flow key: what is said of it, how many may run at once, and how many a second may start."""
BURST = 2
HOSTS = ("a.example", "b.example", "https://c.example:8443")
CALLED = {"delivered": HOSTS[1], "dead": HOSTS[2]}
"""Of an outcome: who is told of it, at a path of its name."""
URLS = {"delivered": f"http://{HOSTS[1]}/delivered", "dead": f"{HOSTS[2]}/dead"}
CALLS = st.sampled_from(["", "delivered", "dead", "delivered dead", "delivered dead"])
LEAVING = {State.REVIVING, State.BURYING, State.SETTLING, State.MOVING}
WINDOW_MS = 30_000
IMPRECISE_US = 3_000_000
"""How wrong the model may be about when a window begins: at the 202, not when it was handed in."""

OUTCOMES = {
    "500": failed(500),
    "503 in 2 s": failed(503, retry_after=b"2"),
    "429 in an hour": failed(429, retry_after=b"3600"),
    "404": failed(404),
    "connection": failed(failure=Failure.CONNECTION),
    "timeout": failed(failure=Failure.TIMEOUT),
    "egress": failed(failure=Failure.EGRESS),
    "lacking": replace(failed(), ours=True),
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
    terms: Terms | None = None  # where it has some of those that say when, how often, until when
    not_before_us: int = 0  # by the queue's clock, as the next
    deadline_us: int = NEVER
    handed_in_us: int = 0  # -1: nobody knows, the clock was set
    life: int = 0  # of the queue, in which it was handed in
    order_key: str = ""
    flow_key: str = ""
    calls: dict[str, set[bytes]] = field(default_factory=dict)
    """Ids of the callbacks that were seen, by each outcome of which somebody is told."""
    was_letter: bool = False  # before it was gone
    hosts: set[str] = field(default_factory=set)  # where it was before it was redirected
    moving: str = ""  # where somebody wants to send it instead, and was not told yet
    may_be_late: bool = False  # it was taken out of its lane since the start, perhaps
    perhaps_dying: bool = False  # somebody wants to give it up, and was not told yet
    edited: tuple[str, bytes] | None = None  # as what somebody wants it to be sent again
    hastening: int = 0  # so many want it to be due now, and were not told yet
    hastened: bool = False  # somebody did: a copy of it knows that, a restart perhaps

    @property
    def deaths(self) -> int:
        """How often it became a dead letter."""
        return self.redrives + (self.given_up or self.was_letter)

    def lives_again(self) -> None:
        """It was redriven."""
        assert self.given_up, "redriven, and was no dead letter"
        self.redrives += 1
        self.given_up = self.over = self.perhaps_back = False
        self.attempts = self.least = self.due_us = 0
        self.drop_times()

    def moves(self, to: Destination) -> None:
        """It is seen that it was redirected."""
        assert self.moving, "redirected, and nobody wanted that"
        assert destination(self.moving) == to, "redirected elsewhere"
        self.host, self.moving = self.moving, ""
        self.hosts.add(self.host)
        self.attempts = self.least = self.due_us = 0

    def is_edited(self) -> None:
        """It is seen that it was changed as it was redriven."""
        assert self.edited is not None
        (self.host, self.body), self.edited = self.edited, None
        self.hosts.add(self.host)

    def drop_times(self) -> None:
        """It comes back from the dead: delay and deadline were those of its first life."""
        self.terms = None if self.terms is None else self.terms.of_redriven()
        self.not_before_us, self.deadline_us = 0, NEVER

    def tell_times(self, clock: SteadyClock) -> None:
        """Its instants are those of the wall clock as it is set now."""
        terms = self.terms
        if terms is not None and terms.not_before_us and not self.hastened:
            self.not_before_us = clock.to_queue(WallUs(terms.not_before_us))
        if terms is not None and terms.deadline_us:
            self.deadline_us = clock.to_queue(WallUs(terms.deadline_us))

    @property
    def policy(self) -> RetryPolicy:
        """How often and when it is tried again."""
        terms = self.terms or Terms()
        retries, delay_ms, most_ms = terms.retries, terms.retry_delay_ms, terms.retry_max_delay_ms
        return RetryPolicy(
            POLICY.retry_limit if retries is None else retries,
            POLICY.delay_ms if delay_ms is None else delay_ms,
            POLICY.max_delay_ms if most_ms is None else most_ms,
        )

    def is_gone(self) -> None:
        """An operator took it away."""
        assert not self.gone, "taken away twice"
        self.gone = self.over = True
        self.was_letter, self.given_up = self.given_up, False


GROUP_TERMS = st.builds(
    lambda key, order_key, delay_s, calls: Terms(
        not_before_us=delay_s * 1_000_000,
        idempotency_key=key,
        order_key=order_key,
        callback=URLS["delivered"] if "delivered" in calls else "",
        failure_callback=URLS["dead"] if "dead" in calls else "",
    ),
    st.sampled_from(["", "g", "h"]),
    st.sampled_from(["", "", "k"]),
    st.sampled_from([0, 0, 0, 5, 60]),
    st.one_of(st.just(""), CALLS),
)
"""Of a request to a group: `not_before_us` is how long it waits."""

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
            (together, "CHUNK_BYTES", CHUNK),
            (copied, "_FLYING_BYTES", 2 * CHUNK),
            (warm, "READ_BYTES", 600),
            (lanes, "READ_MOST", 4),
            (letters, "_REWRITE_ABOVE", 4),
            (redrive, "MOST_AT_ONCE", 3),
            (redrive, "MOST_BYTES_AT_ONCE", 600),
            (operating, "MOST_AT_ONCE", 4),
            (operating, "_PURGED_AT_ONCE", 5),
            (matching, "_SLICE_SECONDS", math.inf),  # the same ones each time
            (matching, "_FIRST_SLICE", 2),
            (matching, "_MOST_ROWS", 2),
            (listing, "_READ_BYTES", 500),
            (retention, "_AT_ONCE", 2),
            (lines, "_FLOWS_AT_ONCE", 1),
            (waiting, "SLICE", 3),
            (waiting, "READ_MOST", 2),
            (acting, "_AT_ONCE", 2),
            (acting, "_PULLED_AT_ONCE", 3),
        ):
            self.patch.setattr(module, name, value)
        self.clock = SimulatedClock()
        self.loop = SimulatedLoop(self.clock)
        self.told: dict[str, Told] = {}
        self.uploads: list[tuple[ChunkUpload, list[bytes]]] = []
        self.groups: list[list[Told]] = []  # handed in since the start
        self.group_keys: dict[str, list[list[Told]]] = defaultdict(list)
        self.asked_groups: list[tuple[Receipts.Together, list[Told], bool]] = []
        self.order: dict[str, list[str]] = {}
        self.serial = 0
        self.running: dict[asyncio.Task[None], str] = {}
        self.paused: dict[str, bool | None] = {}  # None: an operator wants to change that
        self.noted = 0
        self.lives = 0
        self.between: Callable[[], None] = lambda: None
        self.keys: dict[tuple[str, str], list[Told]] = defaultdict(list)
        self.asked: list[tuple[Receipts.One, Told, bool]] = []
        self.starts: dict[tuple[str, str], list[int]] = {}

    @initialize(
        segment=st.sampled_from([1, 3_000]),
        keep=st.sampled_from([False, False, True]),
        holds=st.booleans(),
    )
    def begin(self, segment: int, keep: bool, holds: bool) -> None:
        self.holds_keys = holds
        self.bench = Bench(
            self.clock,
            log=FaultyLog(max_batch_bytes=1_500, segment_bytes=segment),
            dead_log=FaultyLog(max_batch_bytes=2_000, segment_bytes=segment),
            keep_everything=keep,
            order_holds=holds,
            policy=POLICY,
            workers=WORKERS,
            workers_slow=SLOW,
            warm_bytes=WARM_BYTES,
            prepare=self.prepare,
            reclaim=RECLAIM,
            idempotency_window_ms=WINDOW_MS,
        )
        self.bench.deliverer.on_start = self.started
        self.bench.notes.dead_lettered = self.died  # type: ignore[method-assign]  # told at once
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

    @rule(
        host=st.sampled_from(HOSTS),
        count=st.integers(1, 4),
        delay_ms=st.sampled_from([0, 0, 9, 500, 5_000, 60_000]),
        life_ms=st.sampled_from([0, 0, 1, 400, 3_000, 30_000]),
        retries=st.sampled_from([None, 0, 1, 6]),
        retry_delay_ms=st.sampled_from([None, 0, 4_000]),
        retry_max_delay_ms=st.sampled_from([None, 1, 30_000]),
        order_key=st.sampled_from(["", "", "k", "l"]),
        calls=CALLS,
    )
    def accept_with_terms(
        self,
        host: str,
        count: int,
        delay_ms: int,
        life_ms: int,
        retries: int | None,
        retry_delay_ms: int | None,
        retry_max_delay_ms: int | None,
        order_key: str,
        calls: str,
    ) -> None:
        """The deadline may come before the delay is over, as in what is imported."""
        now_us = self.clock.now_us()
        terms = Terms(
            not_before_us=now_us + delay_ms * 1000 if delay_ms else 0,
            deadline_us=now_us + life_ms * 1000 if life_ms else 0,
            retries=retries,
            retry_delay_ms=retry_delay_ms,
            retry_max_delay_ms=retry_max_delay_ms,
            order_key=order_key,
            callback=URLS["delivered"] if "delivered" in calls else "",
            failure_callback=URLS["dead"] if "dead" in calls else "",
        )

        async def work() -> None:
            for _ in range(count):
                told = self.tell(host, b"t" * 30, 0)
                self.ask_for(told, terms)
                self.queue.intake.accept(self.made(told), told.receipt)

        self.do(work)

    def ask_for(self, told: Told, terms: Terms) -> None:
        told.terms, told.order_key = terms, terms.order_key
        told.tell_times(self.queue.clock)
        if terms.callback:
            told.calls["delivered"] = set()
        if terms.failure_callback:
            told.calls["dead"] = set()

    @rule(
        host=st.sampled_from(HOSTS),
        outcomes=st.lists(st.sampled_from(["200", "404", "500"]), min_size=1, max_size=4),
        calls=CALLS,
        end=st.sampled_from(["crash", "redrive", "crash, redrive", "full", "nothing"]),
        append_s=st.sampled_from([0.0, 0.005, 0.5]),
        kept=st.tuples(st.booleans(), st.booleans()),
        ms=st.sampled_from([0, 3, 8, 13, 600]),
    )
    def end_and_call(
        self,
        host: str,
        outcomes: list[str],
        calls: str,
        end: str,
        append_s: float,
        kept: tuple[bool, bool],
        ms: int,
    ) -> None:
        """Messages of whose end somebody is told end, and something comes between."""
        self.accept_with_terms(host, len(outcomes), 0, 0, None, None, None, "", calls)
        self.loop.run_for(0.01)
        for log in (self.bench.log, self.bench.dead_log):
            log.append_s = append_s
        if end == "full":
            self.bench.log.space = Space.NOTHING
        for outcome in outcomes:
            for picked in list(self.bench.deliverer.flying)[:1]:
                self.do(partial(self.ends, picked, outcome))
        self.loop.run_for(ms / 1000)
        if "crash" in end:
            self.crash(*kept)
        if "redrive" in end:
            self.operate("redrive", self.redrives_all, 40)
            self.end_attempts(["200", "404"], 0, 10)

    @precondition(lambda self: hasattr(self, "bench") and self.are_answered())
    @rule(seconds=st.sampled_from([-3600, -5, -1, 1, 5, 3600]))
    def set_clock(self, seconds: int) -> None:
        """The wall clock: what waits here goes by the time that passes. Not while a message is on
        its way into the log, where nobody knows when its instants are read."""
        self.clock.set_wall_clock(self.clock.now_us() + seconds * 1_000_000)
        self.forget_ages()

    def are_answered(self) -> bool:
        """Whether everything that was handed in is stored, or refused, and what was redirected is
        where it goes."""
        new = [told for told in self.told.values() if told.life == self.lives]
        is_stored = all(told.receipt.answer is not None for told in new)
        return is_stored and not any(told.moving for told in self.told.values())

    def forget_ages(self) -> None:
        for told in self.told.values():
            told.handed_in_us = -1

    @rule(
        seconds=st.sampled_from([-3600, -5, 5, 3600]),
        kept=st.tuples(st.booleans(), st.booleans()),
        is_clean=st.booleans(),
    )
    def set_clock_between(self, seconds: int, kept: tuple[bool, bool], is_clean: bool) -> None:
        """Between two processes: then its instants are those of the clock as it is set."""
        self.between = partial(self.set_clock, seconds)
        if is_clean:
            self.stop_and_start()
        else:
            self.crash(*kept)

    @rule(
        host=st.sampled_from(HOSTS),
        keys=st.lists(st.sampled_from("klmn"), min_size=1, max_size=6),
        same=st.booleans(),
    )
    def accept_keyed(self, host: str, keys: list[str], same: bool) -> None:
        async def work() -> None:
            for key in keys:
                self.hand_in(host, key, same=same)

        self.do(work)

    @rule(
        host=st.sampled_from(HOSTS),
        outcome=st.sampled_from(["200", "404"]),
        end=st.sampled_from(["crash", "redrive", "redrive", "nothing"]),
    )
    def churn(self, host: str, outcome: str, end: str) -> None:
        """Keys whose messages' records are dropped soon, as so much comes behind them."""
        for _ in range(2):
            self.accept_keyed(host, ["k", "l", "m"], same=True)
            self.end_attempts([outcome] * 3, 0, 10)
            for _ in range(3):
                self.accept(host, [300] * 8, 0)
                self.end_attempts(["200"] * 4, 0, 10)
            self.loop.run_for(2)
        if end == "redrive":
            self.operate("redrive", self.redrives_all, 40)
            self.end_attempts(["200"] * 4, 0, 10)
            self.loop.run_for(2)
        if end != "nothing":
            self.crash(False, False)
        self.accept_keyed(host, ["k", "l", "m"], same=True)

    @rule(
        host=st.sampled_from(HOSTS[:2]),
        keys=st.lists(
            st.tuples(st.sampled_from(["", "k", "k", "l"]), st.sampled_from(["", "", *FLOWS])),
            min_size=1,
            max_size=8,
        ),
        delay_s=st.sampled_from([0, 0, 0, 1, 30]),
    )
    def accept_in_line(self, host: str, keys: list[tuple[str, str]], delay_s: int) -> None:
        async def work() -> None:
            for order_key, flow_key in keys:
                told = self.tell(host, b"l" * 20, 0)
                told.order_key, told.flow_key = order_key, flow_key
                sent = self.made(told)
                due_us = self.clock.now_us() + delay_s * 1_000_000 if delay_s else 0
                told.due_us = self.queue.clock.to_queue(WallUs(due_us)) if due_us else 0
                sent.terms = Terms(
                    not_before_us=due_us,
                    order_key=order_key,
                    flow_key=flow_key,
                    flow=FLOWS[flow_key][0] if flow_key else None,
                )
                self.queue.intake.accept(sent, told.receipt)

        self.do(work)

    @rule(host=st.sampled_from(HOSTS[:2]), redrives=st.booleans(), crashes=st.booleans())
    def churn_a_key(self, host: str, redrives: bool, crashes: bool) -> None:
        """Some messages of a key are given up, and perhaps come back."""
        self.accept_in_line(host, [("k", "")] * 6, 0)
        self.end_attempts(["404", "200", "404"], 0, 300)
        if redrives:
            self.operate("redrive", self.redrives_all, 20)
        if crashes:
            self.crash(False, False)
        self.end_attempts(["200"] * 2, 0, 300)

    async def redrives_all(self) -> None:
        with suppress(Refused):
            await self.queue.admin.redrive(EVERYTHING)

    def hand_in(self, host: str, key: str, *, same: bool) -> None:
        """Send a request with a key, where the model knows whether that stands for a message."""
        *before, last = self.keys[host, key] or [Told("", host, b"", 0, self.bench.receipts.one())]
        if any(self.stands(told) is not False for told in before):
            return  # one that had died when its key was given away was redriven: whose is it?
        stands = bool(last.name) and self.stands(last)
        if stands is None:
            return
        if stands:
            self.ask_again(host, last, key, same=same)
            return
        told = self.tell(host, b"k" * 20, 0)
        self.keys[host, key].append(told)
        self.queue.intake.accept(self.keyed(host, told, key), told.receipt)
        assert not isinstance(told.receipt.answer, bytes), "a duplicate of what is gone"
        assert told.receipt.answer is not IDEMPOTENCY_CONFLICT

    def stands(self, told: Told) -> bool | None:
        """Whether the key of a message is taken; None: the model does not know."""
        answer = told.receipt.answer
        if isinstance(answer, Refusal):
            return False
        if not told.id and answer is None:
            return True if told.life == self.lives else None
        if told.gone:
            return False
        if told.perhaps_gone or told.perhaps_back or told.handed_in_us < 0:
            return None
        _, incarnation, position = id_parts(told.id or answer.wire_id)  # type: ignore[union-attr]  # it is a message
        if self.queue.pending.find(position, incarnation) >= 0:
            return True
        if self.bench.notes.keys:
            return None  # on a full disk keys of what has ended were dropped: which ones?
        age_us = self.queue.clock.now_us() - told.handed_in_us
        if abs(age_us - WINDOW_MS * 1000) < IMPRECISE_US:
            return None
        return age_us < WINDOW_MS * 1000

    def ask_again(self, host: str, known: Told, key: str, *, same: bool) -> None:
        receipt = self.bench.receipts.one()
        sent = self.keyed(host, known, key)
        if not same:
            assert sent.terms is not None
            sent.terms = replace(sent.terms, request_print=1)
        unknown = known.receipt.answer is None and not known.id
        self.queue.intake.accept(sent, receipt)
        self.asked.append((receipt, known, same))
        if unknown:
            assert receipt.answer is None, "answered before the first"
        else:
            self.check_asked()

    def check_asked(self) -> None:
        """Whoever asked again is answered with the first, and as it was."""
        waiting, self.asked = self.asked, []
        for receipt, known, same in waiting:
            first = known.receipt.answer
            if first is None and not known.id:
                assert receipt.answer is None
                self.asked.append((receipt, known, same))
            elif isinstance(first, Refusal):
                assert receipt.answer == first, "the first was refused"
            elif not same:
                assert receipt.answer is IDEMPOTENCY_CONFLICT
            else:
                message_id = first.wire_id if isinstance(first, Message) else known.id
                assert receipt.answer == message_id, "not the first message's id"

    def keyed(self, host: str, told: Told, key: str) -> Message:
        sent = self.made(told)
        sent.destination = destination(host)  # also where the first was redirected
        sent.accepted_at = self.clock.now_us()
        sent.terms = Terms(idempotency_key=key, request_print=told.life << 32 | 2)
        return sent

    def tell(self, host: str, body: bytes, timeout_ms: int) -> Told:
        self.serial += 1
        name = f"m{self.serial}"
        told = Told(name, host, body, timeout_ms, self.bench.receipts.one(), hosts={host})
        told.handed_in_us, told.life = self.queue.clock.now_us(), self.lives
        self.told[name] = told
        return told

    def of(self, sent: Message) -> Told:
        """What the model knows of a message; a callback is a message that is told by others."""
        if not is_callback(sent):
            return self.told[sent.target[1:]]
        name = f"{sent.target[1:]} {sent.wire_id.decode()}"
        if name not in self.told:
            self.told[name] = self.called_by(sent, name)
        return self.told[name]

    def called_by(self, sent: Message, name: str) -> Told:
        """A callback is seen for the first time."""
        shown = json.loads(sent.body)
        (other,) = self.by_id([shown["id"].encode()])
        outcome: str = shown["outcome"]
        assert outcome in other.calls, "nobody wanted to know"
        assert sent.target == f"/{outcome}"
        assert shown["target"] == f"/{other.name}"
        assert shown["destination"] in {str(destination(host)) for host in other.hosts}
        assert sent.terms is None, "a callback of a callback"
        told = Told(name, CALLED[outcome], sent.body, 0, self.bench.receipts.one(), sent.wire_id)
        told.hosts.add(told.host)
        other.calls[outcome].add(sent.wire_id)
        assert len(other.calls["delivered"] if outcome == "delivered" else ()) <= 1, "told twice"
        return told

    def check_calls(self) -> None:
        """Of what is written down: each end is told by exactly one message, and nothing else is."""
        for sent in copies_in(self.bench.log.records):
            if is_callback(sent):
                self.of(sent)
        waiting = waiting_in(self.bench.log.records)
        for told in self.told.values():
            if not told.id or not told.calls:
                continue
            waits = waiting.get(told.id)
            is_delivered = waits is None and not (told.given_up or told.gone)
            deaths = told.deaths if waits is None else waits.redrives
            for outcome, seen in told.calls.items():
                most = deaths if outcome == "dead" else int(is_delivered)
                assert len(seen) <= most, f"{told.name} is {outcome}: told too often"
                assert len(seen) == most, f"{told.name} is {outcome}: nobody is told"

    def made(self, told: Told) -> Message:
        made = message(
            destination(told.host), told.body, name=told.name, timeout_ms=told.timeout_ms
        )
        made.terms = told.terms
        return made

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

    @rule(
        hosts=st.lists(st.sampled_from(HOSTS), min_size=1, max_size=5),
        size=st.sampled_from([0, 10, 150, 300, 400]),
        is_upload=st.booleans(),
        goes_away=st.sampled_from([False, False, True]),
        turns=st.integers(0, 6),
        terms=GROUP_TERMS,
    )
    def accept_group(
        self,
        hosts: list[str],
        size: int,
        is_upload: bool,
        goes_away: bool,
        turns: int,
        terms: Terms,
    ) -> None:
        """One body for several places, which are stored together: small ones as they are, those of
        which a batch has too many in chunks, and those that arrive in pieces."""
        if not self.group_is_new(terms.idempotency_key):
            return
        told = [self.tell(host, b"g" * size, 0) for host in hosts]
        if terms != Terms():
            self.ask_for_all(told, terms)
        sent = [self.made(one) for one in told]
        for made in sent:
            made.accepted_at = self.clock.now_us()
        receipt = Receipts.Together([one.receipt for one in told])
        if not (is_upload and size):
            self.hand_in_group(told)
            self.do(_now(lambda: self.queue.intake.accept_all(sent, receipt)))
            return

        async def work() -> None:
            heads = sum(len(one.head) for one in sent)
            start = self.queue.intake.start_uploads
            upload = start(lambda: None, copies=len(sent), head_bytes=heads)
            for at in range(0, size, CHUNK):
                upload.write(b"g" * min(CHUNK, size - at))
                for _ in range(turns):
                    await asyncio.sleep(0)
            if goes_away or upload.refusal is not None:
                upload.abort()
                for one in told:
                    del self.told[one.name]
                return
            for made in sent:
                made.body = b""
            self.hand_in_group(told)
            self.queue.intake.accept_all(sent, receipt, upload)

        self.do(work)
        assert not receipt.duplicates, "a duplicate of what is gone"
        assert told[0].receipt.answer is not IDEMPOTENCY_CONFLICT

    def hand_in_group(self, told: list[Told]) -> None:
        self.groups.append(told)
        terms = told[0].terms
        if terms is not None and terms.idempotency_key:
            self.group_keys[terms.idempotency_key].append(told)

    def ask_for_all(self, told: list[Told], terms: Terms) -> None:
        """Those of a request: what is counted from now on begins now."""
        if terms.not_before_us:
            terms = replace(terms, not_before_us=self.clock.now_us() + terms.not_before_us)
        for number, one in enumerate(told):
            place = place_in_group("g", number) if terms.idempotency_key else ""
            print_ = self.serial << 8 | 2 if place else 0
            self.ask_for(one, replace(terms, key_place=place, request_print=print_))

    @rule(key=st.sampled_from("gh"), same=st.booleans())
    def ask_group_again(self, key: str, same: bool) -> None:
        if not self.group_keys[key] or self.group_is_new(key):
            return
        told = self.group_keys[key][-1]
        standing = [one for one in told if self.stands(one)]
        if not standing or any(self.stands(one) is None for one in told):
            return
        sent = [self.made(one) for one in told]
        for made in sent:
            assert made.terms is not None
            made.accepted_at = self.clock.now_us()
            if not same:
                made.terms = replace(made.terms, request_print=1)
        receipt = Receipts.Together([self.bench.receipts.one() for _ in told])
        self.do(_now(lambda: self.queue.intake.accept_all(sent, receipt)))
        self.asked_groups.append((receipt, standing, same))
        self.check_asked_groups()

    def group_is_new(self, key: str) -> bool:
        """Whether the key of a group is free, for all the model knows."""
        ones = [one for told in self.group_keys[key] for one in told] if key else []
        return all(self.stands(one) is False for one in ones)

    def check_asked_groups(self) -> None:
        """Whoever asked again is answered with all that the key stands for, and as it was."""
        waiting, self.asked_groups = self.asked_groups, []
        for receipt, standing, same in waiting:
            answer = standing[0].receipt.answer
            got = [one.answer for one in receipt.ones]
            if answer is None and not standing[0].id:
                assert not receipt.duplicates
                assert not any(got)
                self.asked_groups.append((receipt, standing, same))
            elif isinstance(answer, Refusal):
                assert got == [answer] * len(got), "the first was refused"
            elif not same:
                assert got == [IDEMPOTENCY_CONFLICT] * len(got)
            else:
                answers = [(one.id, one.receipt.answer) for one in standing]
                ids = [id_ or answer.wire_id for id_, answer in answers]  # type: ignore[union-attr]  # they are messages
                assert receipt.duplicates == ids, "not the ids of the first"

    @rule(
        before=st.lists(st.integers(100, 300), min_size=2, max_size=8),
        hosts=st.lists(st.sampled_from(HOSTS), min_size=4, max_size=6),
        size=st.sampled_from([10, 60, 100]),
        ms=st.sampled_from([8, 13]),
        kept=st.booleans(),
        terms=GROUP_TERMS,
    )
    def crash_amid_group(
        self, before: list[int], hosts: list[str], size: int, ms: int, kept: bool, terms: Terms
    ) -> None:
        """A batch takes 5 ms, and there are several."""
        self.bench.log.append_s = 0.005
        self.accept("a.example", [*before, 0], 0)
        self.accept_group(hosts, size, False, False, 0, terms)
        self.loop.run_for(ms / 1000)
        self.crash(kept, False)
        if terms.idempotency_key:  # it is free again, or stands for all of them
            self.ask_group_again(terms.idempotency_key, True)
            self.accept_group(hosts, size, False, False, 0, terms)

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
        told = self.of(picked)
        await self.check_body(told, picked)
        if outcome == "200":
            told.perhaps_over = told.over = True
            self.bench.end(picked)
            return
        result, policy, now = OUTCOMES[outcome], told.policy, self.queue.clock.now_us()
        if not result.ours:
            told.attempts = told.least = picked.attempt
        is_last = picked.attempt > policy.retry_limit and not result.ours
        if outcome in ("404", "egress") or is_last or told.deadline_us <= now:
            told.given_up = told.over = True
        else:
            least_us = now + _least_delay_us(result, picked.attempt, policy)
            told.due_us = min(least_us, told.deadline_us)
        self.bench.end(picked, result)
        if not told.over:
            slot = picked.slot
            due_us = self.queue.pending.index.due_at[slot]
            most_us = max(told.due_us * 1.0, now + max(policy.max_delay_ms * 1200, 1_200_000))
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
        what=st.sampled_from(["redrive", "redrive", "purge", "both", "move", "move"]),
        turns=st.integers(0, 40),
        kept=st.tuples(st.booleans(), st.booleans()),
        data=st.data(),
    )
    def crash_amid(
        self, what: str, turns: int, kept: tuple[bool, bool], data: st.DataObject
    ) -> None:
        if what in ("purge", "both"):
            self.purge(data, False, 0)
        if what in ("redrive", "both"):
            self.redrive(data, True, 0)
        if what == "move":
            self.redirect(data, data.draw(st.sampled_from(HOSTS)), 0)
            self.give_up(data, 0)
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

    @rule(
        data=st.data(),
        host=st.sampled_from(HOSTS),
        size=st.sampled_from([0, 20, 20, 3 * CHUNK + 1]),
        turns=st.integers(0, 20),
    )
    def redrive_edited(self, data: st.DataObject, host: str, size: int, turns: int) -> None:
        for message_id in self.pick(data, lambda told: told.given_up)[:1]:
            self.operate("edit", partial(self.edits, message_id, host, b"e" * size), turns)

    async def edits(self, message_id: str, host: str, body: bytes) -> None:
        (told,) = self.by_id([message_id.encode()])
        letters = self.queue.dead_letters.letters
        row = letters.find(told.id)
        if row < 0 or told.edited or told.moving or told.host == host:
            return  # the model knows of one at a time, to another place
        pieces = [body[at : at + CHUNK] for at in range(0, len(body), CHUNK)] or [b""]
        edit = LetterEdit(letters.redrives(row), destination(host), None, pieces)
        told.edited = (host, body)
        redriver: Any = self.queue.admin._operating._queue.redriver
        try:
            redriving = await redriver.redrive([told.id], edit=edit)
        except Refused:
            if self.goes_to(told) != destination(host):
                return  # it is a letter still; or that is not known
            redriving = Redriving([told.id], [], [])
        if told.edited == (host, body):
            if told.id in redriving.done:
                told.is_edited()
            told.edited = None

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

    @rule(data=st.data(), turns=st.integers(0, 12))
    def cancel_matching(self, data: st.DataObject, turns: int) -> None:
        """By the beginning of their targets."""
        for message_id in self.pick(data, lambda told: not told.over and not told.calls)[:1]:
            (told,) = self.by_id([message_id.encode()])
            name = told.name[: 2 if data.draw(st.booleans()) else 5]
            self.operate("cancel", partial(self.cancels_matching, f"/{name}"), turns)

    async def cancels_matching(self, target: str) -> None:
        meant = [one for one in self.told.values() if f"/{one.name}".startswith(target)]
        wanted = [one for one in meant if not one.over]
        if any(one.perhaps_gone or not one.id for one in wanted):
            return  # the model knows of one at a time, and not yet of these
        await self.cancels_wanted(wanted, MessageFilter(target=target))

    def is_there(self, told: Told) -> bool:
        """It waits still, or is on its way."""
        _, incarnation, position = id_parts(told.id)
        return self.queue.pending.find(position, incarnation) >= 0

    @rule(data=st.data(), host=st.sampled_from(["", *HOSTS]), turns=st.integers(0, 20))
    def retry_now(self, data: st.DataObject, host: str, turns: int) -> None:
        """Some by their ids, or a destination with all that waits for it."""
        if host:
            self.operate("retry", partial(self.tries, host), turns)
        else:
            ids = sorted(set(self.pick(data, lambda told: not told.over)))
            self.operate("retry", partial(self.retries, ids), turns)

    async def retries(self, ids: Sequence[str]) -> None:
        meant = self.by_id([one.encode() for one in ids])
        with self.hastens(meant):
            touched = await self.queue.admin.retry_waiting(ids)
        found = touched.ready + touched.scheduled + touched.in_flight
        assert found + len(touched.not_found) == len(ids)

    async def tries(self, host: str) -> None:
        with self.hastens([told for told in self.told.values() if host in told.hosts]):
            await self.queue.admin.retry_destination(host)

    @rule(
        host=st.sampled_from(HOSTS),
        meant=st.lists(st.booleans(), min_size=2, max_size=7),
        delay_s=st.sampled_from([1, 60, 300, 3_600]),
        cancels=st.booleans(),
        turns=st.integers(0, 12),
        end=st.sampled_from(["crash", "end", "wait", "nothing"]),
    )
    def act_on_some(
        self, host: str, meant: list[bool], delay_s: int, cancels: bool, turns: int, end: str
    ) -> None:
        """Of messages that wait for one time some are tried now, or cancelled, and something comes
        of that before the others' time."""
        before = set(self.told)
        self.accept_with_terms(host, len(meant), delay_s * 1000, 0, None, None, None, "", "")
        self.loop.run_for(0.02)
        self.check()
        new = [told for name, told in self.told.items() if name not in before and told.id]
        some = [told.id.decode() for told, is_meant in zip(new, meant, strict=False) if is_meant]
        if cancels:
            self.operate("cancel", partial(self.cancels_all, some), turns)
        else:
            self.operate("retry", partial(self.retries, some), turns)
        self.loop.run_for(0.03 if turns > 6 else 0)
        if end == "crash":
            self.crash(False, False)
        elif end == "end":
            self.end_attempts(["200"] * 3, 0, 10)
        elif end == "wait":
            self.loop.run_for(delay_s)

    async def cancels_all(self, ids: Sequence[str]) -> None:
        wanted = [one for one in self.by_id([one.encode() for one in ids]) if not one.perhaps_gone]
        await self.cancels_wanted(wanted, [told.id.decode() for told in wanted])

    async def cancels_wanted(self, wanted: list[Told], which: MessageFilter | list[str]) -> None:
        for told in wanted:
            told.perhaps_gone = True
        try:
            touched = await self.queue.admin.cancel_waiting(which)
        except Refused:
            for told in wanted:  # those that were taken out a crash may bring back
                told.perhaps_gone = not self.is_there(told)
            return
        gone = [one for one in wanted if not (one.over or self.is_there(one))]
        assert touched.ready + touched.scheduled == len(gone), "not those that are gone"
        for told in gone:
            told.is_gone()
        for told in wanted:
            told.perhaps_gone = False

    @contextlib.contextmanager
    def hastens(self, meant: list[Told]) -> Iterator[None]:
        """From here on they may be attempted at any time, until the next attempt of each ends."""
        for told in meant:
            told.hastening += 1
            told.hastened, told.not_before_us = True, 0
        yield
        for told in meant:
            told.due_us = 0
            told.hastening = max(0, told.hastening - 1)

    @rule(limit=st.integers(1, 4), ms=st.sampled_from([0, 0, 1, 50]))
    def list_waiting(self, limit: int, ms: int) -> None:
        async def work() -> None:
            before = {told.id: told.redrives for told in self.told.values() if self.waits(told)}
            seen: set[str] = set()
            cursor: int | None = 0
            while cursor is not None:
                page = await self.queue.admin.waiting(MessageFilter(), cursor=cursor, limit=limit)
                assert len(page.items) <= limit
                seen |= {item.id for item in page.items}
                cursor = page.next_cursor
                await asyncio.sleep(ms / 1000)
            for told in self.told.values():
                if before.get(told.id) == told.redrives and self.waits(told):
                    assert told.id.decode() in seen, "it waits, and is not listed"

        self.operate("list", work, 3)

    def waits(self, told: Told) -> bool:
        """It waits, and nobody is bringing it back from the dead."""
        return bool(told.id) and self.is_there(told) and not (told.over or told.perhaps_back)

    @rule(data=st.data(), host=st.sampled_from(HOSTS), turns=st.integers(0, 20))
    def redirect(self, data: st.DataObject, host: str, turns: int) -> None:
        ids = set(self.pick(data, lambda told: not told.over))
        self.operate("redirect", partial(self.redirects, sorted(ids), host), turns)

    @rule(
        host=st.sampled_from(HOSTS),
        to=st.sampled_from(HOSTS),
        turns=st.integers(0, 20),
        end=st.sampled_from(["crash", "full", "copies", "nothing"]),
        kept=st.booleans(),
    )
    def redirect_all(self, host: str, to: str, turns: int, end: str, kept: bool) -> None:
        """All of a destination, and something comes between."""
        ids = [told.id.decode() for told in self.told.values() if told.id and told.host == host]
        if end == "full":
            self.bench.log.space = Space.RESERVE
        self.operate("redirect", partial(self.redirects, ids, to), turns)
        if end == "crash":
            self.crash(kept, False)
        elif end == "copies":
            self.operate("copy", self.copies_all, 3)

    async def copies_all(self) -> None:
        if not self.bench.config.keep_everything and not self.queue.reclaimer.is_busy:
            with suppress(Refused):
                await self.queue.space.copy(list(self.queue.pending.extents)[:2])

    async def redirects(self, ids: Sequence[str], host: str) -> None:
        """The model knows of one at a time, to another place."""
        wanted = [
            told
            for told in self.by_id([one.encode() for one in ids])
            if not (told.moving or told.over or told.perhaps_gone) and told.host != host
        ]
        for told in wanted:
            told.moving, told.may_be_late = host, True
        asked = [told.id for told in wanted]
        try:
            done = await self.queue.redirecting.redirect(asked, destination(host))
            assert set(done) <= set(asked)
        except Refused:  # those before it were; and one that takes too long may be later
            done = [told.id for told in wanted if self.goes_to(told) == destination(host)]
        for told in wanted:
            if told.moving and told.id in done:
                told.moves(destination(host))
            elif told.moving and self.goes_to(told) is not None:
                told.moving = ""

    def goes_to(self, told: Told) -> Destination | None:
        """Where a message goes that waits; None: that is not known."""
        _, incarnation, position = id_parts(told.id)
        index = self.queue.pending.index
        slot = self.queue.pending.find(position, incarnation)
        if slot >= 0 and index.state[slot] == State.MOVING:
            return None
        return self.queue.lanes.by_number[index.lane[slot]].destination if slot >= 0 else NOWHERE

    @rule(data=st.data(), turns=st.integers(0, 20))
    def give_up(self, data: st.DataObject, turns: int) -> None:
        ids = set(self.pick(data, lambda told: not told.over))
        self.operate("give up", partial(self.gives_up, sorted(ids)), turns)

    async def gives_up(self, ids: Sequence[str]) -> None:
        wanted = [
            told
            for told in self.by_id([one.encode() for one in ids])
            if not (told.perhaps_dying or told.over or told.perhaps_gone)
        ]
        deaths = {told.id: told.deaths for told in wanted}
        for told in wanted:
            told.perhaps_dying = True
        try:
            done = await self.queue.giving_up.give_up([told.id for told in wanted])
        except Refused:
            return  # those that were begun become letters when there is space
        for told in wanted:
            assert told.deaths > deaths[told.id] or told.id not in done or told.perhaps_back
            told.perhaps_dying = False

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
                assert await whole(letter.body) in (told.body, was.body)
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
        self.pass_between()
        self.restart()

    def pass_between(self) -> None:
        """What happens between two processes."""
        between, self.between = self.between, lambda: None
        between()

    @rule()
    def stop_and_start(self) -> None:
        self.give_space()
        self.loop.run_for(2)
        # As a server stops: large letters under way are given time. Attempts here outlast it.
        self.do(partial(self.queue.drain, 30.0))
        self.do(self.bench.stop)
        self.learn(clean=True)
        self.uploads.clear()
        self.pass_between()
        self.restart()

    def let_all_end_well(self) -> None:
        """Nothing waits for ever: with space and destinations that answer, the queue empties."""
        self.give_space()
        for upload, _ in self.uploads:
            upload.abort()
        self.uploads.clear()
        self.wait_for_the_last()
        for _ in range(200 + 2 * len(self.told)):
            for host, held in self.paused.items():
                if held:  # once is not enough: it is refused until space is found again
                    self.resume(host)
            self.loop.run_for(0.01)
            if not (self.queue.pending.index.count or self.waiting() or self.running):
                break
            if self.holds_keys and len(self.queue.dead_letters):
                self.operate("purge", self.purges_all, 0)
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
        self.check_calls()

    async def purges_all(self) -> None:
        with suppress(Refused):
            await self.queue.admin.purge(EVERYTHING)

    def wait_for_the_last(self) -> None:
        """The clock was set back, and somebody's time is far ahead."""
        entries = self.queue.pending.index
        due = [
            due_us
            for due_us, state in zip(entries.due_at, entries.state, strict=True)
            if state in (State.SCHEDULED, State.BEHIND)
        ]
        self.loop.run_for(max(0, max(due, default=0) - self.queue.clock.now_us()) / 1_000_000)

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
        self.asked.clear()
        self.asked_groups.clear()
        if self.lives and self.queue.clock.now_us() != self.clock.now_us():
            self.forget_ages()  # they were told by another clock than the next one
        self.lives += 1
        self.starts.clear()
        self.noted = len(self.bench.notes.dead)
        self.do(self.bench.open)
        self.opened_us = self.queue.clock.now_us()
        for told in self.told.values():
            told.due_us = 0  # it was by another clock, perhaps
            told.tell_times(self.queue.clock)
        self.order = defaultdict(list)
        entries = self.queue.pending.index
        entries.shrink_above = 4
        for lane in self.queue.lanes:
            ids = []
            slot = lane.head
            while slot != NO_SLOT:
                if not self.may_be_late(entries.id_position[slot]):
                    ids.append(entries.id_position[slot])
                slot = entries.next[slot]
            assert ids == sorted(ids), "not oldest first"
            self.order[str(lane.destination)] = [str(position) for position in ids]

        async def start() -> None:
            self.queue.start(self.bench.deliverer)

        self.do(start)

    def may_be_late(self, position: int) -> bool:
        """Whether a message was redriven to stand behind its order key; or it calls back, and is
        put by while such an end waits for space."""
        moved = [t for t in self.told.values() if len(t.hosts) > 1]
        late = [t for t in self.told.values() if t.calls or (t.order_key and t.redrives)] + moved
        return any(position == int(told.id[12:] or b"0", 16) for told in late)

    def waiting(self) -> bool:
        """Whether records wait for the disk."""
        return bool(self.queue.committer.waiting_bytes) or self.bench.log.is_busy

    def learn(self, *, clean: bool) -> None:
        """The process ended: what will the next one know, as a reader of the logs understands it?

        Args:
            clean: it stopped in good order, so that everything that was settled is written down.
        """
        waiting, dead = understand(self.bench.log.records, self.bench.dead_log.records)
        for letter in self.dead_letters():  # it may have been given up before anybody saw its id
            self.of(letter.message).id = letter.message.wire_id
            if letter.message.wire_id in dead:
                self.sees_where(self.of(letter.message), letter.message.destination)
        for told in self.told.values():
            if told.id:
                self.learn_one(told, waiting.get(told.id), dead.get(told.id), clean=clean)
        self.learn_groups()
        self.check_calls()
        keys = paused_in(self.bench.log.records)
        for host, held in self.paused.items():
            is_held = destination(host).key in keys
            assert held is None or held == is_held, "a pause was forgotten, or came back"
            self.paused[host] = is_held

    def learn_groups(self) -> None:
        """Of what was handed in together all is there, or nothing, whatever its caller was told."""
        ids = {stored.target[1:]: stored.wire_id for stored in stored_in(self.bench.log.records)}
        for one in self.told.values():
            if one.calls and not one.id:
                one.id = ids.get(one.name, b"")
        for told in self.groups:
            if told[0].receipt.answer is None:  # nothing was delivered yet
                there = [one.name in ids for one in told]
                assert all(there) or not any(there), "a part of a group"
                for one in told:
                    if all(there):
                        one.id = ids[one.name]
                    else:
                        one.receipt.refused(LOG_FAILED)  # so that its key is free
        self.groups.clear()

    def learn_one(
        self, told: Told, waits: Waiting | None, dead: int | None, *, clean: bool
    ) -> None:
        if told.gone:
            assert waits is None, f"{told.name} came back to the queue"
            assert dead is None, f"{told.name} is a dead letter again"
        elif waits is not None:
            self.sees_where(told, waits.destination)
            if clean and told.over:
                assert told.perhaps_back, "what finished was not written down"
            if clean and not told.over:
                assert told.least <= waits.attempts <= told.attempts
            assert told.redrives <= waits.redrives <= told.redrives + told.perhaps_back
            told.least = waits.attempts
            if waits.redrives > told.redrives:
                told.drop_times()
            told.redrives = waits.redrives
            told.given_up = told.over = told.perhaps_over = False
        elif dead is not None:
            assert dead == told.redrives, f"{told.name} is in both places"
            is_late = not told.over and told.deadline_us <= self.queue.clock.now_us()
            may_be = told.given_up or is_late or told.perhaps_dying
            assert may_be, f"{told.name} is a dead letter again"
            told.given_up = told.over = True
        else:
            assert told.perhaps_over or told.perhaps_gone, f"{told.name} was lost"
            told.gone = not told.perhaps_over
            told.over = True
            told.was_letter, told.given_up = told.given_up, False
        told.perhaps_gone = told.perhaps_back = told.perhaps_dying = told.may_be_late = False
        told.moving, told.edited = "", None
        told.due_us = told.hastening = 0

    def sees_where(self, told: Told, to: Destination) -> None:
        """A message is seen that goes there."""
        if to == destination(told.host):
            return
        if told.edited is not None and to == destination(told.edited[0]):
            told.is_edited()
        else:
            told.moves(to)

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
            assert body == self.of(sent).body

    def started(self, sent: Message) -> None:
        """The queue starts an attempt: is it a right one?"""
        told = self.of(sent)
        now = self.queue.clock.now_us()
        assert not isinstance(told.receipt.answer, Refusal), "was refused"
        assert told.id in (b"", sent.wire_id), "the id changed"
        told.id = sent.wire_id
        self.sees_where(told, sent.destination)
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
        assert now >= told.due_us or told.hastening, "too early"
        assert now >= told.not_before_us or sent.attempt > 1, "before its time"
        assert now < told.deadline_us, "after its deadline"
        if told.terms is not None:
            assert sent.terms is not None
            assert replace(sent.terms, order_after=0) == told.terms, "its terms changed"
        assert len(decode_history(sent.history)) == sent.attempt - 1
        assert sent.started_at == now
        assert [self.of(m) for m in self.bench.deliverer.flying].count(told) == 1
        peer = self.queue.lanes.of(sent.destination).peer
        assert peer.in_flight <= peer.limit.value, "more at once than the destination may have"
        assert now >= peer.paused_until, "the destination is left alone"
        self.check_line(told, sent)
        order = self.order[str(sent.destination)]
        cancelled = {
            str(int(told.id[12:] or b"0", 16))
            for told in self.told.values()
            if told.gone
            or told.may_be_late
            or told.given_up
            or told.deadline_us <= now
            or ((told.perhaps_gone or told.perhaps_dying) and told.id != sent.wire_id)
        }
        while order and order[0] in cancelled:
            order.pop(0)
        if str(sent.position) in order and not told.may_be_late:
            assert order.pop(0) == str(sent.position), "not oldest first"

    def check_line(self, told: Told, sent: Message) -> None:
        """May it start, as far as its keys are concerned?"""
        flying = {self.of(m).name for m in self.bench.deliverer.flying} - {told.name}
        if told.order_key:
            for other in self.told.values():
                same = (other.host, other.order_key) == (told.host, told.order_key)
                if same and other is not told:
                    self.check_order(told, sent, other, is_flying=other.name in flying)
        if told.flow_key:
            _, parallelism, per_second = FLOWS[told.flow_key]
            running = [
                name
                for name in flying
                if (self.told[name].host, self.told[name].flow_key) == (told.host, told.flow_key)
            ]
            assert len(running) < parallelism, "too many of a flow key at once"
            starts = self.starts.setdefault((told.host, told.flow_key), [])
            starts.append(self.queue.clock.now_us())
            for count, at_us in enumerate(reversed(starts), 1):
                seconds = (starts[-1] - at_us) / 1_000_000
                assert not per_second or count <= BURST + per_second * (seconds + 0.1), "too often"

    def check_order(self, told: Told, sent: Message, other: Told, *, is_flying: bool) -> None:
        assert not is_flying, "two of an order key at once"
        answer = other.receipt.answer
        if (
            other.gone
            or other.perhaps_gone
            or other.perhaps_back
            or (answer is None and not other.id)
        ):
            return
        if isinstance(answer, Refusal):
            return
        if len(told.hosts) > 1 or len(other.hosts) > 1 or other.moving:
            return  # they line up as they come
        position = int(other.id[12:], 16) if other.id else answer.position  # type: ignore[union-attr]  # it is a message
        if self.holds_keys and position < int(sent.wire_id[12:], 16):  # what was before it goes on
            assert not (other.given_up and other.id in self.queue.dead_letters), "the key is held"
        if other.over or not (self.holds_keys or other.redrives == told.redrives == 0):
            return
        assert sent.position < position, "not in the order of the 202s"

    def died(self, message: Message, reason: str, result: AttemptResult) -> None:
        """The queue says that a message is a dead letter."""
        told = self.of(message)
        assert told.id in (b"", message.wire_id), "the id changed"
        told.id = message.wire_id
        self.sees_where(told, message.destination)
        told.may_be_late = True  # where it stood it does not come back to
        if reason == "operator":
            assert told.perhaps_dying, "nobody wanted that"
            assert not told.gone
            told.given_up = told.over = True
            told.perhaps_dying = False
        if reason == "expired":
            assert told.deadline_us <= self.queue.clock.now_us(), "before its deadline"
            assert not told.gone
            told.given_up = told.over = True
        self.bench.notes.dead.append((message, reason))

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
            self.check_asked()
            self.check_asked_groups()
            self.take_results()
            there = letters_in(self.bench.dead_log.records)
            for dead, _ in self.bench.notes.dead[self.noted :]:
                told = self.of(dead)
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
                if state in LEAVING
            )
            behind = [s for s, state in enumerate(entries.state) if state == State.BEHIND]
            assert lane.behind == sum(entries.lane[slot] == lane.number for slot in behind)
            later = [slot for slot in behind if queue.lines.is_later(slot)]
            assert lane.later == sum(entries.lane[slot] == lane.number for slot in later)
            in_lanes += chain
        assert len(queue.warm) == sum(lane.warm for lane in queue.lanes)
        assert {entries.state[slot] for slot in in_lanes} <= {State.READY}
        assert {entries.state[slot] for slot in in_timers} <= {State.SCHEDULED}
        assert states[State.READY] == len(in_lanes) == len(set(in_lanes))
        assert states[State.SCHEDULED] == len(in_timers) == queue.pending.timers.count
        assert states[State.IN_FLIGHT] == queue.figures.in_flight
        assert states[State.BURYING] + states[State.SETTLING] == queue.figures.burying
        assert queue.redriver.is_busy or not states[State.REVIVING], "a slot is nobody's"
        workers = queue.traffic.workers
        assert queue.figures.in_flight == len(in_flight) == len(workers.taken) + workers.slow
        assert workers.busy <= WORKERS
        assert queue.traffic.room.left_bytes >= 0
        assert entries.count == len(entries.state) - states[State.FREE]
        assert len(queue.traffic.learning) <= 2 * len(queue.lanes) + 2, "pauses pile up"
        self.check_deadlines()
        self.check_lines()
        self.check_extents()
        self.check_dead_space()

    def check_lines(self) -> None:
        """Each slot that is BEHIND is in one chain, and nobody is before it who is not there."""
        queue = self.queue
        index, kept = queue.pending.index, queue.lines
        states = index.state
        waiting: list[int] = []
        for line in [*kept.table.orders.values(), *kept.table.flows.values()]:
            is_order = isinstance(line, OrderLine)
            numbers = kept.table.order_numbers if is_order else kept.table.flow_numbers
            members = [slot for slot in range(index.slots) if numbers[slot] == line.number]
            assert line.members == len(members)
            assert all(states[slot] != State.FREE for slot in members)
            chain = self.chain_of(line)
            assert set(chain) <= set(members)
            waiting += chain
            if isinstance(line, OrderLine):
                assert line.members or line.blocked, "an idle key costs something"
                assert line.first == NO_SLOT or line.first in members
                assert not chain or line.first != NO_SLOT or line.blocked, "nobody is first"
                others = [s for s in members if s not in chain and s != line.first]
                # One that was given up in the middle is on its way out.
                assert {states[slot] for slot in others} <= LEAVING
            elif isinstance(line, FlowLine):
                flying = [s for s in members if states[s] == State.IN_FLIGHT]
                assert line.running == len(flying)
                assert set(line.ready) == {s for s in members if states[s] == State.READY}
        assert len(waiting) == len(set(waiting))
        waiting = [slot for slot in waiting if states[slot] != State.MOVING]
        assert sorted(waiting) == [s for s, state in enumerate(states) if state == State.BEHIND]
        assert queue.pending.has_lines == any(
            line.members for line in [*kept.table.orders.values(), *kept.table.flows.values()]
        )
        blocked = sum(line.blocked for line in kept.table.orders.values())
        moving = list(states).count(State.MOVING)
        assert blocked <= moving or self.holds_keys

    def chain_of(self, line: Line) -> list[int]:
        index, kept = self.queue.pending.index, self.queue.lines
        chain: list[int] = []
        slot = line.head
        while slot != NO_SLOT:
            chain.append(slot)
            slot = index.next[slot]
        assert [kept.chains.back[slot] for slot in chain[1:]] == chain[:-1], "links back"
        assert line.tail == (chain[-1] if chain else NO_SLOT)
        assert not isinstance(line, OrderLine) or line.first not in chain
        return chain

    def check_deadlines(self) -> None:
        """Whatever holds a message up, it is given up within a second."""
        pending, now = self.queue.pending, self.queue.clock.now_us()
        waits = (State.READY, State.SCHEDULED, State.BEHIND)
        for told in self.told.values():
            if told.deadline_us == NEVER or told.over or not told.id:
                continue
            _, incarnation, position = id_parts(told.id)
            slot = pending.find(position, incarnation)
            if slot >= 0 and pending.index.state[slot] in waits:
                assert pending.deadlines.of(slot) == told.deadline_us
                late_from_us = max(told.deadline_us, self.opened_us)
                assert now <= late_from_us + 1_000_000, "not given up"
        assert all(pending.index.state[slot] != State.FREE for slot in pending.deadlines.at)

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
        self.check_is_there(self.bench.log, held)
        for block in queue.keys.entries._blocks.values():
            for run in block.runs:
                assert run.extent in extents, "it was dropped"
                held += [(run.extent.start, KEY_BYTES)] * run.live
        _check_live(extents, held, exactly=not queue.pending.uploading_bytes)

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
        live = self.queue.pending.index.live_bytes + self.queue.keys.space.live_bytes
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

    async def redrive(self, ids: Sequence[bytes], *, edit: LetterEdit | None = None) -> Redriving:
        before = {}
        for told in self._by_id(ids):
            told.perhaps_back = told.perhaps_back or told.given_up
            before[told.id] = told.redrives
        redriving = await self._real.redrive(ids, edit=edit)
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


def _now(call: Callable[[], None]) -> Callable[[], Coroutine[Any, Any, None]]:
    async def work() -> None:
        call()

    return work


def _least_delay_us(result: AttemptResult, attempt: int, policy: RetryPolicy) -> int:
    if result.ours:
        return min(800, policy.max_delay_ms) * 1000
    asked = min(int(result.retry_after or b"0") * 1000, policy.max_delay_ms)
    usual = min(policy.delay_ms * 2 ** (attempt - 1), policy.max_delay_ms) * 0.8
    return int(max(usual, asked)) * 1000


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
            if slot in queue.pending.timers.lifted:
                assert index.state[slot] in LEAVING, "it waits for its time, and does not"
            elif index.state[slot] != State.FREE:
                found.append(slot)
            slot = index.next[slot]
    return found


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(
    max_examples=times(50),
    stateful_step_count=40,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking takes minutes: do it by hand
)
