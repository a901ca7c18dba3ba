"""Order keys, flow keys and rules for a path against a small model: never two of an order key at
once, in the order of the 202s, never more of a flow key than was said last, never more of a path
than its rule says, and nothing waits for ever. With delays and deadlines, letters that come back or
go, held destinations, rules that change, and crashes between any two steps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dispatcher.core.flow import parse_flow
from dispatcher.core.message import Message
from dispatcher.core.rate import Rate
from dispatcher.core.retry import RetryPolicy
from dispatcher.core.rules.match import Match
from dispatcher.core.rules.rule import Rule
from dispatcher.core.rules.table import Rules, RulesInForce
from dispatcher.core.terms import Terms
from dispatcher.errors import Refused
from dispatcher.queue.admin.surface import LetterFilter
from dispatcher.queue.partition import Partition
from dispatcher.queue.pending.index import NO_SLOT, State
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import SimulatedLoop
from dispatcher.testing.queue import Bench, Receipts, destination, failed, message
from tests.effort import times

T = TypeVar("T")
POLICY = RetryPolicy(retry_limit=2, delay_ms=100, max_delay_ms=5_000, retry_on=frozenset({409}))
"""With a status that is tried again and says nothing against its destination."""
EVERYTHING = LetterFilter()
RATE, BURST = 4, 2
"""What is said of the rate of a flow key whenever it is: so many a second, and at once."""
PATH = "p/"
"""Where messages go that a rule is for."""
LEAVING = (State.BURYING, State.SETTLING)


@dataclass(slots=True)
class Told:
    """A message that was handed in."""

    name: str
    order_key: str
    flow_key: str
    receipt: Receipts.One

    @property
    def stored(self) -> Message | None:
        """The message, once it is durable and its caller knows it."""
        answer = self.receipt.answer
        return answer if isinstance(answer, Message) else None


class LinesMachine(RuleBasedStateMachine):
    """Hypothesis chooses what happens; what starts is looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = SimulatedClock()
        self.loop = SimulatedLoop(self.clock)
        self.told: dict[str, Told] = {}
        self.said: dict[
            str, tuple[int, bool]
        ] = {}  # of a flow key: parallelism, and if it has a rate
        self.starts: dict[str, list[int]] = {}
        self.in_force = RulesInForce()
        self.most_of_path = 0
        self.path_has_rate = False
        self.path_starts: list[int] = []
        self.path_flying: list[Message] = []  # since there is a rule

    @initialize(holds=st.booleans())
    def begin(self, holds: bool) -> None:
        self.holds = holds
        self.bench = Bench(
            self.clock, policy=POLICY, workers=50, order_holds=holds, rules=self.in_force
        )
        self.bench.deliverer.on_start = self.started
        self.do(self.bench.start)
        self.widen()

    def do(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self.loop.run_until_complete(work())

    @property
    def queue(self) -> Partition:
        return self.bench.queue

    def widen(self) -> None:
        """Nothing but keys limits the destination."""
        lane = self.queue.lanes.of(destination())
        lane.peer.limit.value = lane.peer.limit.ceiling

        async def look() -> None:
            self.queue.starting.look_at(lane)

        self.do(look)

    # ------------------------------------------------------------------ rules

    @rule(
        keys=st.lists(
            st.tuples(
                st.sampled_from(["", "k", "k", "k", "l"]), st.sampled_from(["", "f", "f", "g"])
            ),
            min_size=2,
            max_size=8,
        ),
        parallelism=st.sampled_from([0, 1, 2, 3]),
        rate=st.booleans(),
        delay_ms=st.sampled_from([0, 0, 0, 700, 5_000]),
        lives_ms=st.sampled_from([0, 0, 300, 2_000]),
        path=st.sampled_from(["", "", PATH]),
    )
    def accept(
        self,
        keys: list[tuple[str, str]],
        parallelism: int,
        rate: bool,
        delay_ms: int,
        lives_ms: int,
        path: str = "",
    ) -> None:
        async def work() -> None:
            now_us = self.clock.now_us()
            for order_key, flow_key in keys:
                name = f"{path}m{len(self.told)}"
                told = Told(name, order_key, flow_key, self.bench.receipts.one())
                self.told[name] = told
                sent = message(name=name)
                parts = [f"rate={RATE}/s", f"burst={BURST}"] if rate else []
                parts += [f"parallelism={parallelism}"] if parallelism else []
                says = bool(flow_key and parts)
                if says:
                    self.said[flow_key] = parallelism or 1000, rate
                    self.starts.pop(flow_key, None)  # what was before counted differently
                terms = Terms(
                    not_before_us=now_us + delay_ms * 1000 if delay_ms else 0,
                    deadline_us=now_us + (delay_ms + lives_ms) * 1000 if lives_ms else 0,
                    order_key=order_key,
                    flow_key=flow_key,
                    flow=parse_flow(", ".join(parts)) if says else None,
                )
                sent.terms = None if terms == Terms() else terms
                self.queue.intake.accept(sent, told.receipt)

        self.do(work)

    @precondition(lambda self: self.bench.deliverer.flying)
    @rule(data=st.data(), status=st.sampled_from([200, 200, 200, 404, 409]))
    def end(self, data: st.DataObject, status: int) -> None:
        flying = self.bench.deliverer.flying
        self.ends(flying[data.draw(st.integers(0, len(flying) - 1))], status)

    @rule(status=st.sampled_from([200, 404, 409]))
    def end_all(self, status: int) -> None:
        for sent in list(self.bench.deliverer.flying):
            self.ends(sent, status)

    def ends(self, sent: Message, status: int) -> None:
        async def work() -> None:
            self.bench.end(sent, status if status == 200 else failed(status))

        self.do(work)
        self.loop.run_for(0.02)
        self.widen()

    @rule(ms=st.sampled_from([1, 100, 600, 3_000]))
    def wait(self, ms: int) -> None:
        self.loop.run_for(ms / 1000)
        self.widen()

    @rule(
        statuses=st.lists(st.sampled_from([200, 200, 404, 404, 409]), min_size=1, max_size=4),
        what=st.sampled_from(["redrive", "redrive", "purge", "nothing"]),
        turns=st.integers(0, 30),
        crashes=st.booleans(),
    )
    def churn(self, statuses: list[int], what: str, turns: int, crashes: bool) -> None:
        """Some messages of a key are given up, where they stand or when they are sent, and come
        back or go."""
        self.hold(False)
        self.accept([("k", "")] * 3, 0, False, 0, 0)
        self.accept([("k", "f")] * 2, 1, False, 0, 300)
        self.accept([("k", "")] * 2, 0, False, 0, 0)
        for status in statuses:
            self.loop.run_for(0.25)
            self.end_all(status)
        admin = self.queue.admin
        if what != "nothing":
            self.operate(admin.purge if what == "purge" else admin.redrive, EVERYTHING, turns)
        if crashes:
            self.restart((False, False), False)

    @rule(most=st.sampled_from([0, 1, 2, 3]), rate=st.booleans(), count=st.integers(0, 6))
    def change_rule(self, most: int, rate: bool, count: int) -> None:
        """Another rule for a path, or none; it has messages."""
        bound = Rule(
            Match.parse("a.example/p"),
            rate=Rate(RATE, 1_000_000, BURST) if rate else None,
            concurrency=most or None,
        )

        async def work() -> None:
            if not (self.most_of_path or self.path_has_rate):
                self.path_flying.clear()
            if rate != self.path_has_rate:
                self.path_starts.clear()
            self.most_of_path, self.path_has_rate = most, rate
            self.in_force.replace(Rules([bound] if most or rate else []))
            self.queue.traffic.rules_changed()

        self.do(work)
        if count:
            self.accept([("", "")] * count, 0, False, 0, 0, PATH)

    @rule(
        most=st.integers(1, 2),
        rate=st.booleans(),
        key=st.sampled_from(["", "k"]),
        lives_ms=st.sampled_from([0, 300]),
        then=st.sampled_from([1, 2]),
        wait_s=st.sampled_from([0.02, 0.4]),
    )
    def press(
        self, most: int, rate: bool, key: str, lives_ms: int, then: int, wait_s: float
    ) -> None:
        """More of a flow key are let through than a rule lets run; fewer, after that."""
        self.hold(False)
        self.change_rule(most, rate, 0)
        self.accept([("", "f")] * 4 + [(key, "f")] * 2, 4, False, 0, lives_ms, PATH)
        self.loop.run_for(0.02)
        self.accept([("", "f")], then, rate, 0, 0)
        self.loop.run_for(wait_s)
        self.end_all(200)
        self.change_rule(3, False, 0)

    @rule(held=st.sampled_from([False, False, False, True]))
    def hold(self, held: bool) -> None:
        async def work() -> None:
            admin = self.queue.admin
            await (admin.hold("a.example") if held else admin.resume("a.example"))

        self.do(work)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        names = [told.name for told in self.told.values() if told.stored is not None]
        if names:
            name = data.draw(st.sampled_from(names))
            self.operate(self.queue.admin.cancel, self.id_of(name))

    @rule(data=st.data(), purge=st.booleans(), all_=st.booleans(), turns=st.integers(0, 20))
    def take_letters(self, data: st.DataObject, purge: bool, all_: bool, turns: int) -> None:
        letters = sorted(one.decode() for one, _ in self.queue.dead_letters)
        which: Any = EVERYTHING
        if not all_ and letters:
            which = data.draw(st.lists(st.sampled_from(letters), max_size=3))
        admin = self.queue.admin
        self.operate(admin.purge if purge else admin.redrive, which, turns)

    def operate(
        self, what: Callable[[Any], Coroutine[Any, Any, Any]], on: Any, turns: int = 20
    ) -> None:
        async def work() -> None:
            async def quietly() -> None:
                with suppress(Refused):
                    await what(on)

            asyncio.get_running_loop().create_task(quietly())
            for _ in range(turns):
                await asyncio.sleep(0)

        self.do(work)

    @rule(
        keep=st.tuples(st.booleans(), st.booleans()),
        clean=st.booleans(),
    )
    def restart(self, keep: tuple[bool, bool], clean: bool) -> None:
        if clean:
            self.loop.run_for(1)
            self.do(self.bench.stop)
        else:
            self.do(lambda: self.bench.crash(keep_batch=keep[0], keep_dead_batch=keep[1]))
        self.starts.clear()  # at most one burst more
        self.path_starts.clear()
        self.path_flying.clear()
        self.do(self.bench.start)
        # What was said is known from what waits, and may be what was said before that.
        self.said.clear()
        for key, line in self.queue.lines.table.flows.items():
            self.said[key[1]] = line.flow.parallelism or 1000, line.flow.rate is not None
        self.widen()

    # ------------------------------------------------------------------ the model

    def id_of(self, name: str) -> str:
        stored = self.told[name].stored
        assert stored is not None
        return stored.wire_id.decode()

    def started(self, sent: Message) -> None:
        told = self.told[sent.target[1:]]
        flying = [one for one in self.bench.deliverer.flying if one is not sent]
        terms = sent.terms or Terms()
        assert not 0 < terms.not_before_us > self.clock.now_us(), "before its time"
        if told.order_key:
            assert not any(
                self.told[one.target[1:]].order_key == told.order_key for one in flying
            ), "two of an order key at once"
            for other in self.told.values():
                if other.order_key == told.order_key and other is not told:
                    self.check_order(sent, other)
        if told.flow_key in self.said:
            parallelism, has_rate = self.said[told.flow_key]
            running = [x for x in flying if self.told[x.target[1:]].flow_key == told.flow_key]
            assert len(running) < parallelism, "too many of a flow key at once"
            starts = self.starts.setdefault(told.flow_key, [])
            starts.append(self.clock.now_us())
            for count, at_us in enumerate(reversed(starts), 1):
                most = BURST + RATE * ((starts[-1] - at_us) / 1_000_000 + 0.1)
                assert not has_rate or count <= most, "too often"

        if told.name.startswith(PATH):
            self.check_path(sent, flying)

    def check_path(self, sent: Message, flying: list[Message]) -> None:
        self.path_flying = [one for one in self.path_flying if one in flying]
        if self.most_of_path:
            assert len(self.path_flying) < self.most_of_path, "too many of a path at once"
        self.path_flying.append(sent)
        self.path_starts.append(self.clock.now_us())
        for count, at_us in enumerate(reversed(self.path_starts), 1):
            most = BURST + RATE * ((self.clock.now_us() - at_us) / 1_000_000 + 0.1)
            assert not self.path_has_rate or count <= most, "too often for a path"

    def check_order(self, sent: Message, other: Told) -> None:
        stored = other.stored
        if stored is None or stored.position > sent.position:
            return
        if self.holds:
            assert stored.wire_id not in self.queue.dead_letters, "its key is held"
        slot = self.queue.pending.find(stored.position, stored.incarnation)
        if slot < 0 or self.queue.pending.index.state[slot] in LEAVING:
            return
        assert not self.holds, "not in the order of the 202s"
        state = self.queue.pending.index.state[slot]
        was_dead = sent.redrives or state == State.REVIVING or other.name in self.redriven()
        assert was_dead, "not in the order of the 202s"

    def redriven(self) -> set[str]:
        """The names of those that were dead letters once."""
        return {dead.target[1:] for dead, _ in self.bench.notes.dead}

    @invariant()
    def check(self) -> None:
        if not hasattr(self, "bench"):
            return
        lines, index = self.queue.lines, self.queue.pending.index
        behind = {slot for slot, state in enumerate(index.state) if state == State.BEHIND}
        found: list[int] = []
        for line in [*lines.table.orders.values(), *lines.table.flows.values()]:
            slot = line.head
            while slot != NO_SLOT:
                found.append(slot)
                slot = index.next[slot]
        assert len(found) == len(behind)
        assert set(found) == behind
        assert sum(lane.behind for lane in self.queue.lanes) == len(behind)
        later = sum(lines.is_later(slot) for slot in behind)
        assert sum(lane.later for lane in self.queue.lanes) == lines.later == later
        assert all(line.members or line.blocked for line in lines.table.orders.values())
        assert set(lines.table.idle) == {
            n for n, line in lines.table.flows.items() if not line.members
        }
        assert self.holds or not any(line.blocked for line in lines.table.orders.values())
        assert all(line.blocked >= 0 for line in lines.table.orders.values())

    def teardown(self) -> None:
        if hasattr(self, "bench"):
            self.hold(False)
            for _ in range(100 + 3 * len(self.told)):
                if self.holds:
                    self.operate(self.queue.admin.purge, EVERYTHING)
                self.loop.run_for(0.3)
                self.end_all(200)
                if not self.queue.pending.index.count:
                    break
            assert not self.queue.pending.index.count, "something waits for ever"
            self.loop.run_for(15)
            if self.holds:
                self.operate(self.queue.admin.purge, EVERYTHING)
            self.loop.run_for(1)
            assert not self.queue.lines.table.orders, "an idle key costs something"
            assert not self.queue.pending.has_lines
            assert not self.queue.lines._dying
            self.do(self.bench.stop)
            assert not self.loop.errors, self.loop.errors
        self.loop.close()


TestLinesMachine = LinesMachine.TestCase
TestLinesMachine.settings = settings(
    max_examples=times(35),
    stateful_step_count=40,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking takes minutes: do it by hand
)
