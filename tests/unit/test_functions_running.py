"""Calls are run when they are due, one run at a time, and what is answered is stored or asked for
again."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from dispatcher.core.clock import SystemClock
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.core.room import Rooms
from dispatcher.core.tenure import Tenure
from dispatcher.functions import errors
from dispatcher.functions.deciding.decisions import Decision
from dispatcher.functions.events import (
    CancelAsked,
    Ended,
    Event,
    Resuming,
    Retried,
)
from dispatcher.functions.ids import call_id
from dispatcher.functions.model import Call, How, Phase
from dispatcher.functions.rules import Rules
from dispatcher.protocol.messages import RunRequest
from dispatcher.protocol.statuses import Status
from dispatcher.testing import loop
from dispatcher.testing.application import (
    ENDPOINT,
    FakeApplication,
    Reply,
    Running,
    an_any,
    exits,
    fails,
    polls,
)
from dispatcher.testing.clock import SimulatedClock

LOST = AttemptResult(None, Failure.CONNECTION, "reset", 1, was_sent=True)
RULES = Rules(retry_delay_ms=1000, retry_max_delay_ms=8000)


def script(*replies: Reply) -> Callable[[RunRequest], Reply]:
    """Answer with these, one after the other."""
    left: Iterator[Reply] = iter(replies)
    return lambda request: next(left)


def each(**functions: Callable[[RunRequest], Reply]) -> Callable[[RunRequest], Reply]:
    """Answer by the name of the function."""
    return lambda request: functions[request.function](request)


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


async def ask_to_end(running: Running, call: Call) -> None:
    """Cancel a call, which has 30 seconds from now on."""
    until_us = running.clock.wall_us() + 30_000_000
    error, result = errors.cancelled_error("f"), errors.cancelled("f")
    under_way = tuple(running.runner.running)
    await running.store.stored(CancelAsked(call.key, error, result, until_us, under_way))


def test_call_is_run_and_its_result_is_stored() -> None:
    """What is sent names the call; what comes back is its result."""

    async def main(clock: SimulatedClock) -> None:
        application = FakeApplication(script(exits(b"42")))
        running = Running(application, clock)
        (call,) = await running.dispatch("f")
        await running.until(lambda: call.phase is Phase.ENDED)
        (request,) = application.requests
        identity = call_id(1, call.key)
        assert (request.dispatch_id, request.root_dispatch_id) == (identity, identity)
        assert request.parent_dispatch_id == ""
        assert request.function == "f"
        assert request.input == an_any(b"f")
        assert request.creation_time.seconds == call.created_us // 1_000_000
        assert request.expiration_time.seconds == call.expires_us // 1_000_000
        assert running.result_of(call).output == an_any(b"42")
        assert call.how is How.OK
        assert running.runner.running == frozenset()
        await running.stop()

    loop.run(main)


def test_crowd_of_calls_that_had_their_turns_leaves_no_memory_behind() -> None:
    """Where thousands waited is given back when none does."""
    count = 600

    async def main(clock: SimulatedClock) -> None:
        application = FakeApplication(lambda request: polls(wait_s=3600))
        running = Running(application, clock)
        running.turns.hold(ENDPOINT, True)
        gc.collect()
        tracemalloc.start()
        try:
            await running.dispatch(*["f"] * count)
            assert running.runner.waiting == count
            assert in_runner() / count > 20
            running.turns.hold(ENDPOINT, False)
            await running.until(lambda: len(application.requests) == count)
            assert running.runner.waiting == 0
            assert in_runner() / count < 2
        finally:
            tracemalloc.stop()
        await running.stop()

    loop.run(main)


def in_runner() -> int:
    """Bytes that the runner has allocated for what waits, and are still there."""
    gc.collect()
    of_runner = tracemalloc.Filter(True, "*/functions/runs/running.py")
    snapshot = tracemalloc.take_snapshot().filter_traces([of_runner])
    return sum(one.size for one in snapshot.statistics("filename"))


def test_no_run_begins_while_it_is_unsure_whose_the_partition_is() -> None:
    """The call waits as long, and no attempt is spent."""

    async def main(clock: SimulatedClock) -> None:
        tenure = Tenure()
        application = FakeApplication(script(exits(b"42")))
        running = Running(application, clock, tenure=tenure)
        tenure.bound(0.0)
        (call,) = await running.dispatch("f")
        await asyncio.sleep(5)
        assert not application.requests
        assert call.phase is Phase.DUE
        tenure.bound(float("inf"))
        await running.until(lambda: call.phase is Phase.ENDED)
        (request,) = application.requests
        assert request.function == "f"
        assert kinds(running.store.events) == ["Created", "Exited"]
        await running.stop()

    loop.run(main)


def test_input_that_is_still_in_memory_is_not_read_back() -> None:
    """Most calls are run right after they were stored."""

    async def main(clock: SimulatedClock) -> None:
        application = FakeApplication(script(exits()))
        running = Running(application, clock)
        (call,) = await running.dispatch("f")
        await running.until(lambda: call.phase is Phase.ENDED)
        assert application.requests[0].input == an_any(b"f")
        assert running.store.reads == 0
        await running.stop()

    loop.run(main)


def test_children_run_and_their_results_resume_the_parent() -> None:
    """With the state and the correlations that it gave, and the ids of the children."""

    async def main(clock: SimulatedClock) -> None:
        application = FakeApplication(
            each(
                parent=script(polls("a", "b", state=b"s1", min_results=2), exits(b"all")),
                a=script(exits(b"A")),
                b=script(fails(Status.PERMANENT_ERROR)),
            )
        )
        running = Running(application, clock)
        (call,) = await running.dispatch("parent")
        await running.until(lambda: call.phase is Phase.ENDED)
        first, *children, last = application.requests
        assert {child.function for child in children} == {"a", "b"}
        assert all(child.parent_dispatch_id == first.dispatch_id for child in children)
        assert all(child.root_dispatch_id == first.dispatch_id for child in children)
        assert last.poll_result.typed_coroutine_state == an_any(b"s1")
        by_correlation = {one.correlation_id: one for one in last.poll_result.results}
        ids = {child.function: child.dispatch_id for child in children}
        assert by_correlation[1].output == an_any(b"A")
        assert by_correlation[1].dispatch_id == ids["a"]
        assert by_correlation[2].error.type == "ValueError"
        assert by_correlation[2].dispatch_id == ids["b"]
        assert running.store.reads == 0  # all of it was in memory
        await running.stop()

    loop.run(main)


def test_failed_runs_are_made_again_later_and_later() -> None:
    """Byte for byte the same, and counted."""

    async def main(clock: SimulatedClock) -> None:
        application = FakeApplication(
            script(LOST, fails(Status.TEMPORARY_ERROR), fails(Status.THROTTLED), exits())
        )
        running = Running(application, clock, rules=RULES)
        (call,) = await running.dispatch("f")
        await running.until(lambda: call.phase is Phase.ENDED, 60)
        gaps = [b - a for a, b in zip(application.times, application.times[1:], strict=False)]
        assert [round(gap) for gap in gaps] == [1, 2, 4]
        assert len({message.body for message in application.messages}) == 1
        assert [message.attempt for message in application.messages] == [1, 2, 3, 4]
        assert kinds(running.store.events) == ["Created", *["Retried"] * 3, "Exited"]
        await running.stop()

    loop.run(main)


def test_first_run_waits_for_its_time() -> None:
    """CALL_START_DELAY, a delay that was asked for."""

    async def main(clock: SimulatedClock) -> None:
        application = FakeApplication(script(exits()))
        running = Running(application, clock)
        await running.dispatch("f", not_before_us=running.clock.wall_us() + 5_000_000)
        await asyncio.sleep(4.9)
        assert application.requests == []
        await asyncio.sleep(0.2)
        assert len(application.requests) == 1
        await running.stop()

    loop.run(main)


def test_time_resumes_a_call_that_sleeps() -> None:
    """With nothing but its state."""

    async def main(clock: SimulatedClock) -> None:
        application = FakeApplication(script(polls(wait_s=30), exits()))
        running = Running(application, clock)
        (call,) = await running.dispatch("f")
        await running.until(lambda: call.phase is Phase.SUSPENDED)
        await asyncio.sleep(29)
        assert len(application.requests) == 1
        await asyncio.sleep(2)
        assert len(application.requests[1].poll_result.results) == 0
        assert call.phase is Phase.ENDED
        await running.stop()

    loop.run(main)


@pytest.mark.parametrize("what", ["suspended", "retried", "running", "delayed"])
def test_calls_expire_whatever_they_wait_for(what: str) -> None:
    """Their result is an error of type Expired, and an answer that comes later means nothing."""

    async def main(clock: SimulatedClock) -> None:
        replies: dict[str, Reply] = {
            "suspended": polls(wait_s=1000),
            "retried": fails(Status.TEMPORARY_ERROR),
            "running": None,
        }
        application = FakeApplication(lambda request: replies[what])
        running = Running(application, clock, rules=RULES)
        now_us = running.clock.wall_us()
        (call,) = await running.dispatch(
            "f",
            expires_us=now_us + 10_000_000,
            not_before_us=now_us + 20_000_000 if what == "delayed" else 0,
        )
        await asyncio.sleep(9.9)
        assert call.phase is not Phase.ENDED
        await asyncio.sleep(0.2)
        assert call.how is How.EXPIRED
        assert running.result_of(call).error.type == errors.EXPIRED
        runs = len(application.requests)
        for message in application.held:
            application.tell(message, exits())
        await asyncio.sleep(20)
        assert len(application.requests) == runs
        assert call.how is How.EXPIRED
        assert sum(isinstance(event, Ended) for event in running.store.submitted) == 1
        assert running.runner.running == frozenset()
        await running.stop()

    loop.run(main)


def test_results_of_a_resume_are_frozen_before_it_is_sent() -> None:
    """Sent again it is the same, although more results have come."""

    async def main(clock: SimulatedClock) -> None:
        application = FakeApplication(
            each(
                parent=script(polls("a", "b"), LOST, polls(), exits()),
                a=script(exits(b"A")),
                b=script(None),
            )
        )
        running = Running(application, clock, rules=RULES)
        (call,) = await running.dispatch("parent")
        await running.until(lambda: call.attempts == 1)
        (resuming,) = [one for one in running.store.events if isinstance(one, Resuming)]
        assert resuming.count == 1
        (held,) = application.held
        application.tell(held, exits(b"B"))
        await running.until(lambda: call.phase is Phase.ENDED)
        sent = [one for one in application.messages if b"parent" in one.body]
        assert sent[1].body == sent[2].body
        last = application.requests[-1].poll_result.results
        assert [one.output for one in last] == [an_any(b"B")]
        await running.stop()

    loop.run(main)


def test_nothing_is_frozen_where_nothing_more_can_come() -> None:
    """The one child has ended: no record for that."""

    async def main(clock: SimulatedClock) -> None:
        application = FakeApplication(each(parent=script(polls("a"), exits()), a=script(exits())))
        running = Running(application, clock)
        (call,) = await running.dispatch("parent")
        await running.until(lambda: call.phase is Phase.ENDED)
        assert kinds(running.store.events) == ["Created", "Polled", "Exited", "Exited"]
        await running.stop()

    loop.run(main)


def test_full_disk_stops_runs_but_loses_no_end() -> None:
    """A poll that is refused is asked for again when there may be space; an exit is stored."""

    async def main(clock: SimulatedClock) -> None:
        application = FakeApplication(
            each(polling=script(*[polls(wait_s=1)] * 10, exits()), exiting=script(exits()))
        )
        running = Running(application, clock, rules=RULES)
        polling, exiting = await running.dispatch("polling", "exiting")
        running.store.is_full = True
        await running.until(lambda: exiting.phase is Phase.ENDED)
        await asyncio.sleep(20)
        assert polling.step == 0
        assert 3 <= len(application.requests) <= 7  # less and less often
        running.store.is_full = False
        await asyncio.sleep(100)
        assert polling.phase is Phase.ENDED
        await running.stop()

    loop.run(main)


def test_retry_that_cannot_be_written_down_is_made_all_the_same() -> None:
    """At its time."""

    async def main(clock: SimulatedClock) -> None:
        application = FakeApplication(script(*[fails(Status.TIMEOUT)] * 3, exits()))
        running = Running(application, clock, rules=RULES)
        (call,) = await running.dispatch("f")
        running.store.is_full = True
        await running.until(lambda: call.phase is Phase.ENDED, 60)
        assert [message.attempt for message in application.messages] == [1, 2, 3, 4]
        assert not any(isinstance(event, Retried) for event in running.store.events)
        await running.stop()

    loop.run(main)


def test_stalled_disk_stops_runs() -> None:
    """No more answers are held than attempts may be under way."""

    async def main(clock: SimulatedClock) -> None:
        application = FakeApplication(lambda request: exits())
        running = Running(application, clock, most=5)
        calls = [(await running.dispatch("f"))[0] for _ in range(8)]
        await running.until(lambda: all(call.phase is Phase.ENDED for call in calls))
        now = await running.dispatch(*["f"] * 50)
        running.store.stall()
        await asyncio.sleep(60)
        assert len(application.requests) - 8 <= 10
        running.store.move()
        await running.until(lambda: all(call.phase is Phase.ENDED for call in now))
        await running.stop()

    loop.run(main)


def test_cancelled_call_gets_one_last_resume_with_an_error() -> None:
    """Also when it was running as it was cancelled; what it says then does not count."""

    async def main(clock: SimulatedClock) -> None:
        application = FakeApplication(script(None, exits(b"cleaned up")))
        running = Running(application, clock)
        (call,) = await running.dispatch("f")
        await running.until(lambda: application.held)
        assert running.runner.running == {call.key}
        await ask_to_end(running, call)
        application.tell(application.held[0], polls(wait_s=1000))
        await running.until(lambda: call.phase is Phase.ENDED)
        assert application.requests[1].poll_result.error.type == errors.CANCELLED
        assert call.how is How.CANCELLED
        assert running.result_of(call).error.type == errors.CANCELLED
        await running.stop()

    loop.run(main)


async def kill(running: Running, call: Call) -> None:
    """End a call with all below it."""
    now_us = running.clock.wall_us()
    event = Ended(call.key, How.CANCELLED, errors.cancelled("f"), now_us, with_children=True)
    await running.store.stored(event)


def test_run_of_a_call_that_was_killed_gives_its_place_back() -> None:
    """Nobody waits for its answer: its connection is closed, and what waited has its turn. A child
    that is gone is no different."""

    async def main(clock: SimulatedClock) -> None:
        hangs: Callable[[RunRequest], Reply] = lambda request: None  # noqa: E731 - as the others
        application = FakeApplication(
            each(parent=script(polls("hangs", "hangs")), hangs=hangs, well=script(exits()))
        )
        running = Running(application, clock, most=2)
        (parent,) = await running.dispatch("parent")
        await running.until(lambda: len(application.held) == 2)
        (well,) = await running.dispatch("well")
        hanging = list(application.held)
        await kill(running, parent)
        await running.until(lambda: well.phase is Phase.ENDED)
        assert set(application.abandoned) == set(hanging)
        assert (running.runner.in_flight, running.lanes.in_flight) == (0, 0)
        await running.stop()

    loop.run(main)


def test_run_of_a_call_whose_clean_up_is_over_gives_its_place_back() -> None:
    """After its 30 seconds, and not before."""

    async def main(clock: SimulatedClock) -> None:
        application = FakeApplication(lambda request: None)
        running = Running(application, clock)
        (call,) = await running.dispatch("f")
        await running.until(lambda: application.held)
        await ask_to_end(running, call)
        begun_s = asyncio.get_running_loop().time()
        await running.until(lambda: not running.runner.in_flight)
        assert 30 <= asyncio.get_running_loop().time() - begun_s < 31
        assert call.how is How.CANCELLED
        assert len(application.abandoned) == 1
        await running.stop()

    loop.run(main)


def test_call_cleans_up_beside_runs_that_hang() -> None:
    """They leave room, also of an application that refused connections meanwhile."""

    async def main(clock: SimulatedClock) -> None:
        hangs: Callable[[RunRequest], Reply] = lambda request: None  # noqa: E731 - as the others
        application = FakeApplication(
            each(
                well=lambda request: exits(),
                hangs=hangs,
                refused=script(*[LOST] * 6, exits()),
                cleans=script(polls(wait_s=1000), exits()),
            )
        )
        running = Running(application, clock)
        await running.dispatch(*["well"] * 30)
        (call,) = await running.dispatch("cleans")
        await running.until(lambda: call.phase is Phase.SUSPENDED)
        await running.dispatch(*["hangs"] * 6)
        (refused,) = await running.dispatch("refused")
        await running.until(lambda: refused.attempts == 5)
        (lane,) = running.lanes
        assert (lane.in_flight, lane.most) == (6, 2)
        await ask_to_end(running, call)
        await running.until(lambda: call.phase is Phase.ENDED, 10)
        assert application.requests[-1].poll_result.error.type == errors.CANCELLED
        await running.stop()

    loop.run(main)


def test_run_that_ends_its_call_is_not_abandoned() -> None:
    """Nor that of a call that has expired: its timeout comes, and tells of its application."""

    async def main(clock: SimulatedClock) -> None:
        application = FakeApplication(script(exits(), None))
        running = Running(application, clock)
        (well,) = await running.dispatch("f")
        await running.until(lambda: well.phase is Phase.ENDED)
        (late,) = await running.dispatch("f", expires_us=running.clock.wall_us() + 1_000_000)
        await running.until(lambda: late.phase is Phase.ENDED)
        await asyncio.sleep(1)
        assert application.abandoned == []
        assert running.runner.in_flight == 1
        await running.stop()

    loop.run(main)


def test_call_that_is_cancelled_while_it_is_told_another_error_is_told_that_too() -> None:
    """That its poll was refused, here."""

    async def main(clock: SimulatedClock) -> None:
        refused = polls("")
        application = FakeApplication(script(refused, None, exits(b"cleaned up")))
        running = Running(application, clock)
        (call,) = await running.dispatch("f")
        await running.until(lambda: application.held)
        assert application.requests[1].poll_result.error.type != errors.CANCELLED
        await ask_to_end(running, call)
        application.tell(application.held[0], polls(wait_s=1000))
        await running.until(lambda: call.phase is Phase.ENDED)
        assert application.requests[2].poll_result.error.type == errors.CANCELLED
        await running.stop()

    loop.run(main)


def test_poll_that_is_refused_again_and_again_is_answered_less_and_less_often() -> None:
    """At once the first time; with another state it has got further."""

    async def main(clock: SimulatedClock) -> None:
        again = [polls("") for _ in range(1000)]
        application = FakeApplication(script(*again[:3], polls("", state=b"other"), *again))
        running = Running(application, clock, rules=RULES)
        await running.dispatch("f")
        await running.until(lambda: len(application.requests) >= 2)
        assert application.requests[1].poll_result.error.type
        await running.until(lambda: len(application.requests) >= 5, 20)
        await asyncio.sleep(60)
        assert 10 <= len(application.requests) <= 25
        assert all(one.poll_result.error.type for one in application.requests[1:])
        await running.stop()

    loop.run(main)


def test_next_process_goes_on_where_this_one_ended() -> None:
    """Due calls are run, sleeping ones woken, and ids are new."""

    async def main(clock: SimulatedClock) -> None:
        first = FakeApplication(
            each(sleeps=script(polls(wait_s=60)), hangs=script(None), expires=script(None))
        )
        running = Running(first, clock)
        now_us = running.clock.wall_us()
        await running.dispatch("sleeps", "hangs")
        await running.dispatch("expires", expires_us=now_us + 10_000_000)
        await running.until(lambda: len(first.held) == 2)
        await running.stop()
        await asyncio.sleep(20)
        second = FakeApplication(each(sleeps=script(exits()), hangs=script(exits())))
        again = Running(second, clock, store=running.store.again(), starts=2)
        calls = {call.function: call for call in again.machine.calls.values()}
        await again.until(lambda: calls["hangs"].phase is Phase.ENDED)
        await again.until(lambda: calls["expires"].how is How.EXPIRED)
        assert calls["sleeps"].step == 1
        await asyncio.sleep(60)
        assert calls["sleeps"].phase is Phase.ENDED
        await again.stop()

    loop.run(main)


def test_call_whose_time_had_not_come_is_not_taken_for_ended_after_a_start() -> None:
    """It never ran: five HTTP 500 mean that its application is broken, and it is asked again."""

    async def main(clock: SimulatedClock) -> None:
        broken = AttemptResult(500, None, "http_500", 1, was_sent=True)
        running = Running(FakeApplication(script()), clock)
        now_us = running.clock.wall_us()
        await running.dispatch("later", not_before_us=now_us + 5_000_000)
        await running.stop()
        application = FakeApplication(lambda request: broken)
        again = Running(application, clock, store=running.store.again(), starts=2)
        (call,) = again.machine.calls.values()
        await asyncio.sleep(120)
        assert call.phase is Phase.DUE
        assert call.attempts > 5
        await again.stop()

    loop.run(main)


def test_drain_waits_for_what_is_under_way_and_starts_nothing() -> None:
    """Within its time."""

    async def main(clock: SimulatedClock) -> None:
        application = FakeApplication(lambda request: None)
        running = Running(application, clock, most=1)
        one, other = await running.dispatch("f", "f")
        await running.until(lambda: application.held)
        assert not await running.runner.drain(5)
        asyncio.get_running_loop().call_later(3, application.tell, application.held[0], exits())
        assert await running.runner.drain(5)
        assert (one.phase, other.phase) == (Phase.ENDED, Phase.DUE)
        assert len(application.requests) == 1
        await running.dispatch("f")
        await asyncio.sleep(10)
        assert len(application.requests) == 1
        await running.stop()

    loop.run(main)


def test_mistake_of_ours_is_told_and_the_run_made_again() -> None:
    """A call is not under way for ever."""

    async def main(clock: SimulatedClock) -> None:
        application = FakeApplication(script(exits()))
        running = Running(application, clock)
        running.store.error = ZeroDivisionError("unforeseen")
        (call,) = await running.dispatch("f")
        await running.until(lambda: running.died)
        running.store.error = None
        await running.until(lambda: call.phase is Phase.ENDED)
        running.died.clear()
        await running.stop()

    loop.run(main)


def test_clock_that_is_set_forward_wakes_calls_within_a_minute() -> None:
    """Instants are the wall clock's."""

    async def main(clock: SimulatedClock) -> None:
        application = FakeApplication(script(polls(wait_s=3000), exits()))
        running = Running(application, clock)
        (call,) = await running.dispatch("f")
        await running.until(lambda: call.phase is Phase.SUSPENDED)
        clock.set_wall_clock(clock.now_us() + 3_100_000_000)
        await asyncio.sleep(61)
        assert call.phase is Phase.ENDED
        await running.stop()

    loop.run(main)


def test_many_sleeping_calls_wake_together_without_holding_the_loop() -> None:
    """Twenty thousand at one moment; each is run once."""

    async def main(clock: SimulatedClock) -> None:
        seen: set[str] = set()

        def answer(request: RunRequest) -> Reply:
            if request.dispatch_id in seen:
                return exits()
            seen.add(request.dispatch_id)
            return polls(wait_s=100)

        running = Running(FakeApplication(answer), clock)
        calls: list[Call] = []
        for _ in range(20):
            calls += await running.dispatch(*["f"] * 100)
        await running.until(lambda: all(call.phase is Phase.SUSPENDED for call in calls), 50)
        await running.until(lambda: all(call.phase is Phase.ENDED for call in calls), 200)
        await running.stop()

    loop.run(main)


def test_alarms_that_were_replaced_do_not_pile_up() -> None:
    """A call that polls again and again has one."""

    async def main(clock: SimulatedClock) -> None:
        application = FakeApplication(
            each(
                parent=script(*[polls("child", wait_s=1000)] * 1000, None),
                child=lambda request: exits(),
            )
        )
        running = Running(application, clock)
        await running.dispatch("parent")
        await running.until(lambda: application.held)
        alarms = running.runner._alarms
        assert len(alarms) <= 2
        assert alarms.entries < 100
        await running.stop()

    loop.run(main)


def test_child_of_a_state_that_is_too_large_ends_the_call() -> None:
    """State and result together could not be sent: it says so."""

    async def main(clock: SimulatedClock) -> None:
        application = FakeApplication(
            each(
                parent=script(polls("child", state=bytes(9_000_000))),
                child=script(exits(bytes(8_000_000))),
            )
        )
        running = Running(application, clock)
        (call,) = await running.dispatch("parent")
        await running.until(lambda: call.phase is Phase.ENDED)
        result = running.result_of(call)
        assert result.error.type == "InvalidResponse"
        assert "can be sent in one request" in result.error.message
        await running.stop()

    loop.run(main)


def test_restarts_leave_time_for_a_deploy_and_end() -> None:
    """Old and new code behind one URL refuse each other's states: a call begins anew later each
    time, and ends where none of that got any further."""

    async def main(clock: SimulatedClock) -> None:
        application = FakeApplication(
            lambda request: (
                fails(Status.INCOMPATIBLE_STATE)
                if request.HasField("poll_result")
                else polls(wait_s=0)
            )
        )
        running = Running(application, clock)
        begun_us = running.clock.wall_us()
        (call,) = await running.dispatch("random")
        await running.until(lambda: call.phase is Phase.ENDED, 60)
        took_ms = (running.clock.wall_us() - begun_us) // 1000
        assert call.how is How.FAILED
        assert 2_800 <= took_ms < 4_300  # 0.5 s, 1 s, 2 s, less a fifth of jitter
        assert len(application.requests) == 8
        await running.stop()

    loop.run(main)


def test_random_outcomes_end_every_call() -> None:
    """Whatever the application does, and in whatever order: all end, and never two runs at once."""

    async def main(clock: SimulatedClock) -> None:
        count = 0

        def answer(request: RunRequest) -> Reply:
            nonlocal count
            count += 1
            match count * 7919 % 11:
                case 0:
                    return LOST
                case 1:
                    return fails(Status.THROTTLED)
                case 2 | 3 if len(request.dispatch_id) and count < 2000:
                    return polls("f", "g", min_results=1 + count % 2)
                case 4:
                    return polls(wait_s=count % 5)
                case 5:
                    return fails(Status.INCOMPATIBLE_STATE)
                case 6:
                    return AttemptResult(503, None, "http_503", 1, b"2", b"", was_sent=True)
                case 7:
                    return AttemptResult(None, Failure.CONNECTION, "full", 1, ours=True)
                case _:
                    return exits()

        application = FakeApplication(answer)
        running = Running(application, clock, rules=RULES, most=20)
        calls = await running.dispatch(*["f"] * 60)
        await running.until(lambda: all(call.phase is Phase.ENDED for call in calls), 3600)
        await running.until(lambda: not running.runner.running, 3600)
        assert application.most_in_flight <= 20
        await running.stop()

    loop.run(main)


class Watching:
    """Keeps what it is told."""

    def __init__(self, *, is_wanted: bool = True) -> None:
        self.is_wanted = is_wanted
        self.told: list[str] = []

    def run_started(self, call: Call, attempt: int, at_us: int) -> None:
        self.told.append(f"started {call.function} {attempt}")

    def run_ended(self, call: Call, decision: Decision, started_us: int, at_us: int) -> None:
        assert started_us <= at_us
        self.told.append(f"ended {call.function} {decision.status.name}")

    def ends(self, call: Call, result: bytes) -> None:
        self.told.append(f"ends {call.function}")

    def warned(self, call: Call, what: str) -> None:
        self.told.append(what)


@pytest.mark.parametrize("is_wanted", [True, False])
def test_watcher_is_told_of_runs_while_it_wants_to_know(is_wanted: bool) -> None:
    """Of each attempt, its number and what it came to."""

    async def main(clock: SimulatedClock) -> None:
        watching = Watching(is_wanted=is_wanted)
        application = FakeApplication(script(fails(Status.TIMEOUT), exits()))
        running = Running(application, clock, watcher=watching)
        (call,) = await running.dispatch("f")
        await running.until(lambda: call.phase is Phase.ENDED)
        told = ["started f 1", "ended f TIMEOUT", "started f 2", "ended f OK"]
        assert watching.told == (told if is_wanted else [])
        await running.stop()

    loop.run(main)


def test_calls_of_a_session_are_fetched_and_not_signed() -> None:
    """None goes anywhere before somebody fetches it; then it is a run like any other."""

    async def main(clock: SimulatedClock) -> None:
        nobody = FakeApplication(script())
        session = FakeApplication(script(fails(Status.TEMPORARY_ERROR), exits()))
        running = Running(nobody, clock, fetched=session, rules=RULES)
        (call,) = await running.dispatch("f", endpoint="bridge://S1")
        await asyncio.sleep(10)
        assert not running.turns.pull("bridge://S2/app")
        assert running.turns.pull("bridge://S1/app")
        assert not running.turns.pull("bridge://S1/app")
        await running.until(lambda: call.attempts == 1)
        await asyncio.sleep(2)
        assert running.turns.pull("bridge://S1/app")
        await running.until(lambda: call.phase is Phase.ENDED)
        head = session.messages[0].head
        assert b"POST /dispatch.sdk.v1.FunctionService/Run HTTP/1.1\r\nHost: S1\r\n" in head
        assert b"Signature" not in head
        assert nobody.requests == []
        await running.stop()

    loop.run(main)


def test_endpoint_that_cannot_be_asked_ends_the_call() -> None:
    """With an error that says so, and nothing else is held up."""

    async def main(clock: SimulatedClock) -> None:
        application = FakeApplication(script(exits()))
        running = Running(application, clock)
        (call,) = await running.dispatch("f", endpoint="ftp://somewhere")
        (other,) = await running.dispatch("g")
        await running.until(lambda: {call.phase, other.phase} == {Phase.ENDED})
        assert running.result_of(call).error.type == "InvalidArgument"
        assert "ftp://somewhere" in running.result_of(call).error.message
        await running.stop()

    loop.run(main)


def test_what_is_lacking_here_costs_no_attempt_and_lets_the_lane_rest() -> None:
    """A hundred calls do not try it over and over."""

    async def main(clock: SimulatedClock) -> None:
        lacking = AttemptResult(None, Failure.CONNECTION, "no descriptors", 1, ours=True)
        application = FakeApplication(lambda request: lacking)
        running = Running(application, clock, rules=RULES)
        calls = await running.dispatch(*["f"] * 100)
        await asyncio.sleep(10)
        assert len(application.requests) <= 30
        assert not any(call.attempts for call in calls)
        application.answer = lambda request: exits()
        await running.until(lambda: all(call.phase is Phase.ENDED for call in calls), 60)
        await running.stop()

    loop.run(main)


async def test_large_requests_wait_for_room() -> None:
    """No more of them are in memory than there is room for. In real time: threads digest them."""
    rooms = Rooms(2_500_000)
    seen: set[str] = set()

    def answer(request: RunRequest) -> Reply:
        if request.dispatch_id in seen:
            return None
        seen.add(request.dispatch_id)
        return polls(state=bytes(1_000_000), wait_s=0.1)

    application = FakeApplication(answer)
    running = Running(application, SystemClock(), rooms=rooms)
    calls = await running.dispatch(*["f"] * 6)
    for left in range(6, 0, -1):
        expected = min(2, left)
        await running.until(partial(lambda count: len(application.held) >= count, expected))
        await asyncio.sleep(0.05)  # for those that should not come
        assert len(application.held) == expected
        application.tell(application.held.pop(), exits())
        assert rooms.free_bytes >= 0
    await running.until(lambda: all(call.phase is Phase.ENDED for call in calls))
    assert rooms.free_bytes == rooms.most_bytes
    await running.stop()
