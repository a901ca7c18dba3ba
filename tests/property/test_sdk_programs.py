"""The engine against random programs, in every regime of crashes, losses and repetitions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import uvloop
from hypothesis import given, settings

from dispatcher.testing.programs import strategies
from dispatcher.testing.programs.comparing import CALM, ROUGH, compare, play_again
from dispatcher.testing.programs.node import Node
from dispatcher.testing.programs.plan import Plan
from dispatcher.testing.programs.player import KINDS
from dispatcher.testing.programs.quiet import silent
from dispatcher.testing.programs.server import Regime
from tests.effort import times

PROGRAMS = times(35)
FEW = times(9)
HOURS_US = 3_600_000_000


@settings(max_examples=PROGRAMS)
@given(strategies.pairs(), strategies.plans())
def test_program_does_the_same_when_everything_that_can_goes_wrong(
    programs: tuple[Node, Node], plan: Plan
) -> None:
    """Whatever crashes, gets lost, comes twice or late: the same commands, steps, states and
    result, cold or warm; and nothing is said by the way."""
    with silent():
        compare(programs, plan)


@settings(max_examples=FEW)
@given(strategies.pairs(), strategies.plans())
def test_program_does_the_same_when_a_host_with_uvloop_goes_on_with_it(
    programs: tuple[Node, Node], plan: Plan
) -> None:
    """Recorded where no loop runs, and played again by an application that is served by uvloop."""

    async def host(rough: Sequence[Regime]) -> None:
        play_again(programs, plan, calm, rough=rough)

    with silent():
        calm = compare(programs, plan, rough=())
        uvloop.run(host(ROUGH[:3]))


@settings(max_examples=FEW)
@given(strategies.pairs(), strategies.plans())
def test_program_does_the_same_when_the_clocks_of_hosts_are_hours_apart(
    programs: tuple[Node, Node], plan: Plan
) -> None:
    """Each activation is on a host whose clock is ahead or behind: what is on record holds, however
    often it is replayed, and by whom."""
    clocks = (-5 * HOURS_US, 0, 3 * HOURS_US, 26 * HOURS_US)
    rough = [dataclasses.replace(regime, clocks=clocks) for regime in ROUGH[:3]]
    with silent():
        compare(programs, plan, calm=dataclasses.replace(CALM, clocks=clocks), rough=rough)


def test_programs_have_every_kind() -> None:
    """A kind of node that is never generated proves nothing."""
    generated = {*strategies.LEAVES, *strategies.ONE, *strategies.TWO, *strategies.SOME}
    assert generated == set(KINDS)
