"""Full collections of garbage are kept short."""

from __future__ import annotations

import gc

import pytest

from dispatcher.node.collecting import LONG_SECONDS, Collecting, set_aside


@pytest.mark.parametrize(
    ("generation", "seconds", "frozen"),
    [(2, LONG_SECONDS, 1), (2, LONG_SECONDS / 2, 0), (1, 1.0, 0), (0, 1.0, 0)],
)
def test_what_survives_a_long_full_collection_is_set_aside(
    generation: int, seconds: float, frozen: int
) -> None:
    """Nothing is after a short one: most of what is there then goes soon."""
    now = 5.0
    times: list[None] = []
    collecting = Collecting(lambda: now, lambda: times.append(None))
    collecting("start", {"generation": generation})
    now += seconds
    collecting("stop", {"generation": generation, "collected": 0, "uncollectable": 0})
    assert len(times) == frozen


@pytest.mark.parametrize("generation", [0, 1])
def test_no_clock_is_looked_at_for_a_young_collection(generation: int) -> None:
    """There are hundreds a second."""
    looks: list[None] = []

    def now() -> float:
        looks.append(None)
        return 0.0

    collecting = Collecting(now)
    collecting("start", {"generation": generation})
    collecting("stop", {"generation": generation, "collected": 0, "uncollectable": 0})
    assert not looks


def test_the_next_full_collection_does_not_look_at_what_survived_a_long_one() -> None:
    """However many objects there are."""
    seconds = iter([0.0, 1.0, 2.0, 2.0])
    collecting = Collecting(lambda: next(seconds))
    kept = [[number] for number in range(1000)]
    gc.callbacks.append(collecting)
    try:
        before = gc.get_freeze_count()
        gc.collect()
        gc.collect()
        assert gc.get_freeze_count() >= before + len(kept)
    finally:
        gc.callbacks.remove(collecting)
        gc.unfreeze()


def test_a_full_collection_does_not_wait_until_as_much_is_new_as_was_set_aside() -> None:
    """It would hold the loop for all of that: after a start with a million, for 14 ms."""
    full: list[int] = []
    new: list[list[int]] = []
    kept = [[number] for number in range(1_000_000)]

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and info["generation"] == 2:
            full.append(len(new))

    gc.collect()  # from here on it counts those that are kept
    try:
        set_aside()
        gc.callbacks.append(note)
        new.extend([number] for number in range(len(kept) // 5))
        assert full
    finally:
        gc.callbacks.remove(note)
        gc.unfreeze()
