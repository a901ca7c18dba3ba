"""What is pending is lined up, and taken out of line, without holding up anybody."""

from __future__ import annotations

import asyncio
import tracemalloc
from array import array
from itertools import pairwise
from random import Random

import pytest

from dispatcher.core.clock import QueueUs
from dispatcher.core.message import Message
from dispatcher.queue.admin.surface import Cancelled
from dispatcher.queue.lanes.lanes import Lane
from dispatcher.queue.lanes.lineup import Lineup
from dispatcher.queue.pending.index import NO_SLOT
from dispatcher.queue.pending.order import PORTION, in_order
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.records.messages import encode_message, encode_moved
from dispatcher.queue.records.retry import encode_retry
from dispatcher.queue.recovery.replay import Recovery
from dispatcher.queue.registry.idempotency.keys import Keys
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.lanes import lanes_of
from dispatcher.testing.loop import run
from dispatcher.testing.queue import Bench, destination, failed, message, simulate
from tests.unit.test_queue_admin import accepted


@pytest.mark.parametrize("count", [0, 1, PORTION, PORTION + 1, 30_000])
@pytest.mark.parametrize("shape", ["random", "sorted", "equal", "one far away"])
def test_slots_are_sorted_in_portions(count: int, shape: str) -> None:
    """Whatever their keys are like; and no portion is so large that it holds up anybody."""
    keys = array("Q", range(count))
    if shape == "random":
        shuffled = list(keys)
        Random(1).shuffle(shuffled)
        keys = array("Q", shuffled)
    elif shape == "equal":
        keys = array("Q", [7]) * count
    elif shape == "one far away" and count:
        keys[0] = 2**64 - 1
    slots = list(range(count))
    portions = list(in_order(slots, keys, low=min(keys, default=0), high=max(keys, default=0)))
    assert max(map(len, portions), default=0) <= PORTION
    found = [slot for portion in portions for slot in portion]
    assert found == sorted(slots, key=keys.__getitem__)


def _message(number: int) -> Message:
    sent = message(destination(f"{number % 7}.example"))
    sent.incarnation = 5
    sent.position = 1000 + number * 100
    return sent


def _chain(lane: Lane, pending: Pending) -> list[int]:
    slots, slot = [], lane.head
    while slot != NO_SLOT:
        slots.append(slot)
        slot = pending.index.next[slot]
    return slots


def test_messages_are_lined_up_oldest_first_when_some_were_copied() -> None:
    """A copy lies at the end of the log, and its message is as old as before."""

    async def main(clock: SimulatedClock) -> None:
        pending, lanes, keys = Pending(), lanes_of(), await _keys(clock)
        recovery = Recovery(pending, lanes, None, keys)  # type: ignore[arg-type]  # none is in the log
        numbers = list(range(5000))
        moved = [number for number in numbers if number % 3 == 0]
        Random(2).shuffle(moved)
        for number in numbers:
            sent = _message(number)
            recovery.visit(sent.position, encode_message(sent))
        for place, number in enumerate(moved):
            recovery.visit(10_000_000 + place * 100, encode_moved(_message(number), 0))
        await recovery.finish(QueueUs(0), QueueUs(0))
        assert recovery.lined_up == len(numbers)
        for lane in lanes:
            ids = [pending.index.id_position[slot] for slot in _chain(lane, pending)]
            assert ids == sorted(ids)
        assert sum(lane.ready for lane in lanes) == len(numbers)

    run(main)


def test_start_takes_80_bytes_a_message_at_most_when_a_record_was_copied() -> None:
    """Also at its peak: a million messages must not need more memory to start than to wait."""

    async def main(clock: SimulatedClock) -> None:
        count = 20_000
        payloads = [encode_message(_message(number)) for number in range(7)]
        moved = _message(3)
        moved_payload = encode_moved(moved, 0)
        pending, lanes, keys = Pending(), lanes_of(), await _keys(clock)
        tracemalloc.start()
        try:
            recovery = Recovery(pending, lanes, None, keys)  # type: ignore[arg-type]  # none is in the log
            for number in range(count):
                recovery.visit(1000 + number * 100, payloads[number % 7])
            recovery.visit(1000 + count * 100, moved_payload)
            await recovery.finish(QueueUs(0), QueueUs(0))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert pending.index.count == count
        assert peak / count <= 80

    run(main)


def test_start_takes_80_bytes_a_message_at_most_when_all_were_copied() -> None:
    """As after a long time in which nothing could be delivered."""

    async def peak_of(clock: SimulatedClock, count: int) -> int:
        pending, lanes, keys = Pending(), lanes_of(), await _keys(clock)
        numbers = list(range(count))
        Random(3).shuffle(numbers)
        payloads = [encode_moved(_message(number), 0) for number in numbers]
        tracemalloc.start()
        try:
            recovery = Recovery(pending, lanes, None, keys)  # type: ignore[arg-type]  # none is in the log
            for place, payload in enumerate(payloads):
                recovery.visit(100_000_000 + place * 100, payload)
            await recovery.finish(QueueUs(0), QueueUs(0))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert pending.index.count == count
        return peak

    async def main(clock: SimulatedClock) -> None:
        more = await peak_of(clock, 10_000) - await peak_of(clock, 3_000)
        assert more / 7_000 <= 80

    run(main)


def test_others_have_their_turn_when_much_is_lined_up() -> None:
    """The API says how far a start is, so the loop must not be held."""

    async def main(clock: SimulatedClock) -> None:
        pending, lanes, keys = Pending(), lanes_of(), await _keys(clock)
        recovery = Recovery(pending, lanes, None, keys)  # type: ignore[arg-type]  # none is in the log
        payload = encode_message(_message(0))
        retry = encode_retry(_message(1), 2**50, "busy")
        for number in range(20_000):
            recovery.visit(1000 + number * 100, payload)
        recovery.visit(3_000_000, retry)
        seen: list[int] = []

        async def others() -> None:
            while recovery.lined_up < 20_000:
                seen.append(recovery.lined_up)
                await asyncio.sleep(0)

        watching = asyncio.create_task(others())
        await recovery.finish(QueueUs(0), QueueUs(2**51))
        await watching
        steps = [after - before for before, after in pairwise(seen)]
        assert max(steps) <= PORTION

    run(main)


def test_slot_is_taken_out_of_a_lane_wherever_it_is() -> None:
    """In one step, and what is before and behind it stays in order."""
    random = Random(4)
    for _ in range(200):
        pending, lanes = Pending(), lanes_of()
        lane = lanes.of(destination())
        lineup = Lineup(pending, lanes)
        slots = [pending.add(n + 1, 5, lane.number, 1) for n in range(8)]
        warm = random.randrange(9)
        for place, slot in enumerate(slots):
            lane.push(pending.index, slot, warm=place < warm)
        left, in_memory = list(slots), slots[:warm]
        for slot in random.sample(slots, 5):
            lineup.take_out(slot, warm=slot in in_memory)
            pending.remove(slot)
            left.remove(slot)
            in_memory = [one for one in in_memory if one != slot]
            assert _chain(lane, pending) == left
            assert (lane.ready, lane.warm) == (len(left), len(in_memory))
            cold = [one for one in left if one not in in_memory]
            assert lane.first_cold == (cold[0] if cold else NO_SLOT)
            assert lane.tail == (left[-1] if left else NO_SLOT)


def test_slot_is_used_again_when_its_message_was_cancelled_before_it_was_due() -> None:
    """Not before its time has come, because until then a timer leads to it; and then at once."""

    async def test(bench: Bench) -> None:
        first = await accepted(bench, "first")
        slot = bench.deliverer.flying[0].slot
        bench.end(bench.deliverer.flying[0], failed(503))
        await asyncio.sleep(0.01)
        assert await bench.queue.admin.cancel(first) is Cancelled.DONE
        assert bench.queue.figures.count_states()["scheduled"] == 0
        await accepted(bench, "third", "b.example")
        assert slot not in [one.slot for one in bench.deliverer.flying]
        await asyncio.sleep(1)
        assert [target for target, _ in bench.deliverer.started] == ["/first", "/third"]
        await accepted(bench, "fourth", "c.example")
        assert slot in [one.slot for one in bench.deliverer.flying]

    simulate(test)


def test_memory_is_given_back_when_only_cancelled_messages_are_in_timers() -> None:
    """Timers lead nowhere then, and new messages get slots that nothing else leads to."""

    async def test(bench: Bench) -> None:
        bench.queue.pending.index.shrink_above = 0
        ids = [await accepted(bench, f"{n}") for n in range(3)]
        while bench.deliverer.flying:
            bench.end(bench.deliverer.flying[0], failed(503))
            await asyncio.sleep(0.001)
        for message_id in ids:
            assert await bench.queue.admin.cancel(message_id) is Cancelled.DONE
        await asyncio.sleep(0.01)
        assert bench.queue.pending.index.slots == 0
        again = await accepted(bench, "again")
        await asyncio.sleep(1)
        (sent,) = bench.deliverer.flying
        assert sent.wire_id.decode() == again
        assert sent.attempt == 1

    simulate(test, workers=3)


async def _keys(clock: SimulatedClock) -> Keys:
    """Idempotency keys of which none is in the log."""
    bench = Bench(clock)
    await bench.open()
    return bench.queue.keys
