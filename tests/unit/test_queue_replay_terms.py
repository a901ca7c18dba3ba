"""Messages with terms are taken in many at a time at a start, and what is pending is what it would
be one by one, and so is what is known of their keys."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable
from random import Random
from types import FrameType

import pytest

from dispatcher.build import is_compiled
from dispatcher.core.flow import parse_flow
from dispatcher.core.idempotency import copy_hash, key_hash
from dispatcher.core.message import Message
from dispatcher.core.terms import Terms
from dispatcher.queue.partition import Partition
from dispatcher.queue.pending.index import State
from dispatcher.queue.records.keys import StoredKey, encode_keys
from dispatcher.queue.records.kinds import Kind
from dispatcher.queue.records.layouts import Layouts
from dispatcher.queue.records.messages import encode_message, encode_moved
from dispatcher.queue.records.settled import encode_settled, encode_undelivered
from dispatcher.queue.records.terms import decode_terms, encode_terms
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run
from dispatcher.testing.queue import Bench, destination, message
from dispatcher.txlog import Records

_START = 1 << 32 | 4096
_GAP = 32
_COUNT = 600


class _Log:
    """Messages with all kinds of terms, as a queue could have left them, many of the same kind in a
    row."""

    def __init__(self, random: Random, now_us: int) -> None:
        self.data = bytearray()
        self.begins: list[int] = []
        self.ends: list[int] = []
        self.keys: list[bytes] = []
        self._random = random
        self._now_us = now_us
        self._waiting: list[Message] = []
        self._numbers = 0

    def write(self, count: int) -> None:
        kind: Callable[[], Terms | None] = self._none
        for _ in range(count):
            if self._random.random() < 0.2:
                kind = self._random.choice(
                    [
                        *(self._none, self._label, self._delayed, self._key, self._order),
                        *(self._flow, self._copy, self._late, self._all),
                    ]
                )
            if self._random.random() < 0.03:
                self._random.choice([self._settle, self._give_up, self._move])()
            self._message(kind())

    def _append(self, payload: bytes) -> int:
        self.data += bytes(_GAP)
        self.begins.append(len(self.data))
        self.data += payload
        self.ends.append(len(self.data))
        return _START + self.begins[-1]

    def _message(self, terms: Terms | None) -> None:
        new = message(destination(f"{self._random.randrange(3)}.example"))
        new.incarnation = 1
        new.accepted_at = self._now_us - self._random.choice([0, 10, 200]) * 1_000_000
        new.terms = terms
        new.position = self._append(encode_message(new))
        self._waiting.append(new)
        if terms is not None and terms.idempotency_key:
            place = terms.key_place.encode("ascii") or new.destination.key
            self.keys.append(key_hash(place, terms.idempotency_key))
            if terms.copy_of:
                self.keys.append(copy_hash(place, terms.copy_of, terms.request_print))

    def _some(self) -> list[Message]:
        self._random.shuffle(self._waiting)
        some = self._waiting[:4]
        del self._waiting[:4]
        return some

    def _settle(self) -> None:
        self._append(encode_settled(1, array("Q", [one.position for one in self._some()])))

    def _give_up(self) -> None:
        self._append(encode_undelivered(1, array("Q", [one.position for one in self._some()])))

    def _move(self) -> None:
        for one in self._random.sample(self._waiting, min(2, len(self._waiting))):
            self._append(encode_moved(one, 0))

    def _number(self) -> int:
        self._numbers += self._random.choice([0, 1, 1, 7, 90])
        return self._numbers

    def _none(self) -> None:
        return None

    def _label(self) -> Terms:
        return Terms(label=f"l{self._number()}", retries=self._random.randrange(3))

    def _delayed(self) -> Terms:
        due_us = self._now_us + self._random.randrange(-5, 5) * 1_000_000
        return Terms(not_before_us=max(due_us, 1), deadline_us=self._now_us + 60_000_000)

    def _key(self) -> Terms:
        return Terms(idempotency_key=f"k{self._number()}", request_print=self._number())

    def _order(self) -> Terms:
        return Terms(order_key=f"o{self._random.randrange(12)}")

    def _flow(self) -> Terms:
        flow = parse_flow(self._random.choice(["rate=10/1m", "parallelism=2"]))
        return Terms(flow_key=f"f{self._random.randrange(5)}", flow=flow)

    def _copy(self) -> Terms:
        return Terms(idempotency_key="c", copy_of=f"{self._number()}", request_print=1)

    def _late(self) -> Terms:
        return Terms(order_key="o1", order_after=_START + self._random.randrange(50_000))

    def _all(self) -> Terms:
        return Terms(
            not_before_us=self._now_us + 1,
            deadline_us=self._now_us + 90_000_000,
            retries=2,
            retry_delay_ms=5,
            retry_max_delay_ms=self._random.randrange(1000),
            label="all",
            idempotency_key=f"a{self._number()}",
            request_print=3,
            order_key="o2",
            flow_key="f1",
            callback="http://b.example/",
            failure_callback="http://b.example/f",
            key_place=self._random.choice(["", "group:g/1"]),
        )


def _partition(clock: SimulatedClock) -> Partition:
    """One whose log is not read yet, with small extents and a window of 100 s."""
    bench = Bench(clock, idempotency_window_ms=100_000)
    queue = Partition(
        bench.log,
        bench.dead_log,
        bench.config,
        bench.notes,
        clock=clock,
        random=bench.random,
        incarnation=9,
    )
    queue.pending.extents.extent_bytes = 3000
    return queue


def _state(queue: Partition, hashes: list[bytes]) -> object:
    """All that was learned, whichever slots and numbers it has."""
    pending, index = queue.pending, queue.pending.index
    table = queue.lines.table
    noted = queue.recovery._noted
    waiting = {}
    for slot in range(index.slots):
        if index.state[slot] == State.FREE:
            continue
        order, flow = table.order_of(slot), table.flow_of(slot)
        waiting[index.id_position[slot]] = (
            index.position[slot],
            index.due_at[slot],
            index.lane[slot],
            index.attempts[slot],
            pending.deadlines.of(slot),
            noted.patience_us.get(slot),
            noted.late.get(slot),
            order and (order.name, order.members),
            flow and (flow.name, flow.members, flow.flow, flow.told_at),
        )
    entries = queue.keys.entries
    keys = {}
    for hashed in hashes:
        number = entries.find(hashed)
        keys[hashed] = None if number < 0 else entries.read(number)
    stretches = [(one.start, one.filled, one.live, one.live_bytes) for one in pending.extents]
    return waiting, keys, entries.count, entries.held, stretches


def _standing(queue: Partition) -> object:
    """What waits where, by ids, after all was lined up."""
    index, table = queue.pending.index, queue.lines.table
    chains = {}
    for line in (*table.orders.values(), *table.flows.values()):
        ids, slot = [], line.head
        while slot != 0xFFFFFFFF:
            ids.append(index.id_position[slot])
            slot = index.next[slot]
        chains[line.name] = ids
    lanes = [
        (
            lane.ready,
            lane.scheduled,
            lane.behind,
            [index.id_position[slot] for slot in lane.cold_slots(index, 10_000)],
        )
        for lane in queue.lanes
    ]
    states = {
        index.id_position[slot]: (index.state[slot], index.due_at[slot])
        for slot in range(index.slots)
        if index.state[slot] in (State.SCHEDULED, State.BEHIND)
    }
    return chains, lanes, states, queue.pending.timers.count


@pytest.mark.parametrize("seed", range(20))
def test_messages_with_terms_taken_together_leave_what_they_leave_one_by_one(seed: int) -> None:
    """Terms of one layout in runs, alone, and mixed with messages that have none; keys that are
    used again, whose window is over, whose messages were settled, given up or copied."""

    async def main(clock: SimulatedClock) -> None:
        random = Random(seed)
        log = _Log(random, clock.now_us())
        log.write(_COUNT)
        one_by_one, together = _partition(clock), _partition(clock)
        data, at = bytes(log.data), 0
        while at < len(log.begins):
            upto = at + random.randrange(1, 200)
            records = Records(data, _START, log.begins[at:upto], log.ends[at:upto])
            for position, payload in records:
                one_by_one.recovery.visit(position, payload)
            together.recovery.take(records)
            assert _state(together, log.keys) == _state(one_by_one, log.keys)
            at = upto
        now_us = together.clock.now_us()
        for queue in (one_by_one, together):
            await queue.recovery.finish(now_us, now_us)
        assert _standing(together) == _standing(one_by_one)

    run(main)


def test_keys_that_were_written_again_together_are_what_they_are_one_by_one() -> None:
    """Many in a record or one in each; of several starts, and of messages that were given up."""

    async def main(clock: SimulatedClock) -> None:
        random = Random(7)
        together, one_by_one = _partition(clock), _partition(clock)
        hashes, position = [], _START
        for record in range(300):
            keys = []
            for _ in range(random.randrange(1, 40)):
                hashes.append(key_hash(b"http://a.example", f"k{random.randrange(3000)}"))
                at_us = clock.now_us() - random.choice([5, 50, 500]) * 1_000_000
                message_at = random.randrange(1000) if random.random() < 0.1 else position
                incarnation = 1 + record // 100
                keys.append(
                    StoredKey(hashes[-1], 1, message_at, incarnation, at_us, record % 9 < 1)
                )
                position += 1
            for queue in (together, one_by_one):
                queue.pending.extents.note(position, 100)
            together.keys.visit_keys(encode_keys(keys))
            for key in keys:
                one_by_one.keys.visit_keys(encode_keys([key]))
            if record % 30 == 29:
                assert _state(together, hashes) == _state(one_by_one, hashes)

    run(main)


def test_a_row_is_what_the_terms_are() -> None:
    """Whatever fields they have, and whichever were read before."""
    log = _Log(Random(3), 1_700_000_000_000_000)
    layouts = Layouts()
    kinds = [log._label, log._delayed, log._key, log._order, log._flow, log._copy, log._late]
    for _ in range(300):
        terms = log._random.choice([*kinds, log._all])()
        assert terms is not None
        data = b"." * 7 + encode_terms(terms) + b"rest"
        row = layouts.row(data, 7)
        layout = layouts.last
        assert row is not None
        assert data[7 + layout.size :] == b"rest"
        for at, value in (
            (layout.not_before, terms.not_before_us),
            (layout.deadline, terms.deadline_us),
            (layout.idempotency_key, terms.idempotency_key.encode()),
            (layout.copy_of, terms.copy_of.encode()),
            (layout.key_place, terms.key_place.encode()),
            (layout.order_key, terms.order_key.encode()),
            (layout.order_after, terms.order_after),
            (layout.flow_key, terms.flow_key.encode()),
        ):
            assert (row[at] if at >= 0 else None) == (value or None)
        if terms.stands_for_one:
            assert row[layout.request_print] == terms.request_print


@pytest.mark.parametrize(
    "fields",
    [
        b"\x63\x01\x00x",  # a tag of a later version
        b"\x01\x07\x00seven!!",  # a number of 7 bytes
        b"\x06\x09\x00short",  # longer than the terms
        b"\x06\x01\x00xx",  # something behind the last one
    ],
)
def test_terms_that_are_wrong_are_no_row(fields: bytes) -> None:
    """They are left to what says what is wrong with them."""
    payload = bytes([Kind.MESSAGE_TERMS]) + len(fields).to_bytes(2, "little") + fields
    payload += encode_message(message())
    assert Layouts().row(payload, 0) is None
    with pytest.raises(Exception, match=r".+"):
        decode_terms(payload, 0)


@pytest.mark.skipif(is_compiled(), reason="compiled functions are not counted")
@pytest.mark.parametrize(
    ("terms_of", "most"),
    [
        (lambda number: Terms(label=f"l{number}"), 10),
        (lambda number: Terms(not_before_us=1 << 52 | number), 14),
        (lambda number: Terms(order_key=f"o{number % 100}"), 24),
        (lambda number: Terms(idempotency_key=f"k{number}", request_print=number), 14),
    ],
    ids=["label", "delay", "order key", "idempotency key"],
)
def test_start_calls_few_functions_for_a_message_with_terms(
    terms_of: Callable[[int], Terms], most: int
) -> None:
    """What is done for many at once is not done for each. One by one it was 34 to 67 calls."""

    async def main(clock: SimulatedClock) -> None:
        queue = _partition(clock)
        data, begins, ends = bytearray(), [], []
        for number in range(5000):
            new = message()
            new.incarnation = 1
            new.accepted_at = clock.now_us()
            new.terms = terms_of(number)
            begins.append(len(data))
            data += encode_message(new)
            ends.append(len(data))
        calls = 0

        def count(frame: FrameType, event: str, argument: object) -> None:
            nonlocal calls
            calls += event == "call"

        records = Records(bytes(data), _START, begins, ends)
        sys.setprofile(count)
        try:
            queue.recovery.take(records)
            await queue.recovery.finish(queue.clock.now_us(), queue.clock.now_us())
        finally:
            sys.setprofile(None)
        assert queue.recovery.records == 5000
        assert calls <= most * 5000

    run(main)
