"""Deadlines of pending messages: those that have passed, each once, and no others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.build import is_compiled
from dispatcher.queue.pending.deadlines import NEVER, Deadlines

S = 1_000_000
SOON = 140_000
"""A deadline that has passed is given so much later at the latest."""


def test_deadline_is_given_soon_after_it_has_passed_and_not_before() -> None:
    """Within the same second too."""
    deadlines = Deadlines()
    deadlines.add(1, 5 * S + 500_000)
    deadlines.add(2, 5 * S + 100_000)
    deadlines.add(3, 9 * S)
    assert deadlines.passed(5 * S + 99_999, 10) == []
    assert deadlines.passed(5 * S + 100_000 + SOON, 10) == [2]
    assert deadlines.passed(5 * S + 500_000 + SOON, 10) == [1]
    assert deadlines.of(3) == 9 * S
    assert deadlines.of(4) == NEVER


def test_slot_that_was_used_again_has_its_new_deadline() -> None:
    """What is left of the old one says nothing."""
    deadlines = Deadlines()
    deadlines.add(1, 5 * S)
    deadlines.remove(1)
    deadlines.remove(1)
    deadlines.add(1, 50 * S)
    assert deadlines.passed(10 * S, 10) == []
    assert deadlines.passed(51 * S, 10) == [1]


def test_slot_comes_again_as_long_as_it_has_its_deadline() -> None:
    """It could not be given up, and can be now."""
    deadlines = Deadlines()
    deadlines.add(1, 5 * S)
    deadlines.again(1, 4 * S)  # it has not passed: it comes at its time
    assert deadlines.passed(4 * S + SOON, 10) == []
    assert deadlines.passed(6 * S, 10) == [1]
    assert deadlines.passed(60 * S, 10) == []
    deadlines.again(1, 60 * S)
    assert deadlines.passed(60 * S, 10) == []
    assert deadlines.passed(60 * S + SOON, 10) == [1]
    deadlines.again(1, 70 * S)
    deadlines.remove(1)
    assert deadlines.passed(100 * S, 10) == []


def test_messages_that_are_done_take_no_space_until_their_deadline() -> None:
    """Which may be years ahead, each in a second of its own or all in one."""
    deadlines = Deadlines()
    deadlines.add(0, S)
    for number in range(10_000):
        deadlines.add(number % 10 + 1, 100 * S * (number % 5000 + 1))
        deadlines.remove(number % 10 + 1)
    assert len(deadlines._heap) < 100
    assert sum(map(len, deadlines._buckets.values())) == 1


def test_look_goes_through_no_more_than_it_gives() -> None:
    """Of very many in one second, some of which have passed and others have not: else each of them
    would be looked at a thousand times before the last one is given up."""
    deadlines = Deadlines()
    for slot in range(20_000):
        deadlines.add(slot, 5 * S + 300_000 + (slot % 2) * 500_000)
    looked_at = 0

    class Counted(dict[int, int]):
        def get(self, slot: int, default: int = 0) -> int:  # type: ignore[override]  # as it is called
            nonlocal looked_at
            looked_at += 1
            return super().get(slot, default)

    deadlines.at = Counted(deadlines.at)
    given_ = 0
    while part := deadlines.passed(5 * S + 600_000, 64):
        given_ += len(part)
    assert given_ == 10_000
    assert looked_at == 10_000 or is_compiled()  # which looks into the dictionary by itself


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20 * S)), max_size=60),
    st.lists(st.tuples(st.integers(0, 22 * S), st.integers(0, 50)), max_size=10),
    st.integers(1, 7),
)
def test_deadlines_are_those_of_a_dictionary(
    added: list[tuple[int, int]], looks: list[tuple[int, int]], most: int
) -> None:
    """However they come, however few are taken at a time, and whatever leaves in between."""
    deadlines = Deadlines()
    model: dict[int, int] = {}
    for slot, at_us in added:
        deadlines.add(slot, at_us)
        model[slot] = at_us
    for now_us, leaves in [*sorted(looks), (23 * S, 99)]:
        found: list[int] = []
        while part := deadlines.passed(now_us, most):
            assert len(part) <= most
            for slot in part:
                assert model.pop(slot) <= now_us
                found.append(slot)
                deadlines.remove(slot)
        assert all(at_us > now_us - SOON for at_us in model.values())
        assert len(found) == len(set(found))
        model.pop(leaves, None)
        deadlines.remove(leaves)
    assert not model
    assert not deadlines.at
    assert not deadlines._buckets
