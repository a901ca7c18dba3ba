"""The entries of idempotency keys against a dict: none is lost before its window is over, none is
found afterwards, and the log is held exactly as far as it is needed."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass, replace
from hashlib import blake2b

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dispatcher.core.idempotency import HASH_BYTES
from dispatcher.queue.pending.extents import Extent, Extents
from dispatcher.queue.records.keys import KEY_BYTES
from dispatcher.queue.registry.idempotency import directory, entries
from dispatcher.queue.registry.idempotency.block import Entry
from dispatcher.queue.registry.idempotency.entries import Entries
from tests.effort import IS_THOROUGH, times

WINDOW_US = 24_000_000
TICK_US = 1 << 16
START_US = 1_700_000_000_000_000


def hashed(name: int) -> bytes:
    return blake2b(b"%d" % name, digest_size=HASH_BYTES).digest()


@dataclass(frozen=True, slots=True)
class Known:
    entry: Entry
    number: int
    extent: Extent | None


class EntriesMachine(RuleBasedStateMachine):
    """Small blocks and tables, so that there are many."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(entries, "BLOCK_ENTRIES", 4)
        self.patch.setattr(entries, "_OFFSET_BITS", 2)
        self.patch.setattr(entries, "_BLOCK_NUMBERS", 64)
        self.patch.setattr(directory, "_MOST_CELLS", 8)
        self.now_us = START_US
        self.end = 0
        self.extents = Extents(extent_bytes=500)
        self.entries = Entries(WINDOW_US, now_us=START_US, spread=7)
        self.model: dict[int, Known] = {}
        self.pending: set[tuple[int, int]] = set()

    def teardown(self) -> None:
        self.patch.undo()

    def is_pending(self, position: int, incarnation: int) -> bool:
        return (position, incarnation) in self.pending

    @rule(
        names=st.lists(st.integers(0, 60), max_size=8),
        incarnation=st.integers(1, 2),
        ago_us=st.sampled_from([0, 0, 0, 1_000_000, 30_000_000]),
        has_place=st.booleans(),
    )
    def add(self, names: list[int], incarnation: int, ago_us: int, has_place: bool) -> None:
        for name in names:
            self.end += 100
            extent = self.extents.note(self.end, 100)
            if name in self.model:
                continue
            entry = Entry(
                hashed(name), name, self.end, incarnation, self.now_us - ago_us, undelivered=False
            )
            place = extent if has_place and not ago_us else None
            number = self.entries.add(entry, place, self.now_us)
            self.model[name] = Known(entry, number, place)
            self.pending.add((self.end, incarnation))

    @precondition(lambda self: self.model)
    @rule(data=st.data(), undelivered=st.booleans())
    def mark(self, data: st.DataObject, undelivered: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.model)))
        known = self.model[name]
        self.entries.mark(self.entries.find(hashed(name)), undelivered=undelivered)
        self.model[name] = replace(known, entry=known.entry._replace(undelivered=undelivered))

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.model)))
        self.entries.remove(self.entries.find(hashed(name)))
        del self.model[name]

    @precondition(lambda self: self.pending)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        self.pending.discard(data.draw(st.sampled_from(sorted(self.pending))))

    @rule(seconds=st.sampled_from([0.5, 1, 2, 12, 30]))
    def wait(self, seconds: float) -> None:
        self.now_us += int(seconds * 1_000_000)

    @rule()
    def expire(self) -> None:
        while self.entries.expire(self.now_us, self.is_pending):
            pass
        for name, known in list(self.model.items()):
            number = self.entries.find(hashed(name))
            if number < 0:
                assert self.is_over(known)
                assert not self.is_pending(known.entry.position, known.entry.incarnation)
                del self.model[name]
            elif number != known.number:  # carried on: the record of its message keeps it
                assert self.is_over(known)
                self.model[name] = replace(known, number=number, extent=None)

    def is_over(self, known: Known) -> bool:
        return known.entry.at_us + WINDOW_US <= self.now_us

    @rule()
    def tidy(self) -> None:
        for _ in range(8):
            self.entries.tidy()

    @rule()
    def move(self) -> None:
        """The oldest extent is dropped: its keys are written again at the log's end."""
        extent = self.extents.oldest
        if extent is self.extents.current:
            return
        for block, run in self.entries.runs_in(extent):
            wanted = self.entries.numbers(block, run)
            self.end += 100
            to = self.extents.note(self.end, 100)
            self.entries.move(block, run, to)
            for name, known in self.model.items():
                if known.number in wanted:
                    assert known.extent is extent
                    self.model[name] = replace(known, extent=to)
        assert not extent.live
        assert not extent.live_bytes
        self.extents.drop_dead()

    @invariant()
    def finds_what_the_model_has(self) -> None:
        assert self.entries.count == len(self.model)
        for name in range(61):
            number = self.entries.find(hashed(name))
            known = self.model.get(name)
            if known is None:
                assert number < 0
                continue
            found = self.entries.read(number)
            assert found == known.entry._replace(at_us=found.at_us)
            assert 0 <= found.at_us - known.entry.at_us < TICK_US
            assert number in self.entries.of_message(found.position, found.incarnation)
        assert sorted(self.entries) == sorted(known.number for known in self.model.values())

    @invariant()
    def holds_what_is_needed(self) -> None:
        held = [known.extent for known in self.model.values() if known.extent is not None]
        assert self.entries.held == len(held)
        assert self.entries.live_bytes == KEY_BYTES * len(held)
        for extent in self.extents:
            count = sum(one is extent for one in held)
            assert (extent.live, extent.live_bytes) == (count, count * KEY_BYTES)


TestEntries = EntriesMachine.TestCase
TestEntries.settings = settings(max_examples=times(30), stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("count", [20_000, 95_000] if IS_THOROUGH else [20_000])
def test_a_key_takes_64_bytes_at_most(count: int) -> None:
    """Just before the tables grow and just after it."""
    tracemalloc.start()
    try:
        held = Entries(86_400_000_000, now_us=START_US, spread=7)
        extents = Extents()
        for name in range(count):
            extent = extents.note(name * 300, 300)
            entry = Entry(hashed(name), name, name * 300, 1, START_US + name, undelivered=False)
            held.add(entry, extent, START_US + name)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size / count <= 64


def test_memory_is_given_back_when_all_windows_are_over() -> None:
    """A burst of keys costs nothing any more a window later."""

    def burst(held: Entries) -> None:
        for name in range(20_000):
            entry = Entry(hashed(name), name, name * 300, 1, START_US, undelivered=False)
            held.add(entry, None, START_US)
        while held.expire(START_US + 2 * WINDOW_US, lambda position, incarnation: False):
            pass

    burst(Entries(WINDOW_US, now_us=START_US, spread=7))  # what Python keeps of the first time
    tracemalloc.start()
    try:
        held = Entries(WINDOW_US, now_us=START_US, spread=7)
        before, _ = tracemalloc.get_traced_memory()
        burst(held)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held.count == 0
    assert after - before < 20_000


def test_memory_of_a_burst_is_given_back_although_a_few_keys_came_since() -> None:
    """A little at a time: each table once."""
    tracemalloc.start()
    try:
        held = Entries(WINDOW_US, now_us=START_US, spread=7)
        for name in range(20_000):
            at_us = START_US + name * (WINDOW_US // 10_000)
            entry = Entry(hashed(name), name, name * 300, 1, at_us, undelivered=False)
            held.add(entry, None, at_us)
        full, _ = tracemalloc.get_traced_memory()
        while held.expire(at_us + WINDOW_US // 2, lambda position, incarnation: False):
            pass
        later_us = at_us + WINDOW_US
        kept = Entry(hashed(-1), 1, 5, 1, later_us, undelivered=False)
        number = held.add(kept, None, later_us)
        while held.expire(later_us + WINDOW_US // 2, lambda position, incarnation: False):
            pass
        assert held.count == 1
        for _ in range(200):
            held.tidy()
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert left < full / 5
    assert held.find(hashed(-1)) == number
    assert held.of_message(5, 1) == [number]
