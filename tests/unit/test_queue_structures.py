"""Index, extents, slot map, timers and lanes: the arrays under the queue."""

from __future__ import annotations

import tracemalloc
from array import array
from random import Random

import pytest

from dispatcher.core.clock import QueueUs
from dispatcher.queue.lanes.lanes import RISK, Lane
from dispatcher.queue.lanes.lineup import Lineup
from dispatcher.queue.lanes.turns import Turns
from dispatcher.queue.pending.extents import Extents
from dispatcher.queue.pending.index import NO_SLOT, Index
from dispatcher.queue.pending.owned import owned_sizes
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.pending.slotmap import SlotMap
from dispatcher.queue.pending.timers import TICK_US, Timers
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.records.kinds import OVERHEAD_BYTES
from dispatcher.testing.lanes import lanes_and_turns, lanes_of
from dispatcher.testing.queue import destination

A_DAY_US = 86_400_000_000


INCARNATION = 0xDEADBEEF

# Index and extents.


def test_a_waiting_message_takes_64_bytes_at_most() -> None:
    """Ten million messages wait in less than a gigabyte."""
    lanes = lanes_of()
    pending = Pending()
    lane = lanes.of(destination())
    count = 50_000
    tracemalloc.start()
    try:
        for n in range(count):
            slot = pending.add(4096 + n * 1100, INCARNATION, lane.number, 1100)
            lane.push(pending.index, slot, warm=False)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size / count <= 64


def test_index_uses_free_slots_again() -> None:
    """A slot that was freed starts as if it were new."""
    index = Index()
    first = index.add(10, INCARNATION, 1, 100)
    second = index.add(20, INCARNATION, 2, 200)
    index.retry[first] = 99
    index.attempts[first] = 3
    index.due_at[first] = 5
    assert index.live_bytes == 300
    index.remove(first)
    assert index.count == 1
    assert index.live_bytes == 200
    assert not index.holds(first, 10, INCARNATION)
    again = index.add(30, INCARNATION, 3, 50)
    assert again == first
    assert (index.retry[again], index.attempts[again], index.due_at[again]) == (0, 0, 0)
    assert index.holds(again, 30, INCARNATION)
    assert not index.holds(again, 10, INCARNATION)
    assert index.holds(second, 20, INCARNATION)
    assert index.count == 2


def test_slots_of_a_past_backlog_are_in_nobodys_way() -> None:
    """When memory is given back, extents must not lead to slots that are not there any more."""
    lanes = lanes_of()
    pending = Pending()
    lane = lanes.of(destination())
    slots = [pending.add(position, INCARNATION, lane.number, 10) for position in range(1, 6001)]
    for slot in slots:
        pending.remove(slot)
    pending.shrink()
    assert pending.index.slots == 0
    assert pending.find(6000, INCARNATION) == -1
    assert not pending.index.holds(5999, 6000, INCARNATION)
    slot = pending.add(7000, INCARNATION, lane.number, 10)
    assert pending.find(7000, INCARNATION) == slot
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


def test_owned_sizes_add_up_to_the_body() -> None:
    """What is counted for a large body is what it takes, whatever its pieces were."""
    for body_size, count in ((CHUNK_BYTES * 2 + 5, 3), (CHUNK_BYTES, 1), (1, 1), (100, 7)):
        sizes = [size for _, size in owned_sizes(array("Q", range(count)), body_size)]
        assert sum(sizes) == body_size + count * OVERHEAD_BYTES
        assert min(sizes) >= OVERHEAD_BYTES


def test_slot_may_own_more_records_later() -> None:
    """Each counts where it lies, with what it takes, until the slot ends; those that are copied are
    copied with the others."""
    pending = Pending()
    slot = pending.add(3, INCARNATION, 0, 10)
    far = 1 << 40  # in another extent
    for position in (4, far, far + 100, far + 200, far + 300, far + 400):
        pending.extents.note(position, 40)
    pending.owned.own(slot, array("Q", [4]), CHUNK_BYTES)
    first = pending.owned.positions(slot)
    pending.owned.own(slot, array("Q", [far, far + 100]), 30)
    assert list(first) == [4], "who reads them is not disturbed"
    assert list(pending.owned.positions(slot)) == [4, far, far + 100]
    near, other = pending.extents.of(4), pending.extents.of(far)
    assert near.owners == {slot: CHUNK_BYTES + OVERHEAD_BYTES}
    assert other.owners == {slot: 30 + 2 * OVERHEAD_BYTES}
    assert pending.index.live_bytes == 10 + CHUNK_BYTES + 30 + 3 * OVERHEAD_BYTES
    pending.owned.move(slot, array("Q", [far + 200, far + 300, far + 400]))
    assert not near.owners
    assert other.owners == {slot: CHUNK_BYTES + 30 + 3 * OVERHEAD_BYTES}
    pending.remove(slot)
    assert pending.index.live_bytes == 0
    assert not other.owners
    assert not pending.owned.by_slot


def test_large_body_is_found_where_it_was_copied_until_its_attempt_ends() -> None:
    """Who reads a body that is copied at the same time finds it; nothing is remembered for ever."""
    lanes = lanes_of()
    pending = Pending()
    lane = lanes.of(destination())
    for position in (1, 2):
        pending.extents.note(position, 40)
    slot = pending.add(3, INCARNATION, lane.number, 10)
    pending.owned.own(slot, array("Q", [1, 2]), 16)
    for position in (4, 5, 6, 7):
        pending.extents.note(position, 40)
    pending.owned.move(slot, array("Q", [4, 5]))
    assert not pending.owned.relocated, "nobody reads it"
    pending.index.state[slot] = 3
    pending.owned.move(slot, array("Q", [6, 7]))
    assert pending.owned.relocated == {4: 6, 5: 7}
    Lineup(pending, lanes).schedule(slot, QueueUs(100), QueueUs(50))
    assert not pending.owned.relocated
    pending.index.state[slot] = 3
    pending.owned.move(slot, array("Q", [8, 9]))
    pending.remove(slot)
    assert not pending.owned.relocated
    assert not pending.owned.by_slot
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
            model[position] = index.add(position, INCARNATION, 0, 1)
            slots.add(model[position])
            slots.add(model[position])
        assert slots.count == len(model)
    for key, slot in model.items():
        assert slots.find(key, 0) == slot
    assert slots.find(position + 1, 0) == -1
    for slot in model.values():
        slots.discard(slot)
        slots.discard(slot)
    assert slots.count == 0


@pytest.mark.parametrize("count", [0, 1, 5_000])
def test_a_map_that_is_filled_at_once_is_as_one_that_grew(count: int) -> None:
    """Everything is found, and it goes on as usual."""
    index = Index()
    for n in range(count):
        index.add(7 + n * 1100, INCARNATION, 0, 1)
    slots = SlotMap(index)
    slots.fill(range(count))
    assert slots.count == count
    assert [slots.find(index.id_position[n], 0) for n in range(count)] == list(range(count))
    for slot in range(0, count, 2):
        slots.discard(slot)
    slots.add(index.add(3, INCARNATION, 0, 1))
    assert slots.count == count // 2 + 1
    assert slots.find(3, 0) == count


# Timers.


def _timers(dues: list[int], now_us: int) -> tuple[Index, Timers]:
    index = Index()
    timers = Timers(index)
    for due in dues:
        slot = index.add(1, INCARNATION, 0, 1)
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


def test_a_crowd_of_timers_expires_in_small_steps() -> None:
    """A crowd that is due at one moment does not stop the loop: each call has a budget, and says
    by `next_at` that there is more."""
    now = 1_704_067_200_000_000
    due = now + 3_600_000_000
    index, timers = _timers([due] * 50_000, now)
    found = bytearray(50_000)
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
    assert 50 <= calls <= 250


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


def _served(turns: Turns, index: Index, count: int) -> list[str]:
    """Take turns as the queue does."""
    served = []
    for _ in range(count):
        found = turns.next()
        if found is None:
            break
        lane, _ = found
        lane.pop(index)
        served.append(lane.destination.host)
        turns.enter(lane)
    return served


def test_a_lane_with_many_messages_and_one_with_one_get_equal_turns() -> None:
    """Round robin: the small lane is served second, not last."""
    lanes, turns = lanes_and_turns()
    index = Index()
    big, small = lanes.of(destination("big")), lanes.of(destination("small"))
    for n in range(10_000):
        big.push(index, index.add(n + 1, INCARNATION, big.number, 1), warm=True)
    turns.enter(big)
    small.push(index, index.add(1 << 40, INCARNATION, small.number, 1), warm=True)
    turns.enter(small)
    assert _served(turns, index, 4) == ["big", "small", "big", "big"]
    small.push(index, index.add(1 << 41, INCARNATION, small.number, 1), warm=True)
    turns.enter(small)
    assert _served(turns, index, 2) == ["big", "small"]


def _lane_of(slots: int, *, warm: int) -> tuple[Lane, Index]:
    lanes = lanes_of()
    index = Index()
    lane = lanes.of(destination())
    for n in range(slots):
        lane.push(index, index.add(n + 1, INCARNATION, lane.number, 1), warm=n < warm)
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
    """A lane waits in one place; in none while it may not send or is being read back."""
    lanes, turns = lanes_and_turns()
    index = Index()
    lane = lanes.of(destination())
    turns.enter(lane)
    assert not turns.waiting, "it has nothing"
    lane.push(index, index.add(1, INCARNATION, lane.number, 1), warm=False)
    lane.loading = True
    turns.enter(lane)
    assert not turns.waiting, "nothing of it is in memory"
    lane.loading = False
    turns.enter(lane)
    turns.enter(lane)
    assert turns.next() == (lane, RISK)
    assert turns.next() is None
    lane.peer.in_flight = lane.peer.limit.value
    turns.enter(lane)
    assert not turns.waiting, "it has enough in flight"


def test_idle_lane_is_forgotten_unless_something_refers_to_it() -> None:
    """Numbers are used again only when no message, pause or alarm has them."""
    lanes = lanes_of()
    names = ["idle", "paused", "alarm", "scheduled", "away", "flying"]
    idle, paused, alarm, scheduled, away, flying = (lanes.of(destination(name)) for name in names)
    away.away = 1
    paused.peer.paused_until = 200
    alarm.peer.alarm = 50
    scheduled.scheduled = 1
    flying.peer.in_flight = 1
    lanes.forget(list(lanes), 100)
    assert {lane.destination.host for lane in lanes} == set(names[1:])
    new = lanes.of(destination("new"))
    assert new.number == idle.number
    assert lanes.by_number[new.number] is new
    paused.peer.paused_until = alarm.peer.alarm = 0
    lanes.forget(list(lanes), 100)
    assert {lane.destination.host for lane in lanes} == {"scheduled", "away", "flying"}
    parts = list(lanes.in_parts(2))
    assert max(map(len, parts)) <= 2
    assert sorted(lane.number for part in parts for lane in part) == sorted(
        lane.number for lane in lanes
    )
