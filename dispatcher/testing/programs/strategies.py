"""Hypothesis strategies for programs and plans."""

from __future__ import annotations

from hypothesis import strategies as st

from dispatcher.testing.programs.node import Node, n
from dispatcher.testing.programs.plan import Batches, Plan

# Without parts, with one, with two, with any number; some more often than others.
LEAVES = (
    *("call", "call", "call", "step", "sleep", "nap", "patch"),
    *("clock", "together", "forgotten", "withdrawn", "callback"),
)
ONE = ("moved_timeout",)
TWO = ("cancel", "background")
SOME = (
    *("sequence", "sequence", "attempt", "attempt", "repeated", "gather", "gather_all", "group"),
    *("first", "wait_all", "as_completed", "shield", "timeout", "wait_for", "semaphore", "queue"),
    *("event", "ensured", "late_cancel", "stubborn", "generator", "managed", "nested"),
)
NUMBERS = st.integers(0, 30)
LEAVES_OF_A_PART = 8


def programs() -> st.SearchStrategy[Node]:
    """Some parts together, each of them a tree."""
    part = st.recursive(_leaves(), _inner, max_leaves=LEAVES_OF_A_PART)
    return _some(st.lists(part, min_size=1, max_size=4))


def pairs() -> st.SearchStrategy[tuple[Node, Node]]:
    """Two calls at a time: where there is room for one body, each drives out the other."""
    return st.tuples(programs(), programs())


def plans() -> st.SearchStrategy[Plan]:
    rarely = st.one_of(st.none(), st.none(), st.none(), st.integers(1, 8))
    return st.builds(
        Plan,
        seed=st.integers(0, 2**20),
        batches=st.sampled_from(Batches),
        cancel_at=rarely,
        refuse_at=rarely,
    )


def _leaves() -> st.SearchStrategy[Node]:
    return st.builds(n, st.sampled_from(LEAVES), NUMBERS)


def _inner(part: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    return st.one_of(
        _some(st.lists(part, min_size=1, max_size=4)),
        st.builds(n, st.sampled_from(ONE), NUMBERS, part),
        st.builds(n, st.sampled_from(TWO), NUMBERS, part, part),
    )


def _some(parts: st.SearchStrategy[list[Node]]) -> st.SearchStrategy[Node]:
    return st.builds(Node, st.sampled_from(SOME), NUMBERS, parts.map(tuple))
