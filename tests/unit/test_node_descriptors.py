"""How many connections there may be with so many file descriptors."""

from __future__ import annotations

import pytest

from dispatcher.node.descriptors import Share, share


def test_share_gives_the_usual_numbers_when_there_is_plenty() -> None:
    """A limit as servers have it does not restrict anything."""
    expected = Share(10, slow=10_000, calls=200, idle=1024, callers=10_000, operators=1024)
    assert share(65_536, 10, 10_000, 200) == expected


@pytest.mark.parametrize("limit", [100, 256, 1024, 4096, 20_000])
@pytest.mark.parametrize("workers", [1, 10, 64, 500])
def test_share_leaves_room_for_the_logs_and_for_attempts(limit: int, workers: int) -> None:
    """What callers and destinations may take together leaves what the server itself needs."""
    shared = share(limit, workers, limit // 2, 200)
    assert shared.callers >= 1
    assert shared.idle >= 1
    assert shared.operators >= 1
    assert shared.slow >= 1
    assert 1 <= shared.calls <= 200
    assert 1 <= shared.workers <= workers
    taken = shared.callers + shared.idle + shared.operators + shared.slow + shared.workers
    assert taken + shared.calls + 48 <= limit


def test_callers_are_left_some_when_there_are_more_workers_than_descriptors() -> None:
    """`ulimit -n 256` and `WORKER=500`: the workers get less than they ask for."""
    shared = share(256, 500, 128, 200)
    assert shared.workers == 104
    assert shared.callers >= 30
