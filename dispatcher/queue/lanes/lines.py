"""Lines: messages of one destination that wait for others with the same key.

An **order line** lets one message of its key through at a time, in the order of their 202s: its
`first` is in the lane, in a timer, with delivery or on its way to the dead letters, and the others
are BEHIND. When the first one has left for good the next one is. Where what was given up holds its
key (ORDER_ON_DEAD=hold), each letter of the key blocks the line until it is redriven or purged.

A **flow line** lets attempts of its key start at most so often, and run at most so many at once. A
message comes to it when it could be sent otherwise (it is the first of its order line, and its time
has come) and goes to the lane when it may: with a rate one at a time, which takes its token when
its attempt starts; then the next one's token is waited for. So a lane holds only what may be sent
from it, and nobody who takes its turn asks for keys.

A **rule's line** is a flow line of the messages to one destination that have one rule, where that
has a path and a rate or a concurrency. A message comes to it when its attempt could start, after it
has passed the other lines: only then is it known what its path is, and which rule is in force. What
it waits for counts in its flow key meanwhile.

A line exists while there is a message of its key (or a letter that blocks it); flow lines that are
idle are remembered, up to so many, with what was last said of them and the tokens they owe. All
operations are O(1) and none looks through anything, whatever the number of keys and of messages. A
message with a line takes 4 bytes for each kind of line besides its entry in the index, and 4 for
the link back of the chain; a message without one takes them too where its slot lies below one with
a line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import islice
from typing import Final

from dispatcher.core.clock import QueueUs, SteadyClock
from dispatcher.core.flow import NO_FLOW, Flow
from dispatcher.core.message import Message
from dispatcher.core.rate import bucket_for
from dispatcher.core.rules.rule import Rule
from dispatcher.core.rules.table import RulesInForce
from dispatcher.core.terms import Terms
from dispatcher.queue.lanes.alarm import Alarm
from dispatcher.queue.lanes.chains import Chains
from dispatcher.queue.lanes.lanes import Lane, Lanes
from dispatcher.queue.lanes.later import Later
from dispatcher.queue.lanes.line import RULE, FlowLine, Line, OrderLine
from dispatcher.queue.lanes.line_table import LineTable
from dispatcher.queue.lanes.lineup import Lineup
from dispatcher.queue.lanes.numbers import SlotNumbers
from dispatcher.queue.lanes.warm import Warm
from dispatcher.queue.pending.index import NO_SLOT, State
from dispatcher.queue.pending.pending import Pending

_FLOWS_AT_ONCE = 500
_MOST_RELEASED = 500
"""Messages of one line that are let through at once; others have their turn for `_BREAK_US`."""
_MOST_LETTERS: Final = 20_000
"""Dead letters that are looked at to name one: a millisecond."""
_BREAK_US: Final = 1000
_TIMER_LATE_US: Final = 100_000
"""So late a token may be taken that was waited for, without delaying the ones after it."""


@dataclass(frozen=True, slots=True)
class InLine:
    """Where a message waits. `before` counts those before it, up to `chains.MOST_BEFORE`; `letters`
    block its order key; `opens_us` is when its flow key has a token, by the queue's clock, None
    where it does not wait for one. `flow` is None in an order line. `is_rule`: `key` is the match
    of a rule. `letter` is the id of one of the `letters`, b"" where it is not found at once."""

    key: str
    before: int
    letters: int = 0
    flow: Flow | None = None
    running: int = 0
    opens_us: int | None = None
    is_rule: bool = False
    letter: bytes = b""


class Lines:
    """All lines of one partition: which there are is in `table`, who waits in `chains`."""

    __slots__ = (
        "_alarm",
        "_arm",
        "_clock",
        "_dues",
        "_dying",
        "_is_open",
        "_lanes",
        "_later",
        "_letters",
        "_lineup",
        "_look_at",
        "_members",
        "_pending",
        "_rules",
        "_warm",
        "chains",
        "holds",
        "table",
    )

    def __init__(
        self,
        pending: Pending,
        lanes: Lanes,
        *,
        lineup: Lineup,
        warm: Warm,
        clock: SteadyClock,
        holds: bool,
        rules: RulesInForce,
        look_at: Callable[[Lane], None],
        arm: Callable[[], None],
    ) -> None:
        """`holds`: a key waits for its dead letters. `look_at` is told a lane that has one message
        more, and must not give turns at once; `arm`, that a timer has."""
        self.holds = holds
        self._pending = pending
        self._lanes = lanes
        self._lineup = lineup
        self._warm = warm
        self._clock = clock
        self._rules = rules
        self._look_at = look_at
        self._arm = arm
        self.table = LineTable()
        self._later = Later(pending, lanes, clock)
        self.chains = Chains(pending, lanes, self._later)
        self._alarm = Alarm(clock.now_us, self._tick)
        self._is_open = False
        self._members = 0
        self._letters: dict[bytes, OrderLine] = {}
        self._dying: set[int] = set()
        self._dues: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self.table)

    # ------------------------------------------------------------------ coming

    def known(self, place: bytes, terms: Terms) -> Flow | None:
        """The flow that holds for a message which is about to be stored: what it says, or what was
        last said of its key; None: nothing is known."""
        name = (place, terms.flow_key)
        if terms.flow is not None:
            line = self.table.flow_line(name)
            self._tell(line, terms.flow)
            if not line.members:
                self.table.rest(line)
            return terms.flow
        known = self.table.flows.get(name)
        return None if known is None or known.flow is NO_FLOW else known.flow

    def note(self, slot: int, place: bytes, terms: Terms, position: int) -> None:
        """Say which keys the message of a slot has, whose id has this position. Idempotent, while
        it is the same message."""
        if terms.order_key and not self.table.order_numbers[slot]:
            self._note_order(slot, place, terms.order_key)
            self._has(1)
        if terms.flow_key:
            self.note_flow(slot, place, terms.flow_key, terms.flow, position)

    def note_orders(self, slots: list[int], places: list[bytes], order_keys: list[str]) -> None:
        """Say that of many messages, and of their order keys alone."""
        numbers, noted = self.table.order_numbers, 0
        numbers.make_room(max(slots))
        for slot, place, order_key in zip(slots, places, order_keys, strict=True):
            if not numbers[slot]:
                self._note_order(slot, place, order_key)
                noted += 1
        self._has(noted)

    def _note_order(self, slot: int, place: bytes, order_key: str) -> None:
        order = self.table.order_line((place, order_key))
        order.members += 1
        self.table.order_numbers[slot] = order.number

    def note_flow(
        self, slot: int, place: bytes, flow_key: str, flow: Flow | None, position: int
    ) -> None:
        """Say that of a message, and of its flow key alone; `flow` is what it came with."""
        line = self.table.flow_line((place, flow_key))
        if flow is not None and (
            line.flow is NO_FLOW or (not self._is_open and position >= line.told_at)
        ):
            line.told_at = position
            self._tell(line, flow)
        if not self.table.flow_numbers[slot]:
            line.members += 1
            self.table.idle.pop(line.name, None)
            self.table.flow_numbers[slot] = line.number
            self._has(1)

    def _has(self, more: int) -> None:
        self._members += more
        self._pending.has_lines = self._members > 0

    def __contains__(self, slot: int) -> bool:
        """Whether a slot's message has a line."""
        return slot in self.table

    def open(self) -> None:
        """All records were read: lines move from here on."""
        self._is_open = True

    def close(self) -> None:
        """Do nothing more by itself. Idempotent."""
        self._is_open = False
        self._alarm.cancel()
        self._later.close()

    def waits(self, slot: int, due_us: int, now_us: QueueUs) -> bool:
        """Let a message that was noted come to its lines, in no chain; whether it waits there. If
        not, it may go to its timer, where `due_us` is ahead, or to its lane."""
        self._pending.index.due_at[slot] = due_us
        order = self.table.order_of(slot)
        if order is not None and not order.leads(slot):
            self.chains.add(order, slot)
            return True
        return due_us <= now_us and not self.passes(slot)

    def returns(self, slot: int, now_us: QueueUs) -> bool:
        """The same of a message that was dead; or it was sent on already. Where letters hold their
        key it stands where its id says."""
        order = self.table.order_of(slot)
        self._pending.index.due_at[slot] = 0
        if order is None or not self.holds or order.leads(slot):
            return self.waits(slot, 0, now_us)
        self.chains.add_redriven(order, slot)
        self._advance(order)
        return True

    # ------------------------------------------------------------------ leaving

    def left(self, slot: int) -> None:
        """The message of a slot is done: the next one may go. Nothing happens where it has no
        key."""
        table = self.table
        order, flow, bound = table.order_of(slot), table.flow_of(slot), table.bound_of(slot)
        if self._pending.index.state[slot] == State.BEHIND:
            self._leave_chain(slot)
        if bound is not None:
            self._leave_flow(bound, slot, self.table.bound_numbers)
        if flow is not None:
            self._leave_flow(flow, slot, self.table.flow_numbers)
        if order is not None:
            self._leave_order(order, slot)

    def _leave_flow(self, flow: FlowLine, slot: int, numbers: SlotNumbers) -> None:
        numbers[slot] = 0
        self._has(-1)
        flow.ready.pop(slot, None)
        flow.members -= 1
        if flow.members:
            self._release(flow)
        else:
            self.table.rest(flow)

    def _leave_order(self, order: OrderLine, slot: int) -> None:
        self.table.order_numbers[slot] = 0
        self._has(-1)
        order.members -= 1
        if order.first == slot:
            order.first = NO_SLOT
        elif slot in self._dying:
            self._dying.remove(slot)
            order.blocked -= 1
        self._advance(order)

    def take_out(self, slot: int) -> None:
        """A message that is READY or BEHIND is given up, or waits for a time again: in no chain of
        a line any more. Where letters hold their key, that waits from here on for what is given up
        from its middle."""
        if self._pending.index.state[slot] == State.BEHIND:
            order = self.table.order_of(slot)
            if self.holds and order is not None and order.first != slot:
                self._dying.add(slot)
                order.blocked += 1
            self._leave_chain(slot)
        for line in (self.table.flow_of(slot), self.table.bound_of(slot)):
            if line is not None and slot in line.ready:
                del line.ready[slot]
                self._release(line)

    def set_aside(self, slot: int) -> bool:
        """A message that waits is not to be sent, nor to leave, before it `comes_back`. Whether it
        stays where it is in the chain of its order key: then nobody of that goes on either."""
        order = self.table.order_of(slot)
        if order is None or order.first == slot:
            self.take_out(slot)
            return False
        order.blocked += 1
        self._later.leave(slot)
        self._lanes.by_number[self._pending.index.lane[slot]].behind -= 1
        return True

    def comes_back(self, slot: int) -> None:
        """A message that was set aside, and stayed in the chain of its order key, is BEHIND again,
        until that is told to go on, or its message is done."""
        order = self.table.order_of(slot)
        assert order is not None, "it stayed in its chain"
        order.blocked -= 1
        index = self._pending.index
        index.state[slot] = State.BEHIND
        self._lanes.by_number[index.lane[slot]].behind += 1
        self._later.enter(slot)

    def go_on(self, slot: int) -> None:
        """Let the order key of a message that came back go on."""
        order = self.table.order_of(slot)
        assert order is not None, "it has one"
        self._advance(order)

    def strand(self, slot: int) -> None:
        """A message is given up, and cannot become a dead letter before the next start: its order
        key waits for it no longer, unless letters hold their keys."""
        order = self.table.order_of(slot)
        if order is not None and not self.holds:
            self._leave_order(order, slot)

    def clear(self) -> None:
        """Nothing is pending: give memory back."""
        self.table.clear()
        self.chains.back.clear()

    # ------------------------------------------------------------------ dead letters

    def block(self, letter_id: bytes, place: bytes, order_key: str) -> None:
        """There is a dead letter of an order key. Idempotent."""
        if self.holds and letter_id not in self._letters:
            line = self._letters[letter_id] = self.table.order_line((place, order_key))
            line.blocked += 1

    def unblock(self, letter_id: bytes) -> None:
        """A dead letter is gone. Nothing happens where it has no order key."""
        line = self._letters.pop(letter_id, None)
        if line is not None:
            line.blocked -= 1
            self._advance(line)

    def reserve(self, slot: int, place: bytes, terms: Terms) -> None:
        """A dead letter is coming back as the message of this slot: until it `returns`, nobody goes
        before it where letters hold their key."""
        self.note(slot, place, terms, 0)
        order = self.table.order_of(slot)
        if order is not None and self.holds:
            order.blocked += 1

    def release_reserved(self, slot: int) -> None:
        """It is about to return."""
        order = self.table.order_of(slot)
        if order is not None and self.holds:
            order.blocked -= 1

    # ------------------------------------------------------------------ attempts

    def passes(self, slot: int) -> bool:
        """Whether a message whose time has come may go to its lane; if not it is BEHIND from here
        on. One that has no flow key may."""
        line = self.table.flow_of(slot)
        return line is None or self._enters(line, slot)

    def holds_back(self, message: Message) -> bool:
        """Whether a message in no chain, whose attempt could start, has to wait for the rate or the
        concurrency of its rule; if so it is BEHIND from here on. One that had another rule before
        is of that no longer."""
        rules, slot = self._rules.rules, message.slot
        rule = None if rules is None else rules.of_message(message)
        line = self.table.bound_of(slot)
        if rule is None or not rule.bounds_path:
            if line is not None:
                self._leave_flow(line, slot, self.table.bound_numbers)
            return False
        wanted = self.table.flow_line((message.destination.key, _named(rule)))
        self._tell(wanted, Flow(rule.rate, rule.concurrency))
        if line is not wanted:
            if line is not None:
                self._leave_flow(line, slot, self.table.bound_numbers)
            wanted.members += 1
            self.table.idle.pop(wanted.name, None)
            self.table.bound_numbers[slot] = wanted.number
            self._has(1)
        return not self._enters(wanted, slot)

    def rules_changed(self) -> None:
        """Other rules are in force, for what waits in their lines too. What one lets go has that
        which is its rule now when its attempt could start."""
        flows: dict[str, Flow] = {}
        for rule in self._rules.all.rules:
            flows.setdefault(_named(rule), Flow(rule.rate, rule.concurrency))
        for line in list(self.table.flows.values()):
            if line.name[1].startswith(RULE):
                self._tell(line, flows.get(line.name[1], NO_FLOW))
                if not line.members:
                    self.table.rest(line)

    def _enters(self, line: FlowLine, slot: int) -> bool:
        if slot in line.ready:
            return True
        now_us = self._clock.now_us()
        if line.head == NO_SLOT and line.may_pass(now_us):
            line.ready[slot] = None
            return True
        self._pending.index.due_at[slot] = 0
        self.chains.add(line, slot)
        self._look_for_token(line, now_us)
        return False

    def started(self, slot: int, now_us: int) -> None:
        """An attempt starts."""
        for line in (self.table.flow_of(slot), self.table.bound_of(slot)):
            if line is not None:
                self._started(line, slot, now_us)

    def _started(self, line: FlowLine, slot: int, now_us: int) -> None:
        line.ready.pop(slot, None)
        line.running += 1
        bucket = line.bucket
        if bucket is not None:
            if bucket.is_awaited:  # a little late, or it waited for something else too
                bucket.is_awaited = now_us - bucket.opens_at(now_us) <= _TIMER_LATE_US
            bucket.take(now_us)
        self._release(line)

    def ended(self, slot: int) -> None:
        """An attempt has ended; what becomes of its message comes after this."""
        for line in (self.table.flow_of(slot), self.table.bound_of(slot)):
            if line is not None:
                line.running -= 1
                self._release(line)

    def _advance(self, line: OrderLine) -> None:
        """Let the next message of an order key through, if there is one and it may go; forget the
        key if there is nothing left of it."""
        if line.first != NO_SLOT or line.blocked:
            return
        slot = line.head
        if slot == NO_SLOT:
            if not line.members:
                self.table.forget(line)
            return
        if not self._is_open:
            return
        self.chains.remove(line, slot)
        line.first = slot
        now_us = self._clock.now_us()
        due_us = self._pending.index.due_at[slot]
        if due_us > now_us:
            self._lineup.schedule(slot, QueueUs(due_us), now_us)
            self._arm()
            return
        ages = self._pending.ages
        if ages is not None and slot not in ages:  # it was delayed: its age counts from here
            ages.add(slot, now_us)
        if self.passes(slot):
            self._look_at(self._lineup.line_up(slot))

    def _release(self, line: FlowLine) -> None:
        """Let messages of a flow line through, as many as may go now; after many of them others
        have their turn first."""
        if line.head == NO_SLOT or not self._is_open:
            return
        now_us = self._clock.now_us()
        for _ in range(_MOST_RELEASED):
            if line.head == NO_SLOT or not line.may_pass(now_us):
                self._look_for_token(line, now_us)
                return
            slot = line.head
            self.chains.remove(line, slot)
            line.ready[slot] = None
            self._look_at(self._lineup.line_up(slot))
        self._come_back(line, now_us + _BREAK_US)

    def _look_for_token(self, line: FlowLine, now_us: int) -> None:
        """Come back when the first one that waits may take a token."""
        if line.head == NO_SLOT or line.ready or line.bucket is None or line.is_full:
            return
        self._come_back(line, line.bucket.opens_at(now_us))

    def _come_back(self, line: FlowLine, at_us: int) -> None:
        if at_us != line.due:
            line.due = at_us
            heappush(self._dues, (at_us, line.number))
            self._alarm.set(self._dues[0][0])

    def _tick(self) -> None:
        now_us = self._clock.now_us()
        for _ in range(_FLOWS_AT_ONCE):
            if not self._dues or self._dues[0][0] > now_us:
                break
            at_us, number = heappop(self._dues)
            line = self.table.numbered_flows[number]
            if line is not None and line.due == at_us:  # else another instant counts by now
                line.due = 0
                if line.bucket is not None and line.bucket.opens_at(now_us) <= now_us:
                    line.bucket.is_awaited = True
                self._release(line)
        if self._dues:
            self._alarm.set(self._dues[0][0])

    def _tell(self, line: FlowLine, flow: Flow) -> None:
        """Another flow holds for a key from now on. What was let through and may not go any more is
        taken back."""
        if flow == line.flow:
            return
        now_us = self._clock.now_us() if self._is_open else QueueUs(0)
        line.flow = flow
        line.bucket = bucket_for(flow.rate, line.bucket, now_us)
        if not self._is_open:
            return
        most = line.most_ready(now_us)
        while len(line.ready) > most:
            slot, _ = line.ready.popitem()
            self._withdraw(slot)
            self.chains.add_before(line, slot, line.head)
        self._release(line)
        self._look_for_token(line, now_us)

    def _withdraw(self, slot: int) -> None:
        index = self._pending.index
        lane = self._lanes.by_number[index.lane[slot]]
        bound = self.table.bound_of(slot)
        if index.state[slot] == State.BEHIND:
            assert bound is not None, "its flow key let it through"
            self.chains.remove(bound, slot)
        else:
            warm = slot in self._warm
            self._lineup.take_out(slot, warm=warm)
            if warm:
                self._warm.drop(lane, slot)
        if bound is not None and slot in bound.ready:
            del bound.ready[slot]
            self._release(bound)
        index.due_at[slot] = 0

    def _leave_chain(self, slot: int) -> None:
        """A slot that is BEHIND leaves the chain that it is in."""
        self.chains.remove(self._line_of(slot), slot)

    def _line_of(self, slot: int) -> Line:
        """The line in whose chain a slot is that is BEHIND."""
        table = self.table
        order, flow, bound = table.order_of(slot), table.flow_of(slot), table.bound_of(slot)
        if order is not None and order.first != slot:
            return order
        if flow is not None and slot not in flow.ready:
            return flow
        assert bound is not None, "or it would not be BEHIND"
        return bound

    # ------------------------------------------------------------------ for people

    @property
    def later(self) -> int:
        """How many messages wait for their time too, besides others of their order key."""
        return self._later.count

    def is_later(self, slot: int) -> bool:
        """Whether a message does."""
        return self._later.has(slot)

    def hasten(self, slot: int) -> None:
        """One that is BEHIND does not wait for its time any longer."""
        self._later.leave(slot)
        self._pending.index.due_at[slot] = 0

    def where(self, slot: int, *, is_brief: bool = False) -> InLine | None:
        """In which line the message of a slot waits; None: in none. `is_brief`: what takes time to
        look for (`before`, `letter`) is left as it is by default."""
        if self._pending.index.state[slot] != State.BEHIND:
            return None
        flow = self._line_of(slot)
        if isinstance(flow, OrderLine):
            if is_brief:
                return InLine(flow.name[1], 0, flow.blocked)
            before = self.chains.count_before(flow, slot) + (flow.first != NO_SLOT)
            return InLine(flow.name[1], before, flow.blocked, letter=self._letter_of(flow))
        assert isinstance(flow, FlowLine)
        opens_us = None
        if flow.bucket is not None and not flow.is_full:
            opens_us = flow.bucket.opens_at(self._clock.now_us())
        before = 0 if is_brief else self.chains.count_before(flow, slot) + len(flow.ready)
        key = flow.name[1]
        is_rule = key.startswith(RULE)
        return InLine(key.removeprefix(RULE), before, 0, flow.flow, flow.running, opens_us, is_rule)

    def _letter_of(self, order: OrderLine) -> bytes:
        """The id of a dead letter that blocks a line; b"": there is none, or it is not among the
        first ones, more of which would hold the loop."""
        for letter_id, line in islice(self._letters.items(), _MOST_LETTERS):
            if line is order:
                return letter_id
        return b""


def _named(rule: Rule) -> str:
    return f"{RULE}{rule.match}"
