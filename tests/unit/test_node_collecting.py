"""Full collections of garbage are kept short."""

from __future__ import annotations

import gc

import pytest

from dispatcher.node.collecting import LONG_SECONDS, Collecting


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
