"""The log on a disk that is crashed at every call, and fails at every call."""

from __future__ import annotations

from dispatcher.testing.disk import SimulatedDisk
from dispatcher.txlog.files.span import PLACE_BYTES
from tests.effort import each, times
from tests.simulation.workload import (
    TINY,
    Life,
    State,
    base_seed,
    fault_calls,
    flip_bytes,
)


def test_log_keeps_what_it_confirmed_at_every_crash() -> None:
    """Thousands of crashes, between any two calls: what was confirmed is there, whole batches, in
    order, nothing that was refused, and no crash is taken for damage."""
    seed = base_seed()
    states, lives = 0, 0
    while states < times(3_000):
        life = Life(seed + lives, SimulatedDisk(seed=seed + lives))
        life.live(60)
        states += life.states
        lives += 1
    print(f"{states} crash states in {lives} lives")


def test_log_keeps_what_it_confirmed_when_any_call_fails() -> None:
    """Every call to the disk fails once (failure, no space, no descriptor, no memory, short write,
    and two in a row): the process ends or goes on, and after it nothing confirmed is missing and
    nothing refused is there. It goes on when what was lacking passes and no sync failed."""
    lives, states = fault_calls(base_seed(), 40, stride=each(15))
    print(f"{states} crash states in {lives} lives")
    assert lives > 20


def test_log_keeps_what_it_confirmed_when_the_disk_fills() -> None:
    """With space for two to five segments only, batches are refused and accepted again as segments
    are trimmed away, and all promises hold."""
    seed = base_seed()
    told = []
    for number in range(times(4)):
        space = 2 * PLACE_BYTES + TINY.smallest * (2 + number % 4) + 997 * number
        life = Life(seed + number, SimulatedDisk(seed=seed, capacity_bytes=space), crashes_a_call=1)
        life.live(80)
        told += [batch.state for batch in life.batches]
    assert told.count(State.REFUSED) > 3
    assert told.count(State.CONFIRMED) > 50


def test_log_keeps_what_it_confirmed_while_memory_is_lacking_now_and_then() -> None:
    """However many calls in a row find none, and wherever a segment that was being made or removed
    is left: the process goes on, and all promises hold."""
    seed = base_seed()
    told = []
    for number in range(times(4)):
        life = Life(seed + number, SimulatedDisk(seed=seed), crashes_a_call=1)
        life.disk.lacking = (0.05, 0.2, 0.5)[number % 3]
        life.live(80)
        assert not life.ends
        told += [batch.state for batch in life.batches]
    assert told.count(State.REFUSED) > 3
    assert told.count(State.CONFIRMED) > 50


def test_log_finds_a_damaged_byte_wherever_it_is() -> None:
    """Each byte of a log with several segments is damaged: the start says so, or cuts the last
    batch, or the byte is one that nothing is read from. Never does it hand out wrong records."""
    life = Life(base_seed(), SimulatedDisk(), crashes_a_call=0)
    life.looks_at = range(0)
    life.open()
    while len(life.disk.image()) < 6:
        life.append()
    life.run_jobs()
    life.close()
    seen = flip_bytes(life, each(21))
    print(seen)
    assert seen["damage"] > 300
    assert seen["cut"] > 1
