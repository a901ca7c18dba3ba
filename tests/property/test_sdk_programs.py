"""The engine against random programs, in every regime of crashes, losses and repetitions."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import given, settings

from dispatcher.testing.programs import strategies
from dispatcher.testing.programs.comparing import compare
from dispatcher.testing.programs.node import Node
from dispatcher.testing.programs.plan import Plan
from dispatcher.testing.programs.player import KINDS
from dispatcher.testing.programs.quiet import apart, silent

PROGRAMS = int(os.environ.get("PROGRAMS", "100"))  # by hand: thousands


@pytest.fixture(autouse=True, scope="module")
def _apart() -> Iterator[None]:
    with apart():
        yield


@settings(max_examples=PROGRAMS)
@given(strategies.pairs(), strategies.plans())
def test_program_does_the_same_when_everything_that_can_goes_wrong(
    programs: tuple[Node, Node], plan: Plan
) -> None:
    """Whatever crashes, gets lost, comes twice or late: the same commands, steps, states and
    result, cold or warm; and nothing is said by the way."""
    with silent():
        compare(programs, plan)


def test_programs_have_every_kind() -> None:
    """A kind of node that is never generated proves nothing."""
    generated = {*strategies.LEAVES, *strategies.ONE, *strategies.TWO, *strategies.SOME}
    assert generated == set(KINDS)
