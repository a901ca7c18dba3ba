"""How many connections there may be with so many file descriptors."""

from __future__ import annotations

import pytest

from dispatcher.node.descriptors import Share, share


def test_share_gives_the_usual_numbers_when_there_is_plenty() -> None:
    """A limit as servers have it does not restrict anything."""
    assert share(65_536, 10) == Share(callers=10_000, idle=1024)


@pytest.mark.parametrize("limit", [100, 256, 1024, 4096, 20_000])
@pytest.mark.parametrize("workers", [1, 10, 64, 500])
def test_share_leaves_room_for_the_logs_and_for_attempts(limit: int, workers: int) -> None:
    """What callers and destinations may take together leaves what the server itself needs."""
    shared = share(limit, workers)
    assert shared.callers >= 1
    assert shared.idle >= 1
    if limit > workers + 50:
        assert shared.callers + shared.idle + workers + 48 <= limit
