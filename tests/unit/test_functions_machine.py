"""What events mean, where it is easily got wrong."""

from __future__ import annotations

import pytest

from dispatcher.functions.events import (
    CancelAsked,
    Completed,
    Created,
    Dropped,
    Ended,
    Exited,
    Fact,
    Forgotten,
    NewCall,
    Noted,
    Polled,
    Restarted,
    Resuming,
    Retried,
    Sent,
    TailCalled,
)
from dispatcher.functions.model import How, Phase, StateArm
from dispatcher.functions.runs.resuming import Plan, plan_resume
from dispatcher.testing.machine import Bench, a_new, picture

ROOT, CHILD, OTHER = 1, 2, 3
MINUTE_US = 60_000_000


@pytest.fixture
def bench() -> Bench:
    """A machine with one root call."""
    bench = Bench()
    bench.apply(Created("app", (a_new(ROOT),)))
    return bench


def polls(
    bench: Bench,
    key: int,
    *children: NewCall,
    delivered: int = 0,
    was_told: bool = False,
    at_least: int = 1,
    due_us: int = 0,
    error: bytes | None = None,
    keep: tuple[int, ...] = (),
) -> None:
    """The next run of a call ends with a poll."""
    bench.apply(
        Polled(
            key,
            bench.call(key).step,
            delivered,
            was_told,
            StateArm.LEGACY,
            b"state",
            7,
            False,
            children,
            at_least,
            10,
            due_us,
            error,
            keep=keep,
        )
    )


def exits(bench: Bench, key: int, *, is_error: bool = False) -> None:
    """The next run of a call ends it."""
    how = How.FAILED if is_error else How.OK
    bench.apply(Exited(key, bench.call(key).step, how, b"result", is_error, 2000))


def cancels(bench: Bench, key: int, *running: int) -> None:
    bench.apply(CancelAsked(key, b"cancelled", b"was cancelled", 500_000, running))


def completes(bench: Bench, name: str, at_us: int = 2000, expires_us: int = 9000) -> None:
    bench.apply(Completed("app", name, b"done", False, at_us, expires_us))


def sends(bench: Bench, number: int, expires_us: int = 9000) -> None:
    bench.apply(Sent("app", "c", b"value %d" % number, False, expires_us, number))


def results(bench: Bench, key: int) -> list[bytes]:
    return [bench.bytes_at[result.where] for result in bench.call(key).results]


def test_results_wake_who_waits_for_so_many(bench: Bench) -> None:
    """Not before; the order is that in which they became durable."""
    polls(bench, ROOT, a_new(CHILD, 20), a_new(OTHER, 30), at_least=2)
    exits(bench, OTHER)
    assert bench.call(ROOT).phase is Phase.SUSPENDED
    exits(bench, CHILD)
    assert bench.call(ROOT).phase is Phase.DUE
    assert [result.correlation for result in bench.call(ROOT).results] == [30, 20]


def test_child_that_failed_wakes_early(bench: Bench) -> None:
    """And one that failed before the poll does at once."""
    polls(bench, ROOT, a_new(CHILD), a_new(OTHER), at_least=2)
    exits(bench, CHILD, is_error=True)
    assert bench.call(ROOT).phase is Phase.DUE
    polls(bench, ROOT, delivered=0, at_least=2)
    assert bench.call(ROOT).phase is Phase.DUE


def test_resume_that_was_begun_delivers_the_same(bench: Bench) -> None:
    """Whatever comes while it is tried again; the next one delivers the rest."""
    polls(bench, ROOT, a_new(CHILD), a_new(OTHER))
    exits(bench, CHILD)
    bench.apply(Resuming(ROOT, 1, 1))
    exits(bench, OTHER)
    assert plan_resume(bench.call(ROOT)) == Plan(1, must_be_stored=False)
    polls(bench, ROOT, delivered=1)
    assert plan_resume(bench.call(ROOT)) == Plan(1, must_be_stored=False)
    assert [result.child for result in bench.call(ROOT).results] == [OTHER]


def test_result_that_is_kept_stays_until_its_call_begins_anew(bench: Bench) -> None:
    """The other one that was delivered with it goes; a poll that keeps none changes nothing."""
    polls(bench, ROOT, a_new(CHILD, 20), a_new(OTHER, 30), at_least=2)
    exits(bench, CHILD)
    exits(bench, OTHER)
    polls(bench, ROOT, delivered=2, due_us=5000, keep=(OTHER,))
    polls(bench, ROOT, due_us=5000)
    (kept,) = bench.call(ROOT).kept
    assert (kept.child, kept.correlation, bench.bytes_at[kept.where]) == (OTHER, 30, b"result")
    bench.apply(Restarted(ROOT, 3))
    assert bench.call(ROOT).kept == ()


@pytest.mark.parametrize("end", ["exit", "tail_call", "kill", "expire"])
def test_results_that_are_kept_go_with_their_call(bench: Bench, end: str) -> None:
    """Nothing of them is held then: the bench counts."""
    polls(bench, ROOT, a_new(CHILD))
    exits(bench, CHILD)
    polls(bench, ROOT, delivered=1, due_us=5000, keep=(CHILD,))
    match end:
        case "exit":
            exits(bench, ROOT)
        case "tail_call":
            bench.apply(TailCalled(ROOT, 2, "http://b.example", "g", "2", b"other input"))
        case _:
            how = How.EXPIRED if end == "expire" else How.CANCELLED
            bench.apply(Ended(ROOT, how, b"over", 3000, with_children=end == "kill"))
    assert bench.call(ROOT).kept == ()


def test_call_does_not_wait_for_more_than_can_come(bench: Bench) -> None:
    """min_results above what is outstanding; nothing outstanding at all."""
    polls(bench, ROOT, a_new(CHILD), at_least=5)
    exits(bench, CHILD)
    assert bench.call(ROOT).phase is Phase.DUE
    polls(bench, ROOT, delivered=1, at_least=5)
    assert bench.call(ROOT).phase is Phase.DUE
    polls(bench, ROOT, at_least=5, due_us=5000)
    assert bench.call(ROOT).phase is Phase.SUSPENDED


def test_answer_to_an_older_step_means_nothing(bench: Bench) -> None:
    """It came late, or twice."""
    late = Polled(ROOT, 0, 0, False, StateArm.LEGACY, b"late", 9, False, (a_new(9),), 1, 1, 0)
    polls(bench, ROOT, a_new(CHILD))
    before = picture(bench.machine)
    bench.apply(late)
    bench.apply(Exited(ROOT, 0, How.OK, b"late", False, 2000))
    bench.apply(Restarted(ROOT, 0))
    bench.apply(Retried(ROOT, 0, 3, 4000))
    bench.apply(Resuming(ROOT, 0, 1))
    bench.apply(TailCalled(ROOT, 0, "http://b.example", "g", "", b"late"))
    assert picture(bench.machine) == before


def test_tail_call_takes_the_place_and_drops_what_was_called(bench: Bench) -> None:
    """Children go on, and their results are dropped."""
    polls(bench, ROOT, a_new(CHILD), a_new(OTHER))
    exits(bench, CHILD)
    bench.apply(TailCalled(ROOT, 1, "http://b.example", "g", "2", b"other input"))
    call = bench.call(ROOT)
    assert (call.function, call.is_resume, call.results) == ("g", False, ())
    exits(bench, OTHER)
    assert bench.call(ROOT).results == ()
    assert not call.strays


def test_restart_takes_back_children_that_never_ran(bench: Bench) -> None:
    """And forgets them; one that has run goes on, and its result is dropped."""
    polls(bench, ROOT, a_new(CHILD), a_new(OTHER))
    polls(bench, OTHER, due_us=5000)
    bench.apply(Restarted(ROOT, 1))
    assert CHILD not in bench.machine.calls
    assert set(bench.call(ROOT).strays) == {OTHER}
    exits(bench, OTHER)
    assert bench.call(ROOT).results == ()
    assert not bench.call(ROOT).strays


def test_restart_of_a_call_that_is_cleaning_up_ends_it(bench: Bench) -> None:
    """It must not begin anew: it was cancelled."""
    polls(bench, ROOT, due_us=5000)
    cancels(bench, ROOT)
    bench.apply(Restarted(ROOT, 1))
    assert bench.call(ROOT).how is How.CANCELLED


def test_cancelled_call_is_told_once_and_ends_cancelled(bench: Bench) -> None:
    """Whatever its last run says."""
    polls(bench, ROOT, a_new(CHILD))
    cancels(bench, ROOT)
    call = bench.call(ROOT)
    assert (call.phase, call.cancelling, call.expires_us) == (Phase.DUE, True, 500_000)
    assert results(bench, ROOT) == [b"was cancelled"]
    polls(bench, ROOT, delivered=1, was_told=True, due_us=5000)
    assert bench.call(ROOT).error is None
    exits(bench, ROOT)
    assert bench.call(ROOT).how is How.CANCELLED


def test_listener_hears_once_of_each_that_is_asked_to_end(bench: Bench) -> None:
    """Also of what it called, and of what ends by that; not of what is dropped or killed."""
    polls(bench, ROOT, a_new(CHILD))
    polls(bench, CHILD, a_new(OTHER))
    cancels(bench, ROOT)
    cancels(bench, ROOT)
    assert bench.notes.asked == [ROOT, CHILD, OTHER]
    assert bench.notes.gone == [OTHER]


def test_call_that_is_killed_is_not_asked(bench: Bench) -> None:
    """It just ends."""
    bench.apply(Ended(ROOT, How.CANCELLED, b"killed", 9, with_children=True))
    assert bench.notes.asked == []
    assert bench.notes.ended == [ROOT]


def test_call_that_is_cancelled_while_it_runs_is_told_next(bench: Bench) -> None:
    """Also where that run's poll is refused: to clean up goes first."""
    cancels(bench, ROOT, ROOT)
    polls(bench, ROOT, error=b"refused")
    call = bench.call(ROOT)
    assert call.phase is Phase.DUE
    assert call.error is not None
    assert bench.bytes_at[call.error] == b"cancelled"


def test_cancelled_call_that_waits_for_its_first_run_is_gone(bench: Bench) -> None:
    """Of a generation: after a restart there is no state to clean up with."""
    cancels(bench, ROOT)
    assert bench.call(ROOT).how is How.CANCELLED
    bench.apply(Created("app", (a_new(OTHER),)))
    polls(bench, OTHER, due_us=5000)
    bench.apply(Restarted(OTHER, 1))
    cancels(bench, OTHER)
    assert bench.call(OTHER).how is How.CANCELLED


def test_children_of_a_poll_that_came_too_late_are_not_made(bench: Bench) -> None:
    """It was cancelled while it ran, and is told that next. Cleaning up it may call others."""
    cancels(bench, ROOT, ROOT)
    polls(bench, ROOT, a_new(CHILD))
    assert set(bench.machine.calls) == {ROOT}
    polls(bench, ROOT, a_new(OTHER), was_told=True)
    assert set(bench.machine.calls) == {ROOT, OTHER}


def test_cancelled_call_that_waits_for_a_retry_is_told_at_once(bench: Bench) -> None:
    """It has half a minute, and its retry may be later."""
    polls(bench, ROOT, due_us=5000)
    bench.machine.time_has_come(bench.call(ROOT))
    bench.apply(Retried(ROOT, 1, 3, 60 * MINUTE_US))
    cancels(bench, ROOT)
    assert bench.call(ROOT).due_us == 0


def test_cancelled_first_run_that_failed_is_not_made_again(bench: Bench) -> None:
    """It would do its work, and nobody wants it."""
    cancels(bench, ROOT, ROOT)
    bench.apply(Retried(ROOT, 0, 1, 5000))
    assert bench.call(ROOT).how is How.CANCELLED


def drops(bench: Bench, key: int, *children: int, running: tuple[int, ...] = ()) -> None:
    bench.apply(Dropped(key, children, b"cancelled", b"was cancelled", 500_000, running))


def test_children_that_are_dropped_are_asked_to_end_and_bring_nothing(bench: Bench) -> None:
    """Neither those that end at once nor those that clean up; others do."""
    polls(bench, ROOT, a_new(CHILD), a_new(OTHER), a_new(4), a_new(5, endpoint="promise:p"))
    polls(bench, CHILD, a_new(6))
    drops(bench, ROOT, CHILD, 4, 5, running=(4,))
    assert set(bench.machine.calls) == {ROOT, CHILD, OTHER, 4}
    assert bench.call(ROOT).phase is Phase.SUSPENDED
    assert bench.call(CHILD).phase is Phase.DUE
    assert bench.call(4).cancelling
    exits(bench, CHILD)
    exits(bench, 4)
    assert results(bench, ROOT) == []
    assert not bench.call(ROOT).strays
    exits(bench, OTHER)
    assert results(bench, ROOT) == [b"result"]


def test_call_that_waited_only_for_what_it_dropped_is_resumed(bench: Bench) -> None:
    """With what there is; one that has a time waits for that."""
    polls(bench, ROOT, a_new(CHILD), a_new(OTHER), at_least=2)
    exits(bench, OTHER)
    drops(bench, ROOT, CHILD)
    assert bench.call(ROOT).phase is Phase.DUE
    bench.apply(Created("app", (a_new(4),)))
    polls(bench, 4, a_new(5), due_us=5000)
    drops(bench, 4, 5)
    assert bench.call(4).phase is Phase.SUSPENDED


def test_children_are_dropped_after_their_parent_has_ended(bench: Bench) -> None:
    """Those that are there; what is told twice means nothing."""
    polls(bench, ROOT, a_new(CHILD), a_new(OTHER))
    polls(bench, CHILD, a_new(4), a_new(5))
    exits(bench, CHILD)
    drops(bench, CHILD, 4)
    assert set(bench.machine.calls) == {ROOT, OTHER, 5}
    exits(bench, ROOT)
    drops(bench, ROOT, CHILD, OTHER)
    drops(bench, ROOT, CHILD, OTHER)
    assert set(bench.machine.calls) == {ROOT, 5}


def test_child_of_a_former_life_brings_nothing(bench: Bench) -> None:
    """A dead call that is run again has the same key, and begins with no children."""
    polls(bench, ROOT, a_new(CHILD))
    exits(bench, ROOT, is_error=True)
    bench.apply(Forgotten((ROOT,)))
    bench.apply(Created("app", (a_new(ROOT),)))
    exits(bench, CHILD)
    assert bench.call(ROOT).results == ()


def test_promise_is_completed_late_or_early(bench: Bench) -> None:
    """Whoever waits gets it, and who comes later, until it expires."""
    polls(bench, ROOT, a_new(CHILD, endpoint="promise:p"), a_new(OTHER, endpoint="promise:p"))
    assert bench.call(CHILD).phase is Phase.OUTSIDE
    completes(bench, "p")
    assert results(bench, ROOT) == [b"done", b"done"]
    polls(bench, ROOT, a_new(4, endpoint="promise:p"), delivered=2)
    assert results(bench, ROOT) == [b"done"]


def test_call_fails_where_what_came_from_outside_is_an_error(bench: Bench) -> None:
    """As one that an application has ended with an error."""
    bench.apply(Created("app", (a_new(OTHER, endpoint="promise:p"),)))
    bench.apply(Completed("app", "p", b"refused", True, 1000, 9000))
    assert (bench.call(OTHER).how, bench.call(OTHER).is_error) == (How.FAILED, True)


def test_root_call_that_waits_outside_may_end_before(bench: Bench) -> None:
    """And what completes it then completes nothing."""
    bench.apply(
        Created("app", (a_new(OTHER, endpoint="promise:p"), a_new(4, endpoint="channel:c")))
    )
    bench.apply(Ended(OTHER, How.EXPIRED, b"expired", 2000))
    cancels(bench, 4)
    completes(bench, "p")
    sends(bench, 1)
    assert bench.call(OTHER).how is How.EXPIRED
    assert bench.call(4).how is How.CANCELLED
    assert not bench.machine.waiting
    assert len(bench.machine.channels["app", "channel:c"]) == 1


def test_values_of_a_channel_are_given_once_in_their_order(bench: Bench) -> None:
    """To who waits, in turn."""
    sends(bench, 1)
    sends(bench, 2)
    children = [a_new(key, endpoint="channel:c") for key in (10, 11, 12)]
    polls(bench, ROOT, *children, at_least=3)
    assert results(bench, ROOT) == [b"value 1", b"value 2"]
    sends(bench, 3)
    assert results(bench, ROOT) == [b"value 1", b"value 2", b"value 3"]
    assert not bench.machine.channels


def test_value_that_has_expired_is_not_given(bench: Bench) -> None:
    """Whether it was forgotten already must not matter: after a crash it was not."""
    sends(bench, 1, expires_us=1000)
    sends(bench, 2, expires_us=1001)
    polls(bench, ROOT, a_new(CHILD, endpoint="channel:c"))
    assert results(bench, ROOT) == [b"value 2"]


def test_what_expired_is_kept_for_events_on_their_way(bench: Bench) -> None:
    """A minute; then facts, promises and values are forgotten."""
    bench.apply(Noted((Fact("s", "n", b"v", 9000), Fact("s", "for ever", b"v"))))
    completes(bench, "p")
    sends(bench, 1)
    machine = bench.machine
    machine.forget_expired(9000 + MINUTE_US - 1)
    assert (len(machine.facts), len(machine.promises), len(machine.channels)) == (2, 1, 1)
    machine.forget_expired(9000 + MINUTE_US)
    assert (len(machine.facts), len(machine.promises), len(machine.channels)) == (1, 0, 0)
    bench.tally.check(machine)


def test_killed_call_ends_with_all_below(bench: Bench) -> None:
    """Also what runs for an older generation."""
    polls(bench, ROOT, a_new(CHILD), a_new(OTHER))
    polls(bench, CHILD, a_new(4))
    bench.apply(TailCalled(ROOT, 1, "http://b.example", "g", "", b"input"))
    polls(bench, ROOT, a_new(5, endpoint="promise:p"))
    bench.apply(Ended(ROOT, How.CANCELLED, b"killed", 2000, with_children=True))
    assert set(bench.machine.calls) == {ROOT}
    assert bench.call(ROOT).phase is Phase.ENDED
    assert not bench.machine.waiting


def test_children_go_on_after_their_parent(bench: Bench) -> None:
    """And nobody gets their results."""
    polls(bench, ROOT, a_new(CHILD), a_new(OTHER))
    exits(bench, ROOT)
    exits(bench, CHILD)
    assert CHILD not in bench.machine.calls
    bench.apply(Forgotten((ROOT,)))
    exits(bench, OTHER)
    assert not bench.machine.calls


def test_size_of_a_tree_is_known_until_its_last_call_is_gone(bench: Bench) -> None:
    """Calls go on below a root that is forgotten, and count; then nothing of it is left."""
    polls(bench, ROOT, a_new(CHILD))
    exits(bench, ROOT)
    bench.apply(Forgotten((ROOT,)))
    polls(bench, CHILD, a_new(OTHER))
    assert bench.machine.trees == {ROOT: 3}
    exits(bench, CHILD)
    exits(bench, OTHER)
    assert not bench.machine.trees
    assert not bench.machine._table._below


def test_large_fan_out_wakes_with_its_last_result(bench: Bench) -> None:
    """5 000 of 5 000: more than a tuple of keys holds."""
    children = [a_new(key) for key in range(10, 5010)]
    polls(bench, ROOT, *children, at_least=5000)
    check, bench.tally.check = bench.tally.check, lambda machine: None  # type: ignore[method-assign]  # checked at the end only: it takes long
    for child in children:
        assert bench.call(ROOT).phase is Phase.SUSPENDED
        exits(bench, child.key)
    assert bench.call(ROOT).phase is Phase.DUE
    check(bench.machine)
