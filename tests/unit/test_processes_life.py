"""The life of a child and of all of them, decided without a process: every row of the table, the
pauses, and with which code the whole ends."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest

from dispatcher.node.processes.fleet import Fleet
from dispatcher.node.processes.life import TABLE, Act, Event, Life, State, Timings

TIMINGS = Timings(
    silence_s=10, first_sign_s=60, abort_s=2, pause_s=0.1, longest_pause_s=5, stop_s=15
)

WAYS = {
    State.WAITING: (),
    State.STARTING: (Event.DUE,),
    State.READY: (Event.DUE, Event.READY),
    State.ABORTED: (Event.DUE, Event.READY, Event.SILENT),
    State.KILLED: (Event.DUE, Event.READY, Event.SILENT, Event.OVERDUE),
    State.STOPPING: (Event.DUE, Event.STOP),
    State.LEAVING: (Event.DUE, Event.STOP, Event.OVERDUE),
    State.ENDED: (Event.STOP,),
}
"""How to come into each state."""


def life_in(state: State, now_s: float = 0) -> Life:
    """A child that has come into this state."""
    life = Life(TIMINGS, now_s)
    for event in WAYS[state]:
        life.on(event, now_s)
    assert life.state is state
    return life


@pytest.mark.parametrize(
    ("state", "event"), list(itertools.product(State, Event)), ids=lambda one: one.value
)
def test_child_goes_where_the_table_says(state: State, event: Event) -> None:
    """And where it has no row, nothing happens: a signal that comes late changes nothing."""
    life = life_in(state)
    after, act = TABLE.get((state, event), (state, None))
    assert life.on(event, 1) is act
    assert life.state is after


def test_every_state_is_left_when_the_process_ends_or_is_to() -> None:
    """There is no state in which a parent waits for ever."""
    for state in set(State) - {State.ENDED}:
        assert (state, Event.EXITED) in TABLE or state is State.WAITING
        assert any(
            TABLE.get((state, event), (state, None))[0] in (State.LEAVING, State.ENDED)
            for event in (Event.ABANDON, Event.EXITED)
        ) or state in (State.ABORTED, State.KILLED)


def test_child_is_started_at_once_and_its_first_sign_has_time() -> None:
    """A busy machine imports for many seconds."""
    life = Life(TIMINGS, 100)
    assert life.on_time(100) is Act.START
    assert life.on_time(159) is None
    assert life.on_time(160) is Act.ABORT


@pytest.mark.parametrize("state", [State.STARTING, State.READY])
def test_child_that_gives_no_sign_is_aborted_and_then_killed(state: State) -> None:
    """10 s after the last one, and 2 s later."""
    life = life_in(state)
    life.on(Event.SIGN, 20)
    assert life.on_time(29.9) is None
    assert life.on_time(30) is Act.ABORT
    assert life.on_time(31.9) is None
    assert life.on_time(32) is Act.KILL
    assert life.on_time(1_000) is None


def test_pauses_double_up_to_the_longest_and_begin_anew_after_a_good_life() -> None:
    """One that cannot live costs little; one that lived for long is back at once."""
    life = Life(TIMINGS, 0)
    now_s = 0.0
    pauses = []
    for _ in range(40):
        assert life.on_time(now_s) is Act.START
        now_s += 1
        life.on(Event.EXITED, now_s)
        assert life.deadline_s is not None
        pauses.append(round(life.deadline_s - now_s, 3))
        now_s = life.deadline_s
    assert pauses[:7] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0]
    assert set(pauses[7:]) == {5.0}
    assert life.on_time(now_s) is Act.START
    life.on(Event.EXITED, now_s + 10)
    assert life.deadline_s == pytest.approx(now_s + 10.1)


def test_child_that_does_not_stop_is_killed() -> None:
    """After its time to drain and to close."""
    life = life_in(State.READY, 0)
    assert life.on(Event.STOP, 5) is Act.TERMINATE
    assert life.on_time(19.9) is None
    assert life.on_time(20) is Act.KILL


def test_time_in_which_the_parent_did_not_run_is_not_held_against_a_child() -> None:
    """But a pause before a restart is over when it is."""
    life = life_in(State.READY, 0)
    life.postpone(100)
    assert life.on_time(109) is None
    waiting = life_in(State.WAITING, 0)
    waiting.postpone(100)
    assert waiting.on_time(1) is Act.START


# All of them


def fleet_of(count: int, ready: Iterable[int] = ()) -> Fleet:
    """Children that were started, and those of them that are ready."""
    fleet = Fleet(count, TIMINGS, 0)
    assert fleet.on_time(0) == [(number, Act.START) for number in range(count)]
    for number in ready:
        fleet.on_ready(number, 1)
    return fleet


def test_whole_is_ready_once_with_the_last_child() -> None:
    """And not again when one that was started again is."""
    fleet = fleet_of(2)
    assert not fleet.on_ready(1, 1)
    assert fleet.on_ready(0, 2)
    fleet.on_exit(0, -9, 3)
    assert fleet.ready == 1
    assert fleet.on_time(3.2) == [(0, Act.START)]
    assert not fleet.on_ready(0, 4)
    assert fleet.ready == 2
    assert fleet.restarts == 1


def test_child_that_is_refused_before_that_ends_the_whole_with_its_code() -> None:
    """The others stop, however they end."""
    fleet = fleet_of(3, ready=[0])
    assert fleet.on_exit(1, 5, 2, is_refused=True) == [(0, Act.TERMINATE), (2, Act.TERMINATE)]
    assert fleet.outcome is None
    fleet.on_exit(0, 0, 3)
    fleet.on_exit(2, 1, 3)
    assert fleet.outcome == 5


@pytest.mark.parametrize(("code", "is_refused"), [(1, False), (-11, False), (0, False)])
def test_child_that_ends_for_no_reason_is_started_again_before_that_too(
    code: int, is_refused: bool
) -> None:
    """The next start may be better."""
    fleet = fleet_of(2)
    assert fleet.on_exit(1, code, 2, is_refused=is_refused) == ()
    assert fleet.on_time(2.2) == [(1, Act.START)]


def test_child_that_is_refused_later_is_tried_again() -> None:
    """The others serve."""
    fleet = fleet_of(2, ready=[0, 1])
    fleet.on_exit(1, -9, 2)
    fleet.on_time(2.2)
    assert fleet.on_exit(1, 4, 3, is_refused=True) == ()
    assert fleet.on_time(3.5) == [(1, Act.START)]
    assert not fleet.is_stopping


@pytest.mark.parametrize(("codes", "outcome"), [((0, 0), 0), ((0, 1), 1), ((-9, 0), 1)])
def test_stop_ends_with_0_where_all_children_do(codes: tuple[int, int], outcome: int) -> None:
    """One that failed or was killed left something undone."""
    fleet = fleet_of(2, ready=[0, 1])
    assert fleet.stop(2) == [(0, Act.TERMINATE), (1, Act.TERMINATE)]
    for number, code in enumerate(codes):
        assert fleet.outcome is None
        fleet.on_exit(number, code, 3)
    assert fleet.outcome == outcome
    assert fleet.on_time(1_000) == []


def test_stop_waits_for_no_child_that_waits_for_its_start() -> None:
    """There is nothing of it."""
    fleet = fleet_of(2, ready=[0, 1])
    fleet.on_exit(1, -9, 2)
    assert fleet.stop(2) == [(0, Act.TERMINATE)]
    fleet.on_exit(0, 0, 3)
    assert fleet.outcome == 0


def test_all_are_well_while_those_that_are_ready_say_so() -> None:
    """A disk that stands still in one of them is for systemd's watchdog, as in a single process;
    one that hangs or starts is not."""
    fleet = fleet_of(2, ready=[0, 1])
    fleet.on_well(0, 20)
    assert not fleet.are_well(10)
    fleet.on_well(1, 15)
    assert fleet.are_well(10)
    fleet.on_exit(1, -9, 30)
    assert fleet.are_well(20)
    assert not fleet.are_well(21)


def test_abandoning_kills_all_at_once() -> None:
    """Those that stop already too."""
    fleet = fleet_of(2, ready=[0, 1])
    fleet.stop(2)
    assert fleet.abandon(3) == [(0, Act.KILL), (1, Act.KILL)]
    fleet.on_exit(0, -9, 3)
    fleet.on_exit(1, -9, 3)
    assert fleet.outcome == 1
