"""What is remembered of the messages that an operator means."""

from __future__ import annotations

from random import Random

import pytest

from dispatcher.queue.admin.finding import Found
from dispatcher.queue.pending.index import Name


def found_of(*runs: list[Name]) -> Found:
    """What was found in so many looks."""
    found = Found()
    for run in runs:
        found.add(run)
    return found


def test_names_come_in_the_order_of_acceptance() -> None:
    """Also those that lie behind newer ones in the log, as they were copied; of an earlier start
    too."""
    found = found_of([(7, 2), (5, 2)], [], [(9, 2)], [(1, 1), (8, 2)], [(2**40, 2**32 - 1)])
    assert len(found) == 6
    assert list(found.oldest_first()) == [
        (1, 1),
        (5, 2),
        (7, 2),
        (8, 2),
        (9, 2),
        (2**40, 2**32 - 1),
    ]
    assert list(Found().oldest_first()) == []


@pytest.mark.parametrize("seed", range(5))
def test_no_name_is_lost_or_told_twice(seed: int) -> None:
    """However they come."""
    random = Random(seed)
    names = [(position, random.randrange(3)) for position in range(500)]
    random.shuffle(names)
    runs = [names[at : at + 7] for at in range(0, len(names), 7)]
    assert list(found_of(*runs).oldest_first()) == sorted(names)
