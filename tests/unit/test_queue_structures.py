"""Index, extents, slot map, timers and lanes: the arrays under the queue."""

from __future__ import annotations

import tracemalloc
from array import array
from random import Random

import pytest

from dispatcher.queue.extents import Extents
from dispatcher.queue.index import NO_SLOT, Index
from dispatcher.queue.lanes import Lane, Lanes
from dispatcher.queue.pending import Pending, chunk_sizes
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.records import OVERHEAD_BYTES
from dispatcher.queue.slotmap import SlotMap
from dispatcher.queue.timers import TICK_US, Timers
from dispatcher.testing.queue import destination

A_DAY_US = 86_400_000_000


def _lanes(limit: int = 10) -> Lanes:
    return Lanes(limit_max=limit, pause_max_ms=1000)


# Index and extents.


def test_a_waiting_message_takes_64_bytes_at_most() -> None:
    """Ten million messages wait in less than a gigabyte."""
    lanes = _lanes()
    pending = Pending(lanes)
    lane = lanes.of(destination())
    count = 200_000
    tracemalloc.start()
    try:
        for n in range(count):
            slot = pending.add(4096 + n * 1100, lane, 1100)
            lane.push(pending.index, slot, warm=False)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size / count <= 64


def test_index_uses_free_slots_again() -> None:
    """A slot that was freed starts as if it were new."""
    index = Index()
    first = index.add(10, 1, 100)
    second = index.add(20, 2, 200)
    index.retry[first] = 99
    index.attempts[first] = 3
    index.due_at[first] = 5
    assert index.live_bytes == 300
    index.remove(first)
    assert index.count == 1
    assert index.live_bytes == 200
    assert not index.holds(first, 10)
    again = index.add(30, 3, 50)
    assert again == first
    assert (index.retry[again], index.attempts[again], index.due_at[again]) == (0, 0, 0)
    assert index.holds(again, 30)
    assert not index.holds(again, 10)
    assert index.holds(second, 20)
    assert index.slots == 2


def test_slots_of_a_past_backlog_are_in_nobodys_way() -> None:
    """When memory is given back, extents must not lead to slots that are not there any more."""
    lanes = _lanes()
    pending = Pending(lanes)
    lane = lanes.of(destination())
    slots = [pending.add(position, lane, 10) for position in range(1, 6001)]
    for slot in slots:
        pending.remove(slot)
    pending.shrink()
    assert pending.index.slots == 0
    assert pending.find(6000) == -1
    assert not pending.index.holds(5999, 6000)
    slot = pending.add(7000, lane, 10)
    assert pending.find(7000) == slot
    assert [slot for extent in pending.extents for _, slot in extent.entries()] == [slot]


def test_extents_find_and_count_what_is_live() -> None:
    """Positions lead to slots; what is dead at the beginning can be trimmed, and not more."""
    extents = Extents(extent_bytes=100)
    for slot in range(10):
        extents.put(1000 + slot * 50, slot, 50)
    assert len(extents) == 5
    assert [extents.find(1000 + slot * 50) for slot in range(10)] == list(range(10))
    assert extents.find(1001) == -1
    assert extents.find(5) == -1
    assert extents.find(1 << 60) == -1
    for slot in (0, 1, 2, 4, 5):
        extents.release(1000 + slot * 50, 50)
    upto = extents.drop_dead()
    assert upto is not None
    assert 1050 < upto <= 1150, "the record at 1150 is live"
    assert extents.find(1150) == 3
    extents.release(1150, 50)
    assert extents.drop_dead() == 1300
    assert extents.find(1150) == -1
    assert extents.span_bytes == sum(extent.filled for extent in extents)
    assert extents.drop_dead() is None


def test_current_extent_can_be_cut_and_dropped() -> None:
    """A log in which nothing is needed is trimmed to its end."""
    extents = Extents()
    extents.put(1000, 0, 50)
    extents.note(1050, 20)
    extents.release(1000, 50)
    assert extents.drop_dead() is None or len(extents) == 1
    extents.cut()
    assert extents.drop_dead() == 1051
    assert extents.span_bytes == 0
    extents.cut()
    assert len(extents) == 1


def test_positions_far_apart_have_extents_of_their_own() -> None:
    """Offsets have 32 bits: another segment of the file engine is another extent."""
    extents = Extents()
    positions = [n << 32 | 4096 for n in range(1, 5)]
    for slot, position in enumerate(positions):
        extents.put(position, slot, 10)
    assert [extents.find(position) for position in positions] == [0, 1, 2, 3]
    assert len(extents) >= 4


def test_chunk_sizes_add_up_to_the_body() -> None:
    """What is counted for a large body is what it takes, whatever its pieces were."""
    for body_size, count in ((CHUNK_BYTES * 2 + 5, 3), (CHUNK_BYTES, 1), (1, 1), (100, 7)):
        sizes = [size for _, size in chunk_sizes(array("Q", range(count)), body_size)]
        assert sum(sizes) == body_size + count * OVERHEAD_BYTES
        assert min(sizes) >= OVERHEAD_BYTES


def test_large_body_is_found_where_it_was_copied_until_its_attempt_ends() -> None:
    """Who reads a body that is copied at the same time finds it; nothing is remembered for ever."""
    lanes = _lanes()
    pending = Pending(lanes)
    lane = lanes.of(destination())
    for position in (1, 2):
        pending.extents.note(position, 40)
    slot = pending.add(3, lane, 10)
    pending.own_chunks(slot, array("Q", [1, 2]), 16)
    for position in (4, 5, 6, 7):
        pending.extents.note(position, 40)
    pending.move_chunks(slot, array("Q", [4, 5]), 16)
    assert not pending.relocated, "nobody reads it"
    pending.index.state[slot] = 3
    pending.move_chunks(slot, array("Q", [6, 7]), 16)
    assert pending.relocated == {4: 6, 5: 7}
    pending.schedule(slot, 100, 50)
    assert not pending.relocated
    pending.index.state[slot] = 3
    pending.move_chunks(slot, array("Q", [8, 9]), 16)
    pending.remove(slot)
    assert not pending.relocated
    assert not pending.big
    assert pending.index.live_bytes == 0
    assert sum(extent.live for extent in pending.extents) == 0
    assert sum(extent.live_bytes for extent in pending.extents) == 0


# Slot map.


def test_slot_map_is_a_dict() -> None:
    """Against a dict, with slots that are freed and used again."""
    random = Random(3)
    index = Index()
    slots = SlotMap(index)
    model: dict[int, int] = {}
    position = 0
    for _ in range(20_000):
        if model and random.random() < 0.48:
            key = random.choice(list(model)) if len(model) < 50 else next(iter(model))
            slot = model.pop(key)
            slots.discard(slot)
            index.remove(slot)
        else:
            position += random.randint(1, 1 << 20)
            model[position] = index.add(position, 0, 1)
            slots.add(model[position])
            slots.add(model[position])
        assert slots.count == len(model)
    for key, slot in model.items():
        assert slots.find(key) == slot
    assert slots.find(position + 1) == -1
    for slot in model.values():
        slots.discard(slot)
        slots.discard(slot)
    assert slots.count == 0


@pytest.mark.parametrize("count", [0, 1, 5_000])
def test_a_map_that_is_filled_at_once_is_as_one_that_grew(count: int) -> None:
    """Everything is found, and it goes on as usual."""
    index = Index()
    for n in range(count):
        index.add(7 + n * 1100, 0, 1)
    slots = SlotMap(index)
    slots.fill(range(count))
    assert slots.count == count
    assert [slots.find(position) for position in index.id_position] == list(range(count))
    for slot in range(0, count, 2):
        slots.discard(slot)
    slots.add(index.add(3, 0, 1))
    assert slots.count == count // 2 + 1
    assert slots.find(3) == count


# Timers.


def _timers(dues: list[int], now_us: int) -> tuple[Index, Timers]:
    index = Index()
    timers = Timers(index)
    for due in dues:
        slot = index.add(1, 0, 1)
        index.due_at[slot] = due
        timers.add(slot, now_us)
    return index, timers


def test_timers_are_never_early_and_a_tick_late_at_most() -> None:
    """From a millisecond to an hour, whatever bucket they are in."""
    random = Random(5)
    now = 1_704_067_200_000_000
    dues = [now + random.randint(0, 10 ** random.randint(1, 10)) for _ in range(2000)]
    index, timers = _timers(dues, now)
    seen = 0
    while (at := timers.next_at()) is not None:
        now = max(now, at)
        for slot in timers.expire(now):
            seen += 1
            assert 0 <= now - index.due_at[slot] <= TICK_US
    assert seen == len(dues)
    assert timers.count == 0


def test_a_million_timers_expire_in_small_steps() -> None:
    """A crowd that is due at one moment does not stop the loop: each call has a budget, and says
    by `next_at` that there is more."""
    now = 1_704_067_200_000_000
    due = now + 3_600_000_000
    index, timers = _timers([due] * 1_000_000, now)
    found = bytearray(1_000_000)
    calls = 0
    while (at := timers.next_at()) is not None:
        now = max(now, at)
        slots = timers.expire(now, budget=1000)
        assert len(slots) <= 1000
        for slot in slots:
            assert now >= index.due_at[slot]
            found[slot] += 1
        calls += 1
    assert set(found) == {1}
    assert 1000 <= calls <= 5000


def test_next_timer_stays_in_the_past_while_the_budget_cuts_the_work() -> None:
    """The queue arms its timer by this; otherwise the rest would wait for the next message."""
    now = 1_000_000_000
    _, timers = _timers([now + 100_000] * 10, now)
    now += 200_000
    assert len(timers.expire(now, budget=4)) == 4
    rest = timers.next_at()
    assert rest is not None
    assert rest <= now
    assert timers.count == 6


# Lanes.


def _served(lanes: Lanes, index: Index, turns: int) -> list[str]:
    """Take turns as the queue does."""
    served = []
    for _ in range(turns):
        if not lanes.ring:
            break
        lane = lanes.ring.popleft()
        lane.queued = False
        lane.pop(index)
        served.append(lane.destination.host)
        lanes.enter(lane)
    return served


def test_a_lane_with_a_million_messages_and_one_with_one_get_equal_turns() -> None:
    """Round robin: the small lane is served second, not last."""
    lanes = _lanes()
    index = Index()
    big, small = lanes.of(destination("big")), lanes.of(destination("small"))
    for n in range(1_000_000):
        big.push(index, index.add(n + 1, big.number, 1), warm=True)
    lanes.enter(big)
    small.push(index, index.add(1 << 40, small.number, 1), warm=True)
    lanes.enter(small)
    assert _served(lanes, index, 4) == ["big", "small", "big", "big"]
    small.push(index, index.add(1 << 41, small.number, 1), warm=True)
    lanes.enter(small)
    assert _served(lanes, index, 2) == ["big", "small"]


def _lane_of(slots: int, *, warm: int) -> tuple[Lane, Index]:
    lanes = _lanes()
    index = Index()
    lane = lanes.of(destination())
    for n in range(slots):
        lane.push(index, index.add(n + 1, lane.number, 1), warm=n < warm)
    return lane, index


def test_lane_is_first_in_first_out_through_warming_and_chilling() -> None:
    """What is in memory is always the beginning of the lane."""
    lane, index = _lane_of(6, warm=2)
    assert lane.cold_slots(index, 2) == [2, 3]
    lane.warmed(index, [2, 3])
    assert [lane.pop(index), lane.pop(index)] == [0, 1]
    assert (lane.warm, lane.first_cold) == (2, 4)
    assert lane.chill(index) == [2, 3]
    assert (lane.warm, lane.first_cold) == (0, 2)
    lane.warmed(index, lane.cold_slots(index, 10))
    assert lane.first_cold == NO_SLOT
    assert [lane.pop(index) for _ in range(4)] == [2, 3, 4, 5]
    assert (lane.head, lane.tail, lane.ready, lane.warm) == (NO_SLOT, NO_SLOT, 0, 0)
    assert lane.idle


def test_lane_waits_for_one_turn_at_most_and_within_its_limit() -> None:
    """A lane is in the ring once; not at all while it may not send or is being read back."""
    lanes = _lanes()
    index = Index()
    lane = lanes.of(destination())
    lanes.enter(lane)
    assert not lanes.ring, "it has nothing"
    lane.push(index, index.add(1, lane.number, 1), warm=False)
    lane.loading = True
    lanes.enter(lane)
    assert not lanes.ring, "nothing of it is in memory"
    lane.loading = False
    lanes.enter(lane)
    lanes.enter(lane)
    assert len(lanes.ring) == 1
    lanes.ring.clear()
    lane.queued = False
    lane.in_flight = lane.limit.value
    lanes.enter(lane)
    assert not lanes.ring, "it has enough in flight"


def test_idle_lane_is_forgotten_unless_something_refers_to_it() -> None:
    """Numbers are used again only when no message, pause or alarm has them."""
    lanes = _lanes()
    names = ["idle", "paused", "alarm", "scheduled", "flying"]
    idle, paused, alarm, scheduled, flying = (lanes.of(destination(name)) for name in names)
    paused.paused_until = 200
    alarm.alarm = 50
    scheduled.scheduled = 1
    flying.in_flight = 1
    lanes.forget_idle(100)
    assert {lane.destination.host for lane in lanes} == set(names[1:])
    new = lanes.of(destination("new"))
    assert new.number == idle.number
    assert lanes.by_number[new.number] is new
    paused.paused_until = alarm.alarm = 0
    lanes.forget_idle(100)
    assert {lane.destination.host for lane in lanes} == {"scheduled", "flying"}
