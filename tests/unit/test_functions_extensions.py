"""What our own SDK may use beyond the protocol, in front of an application that does."""

from __future__ import annotations

import pytest

from dispatcher.errors import LogBusy
from dispatcher.functions.deciding.decisions import Decision
from dispatcher.functions.events import Dropped, Polled, Retried
from dispatcher.functions.model import Call, How, Phase
from dispatcher.functions.rules import Rules
from dispatcher.functions.runs.asking import FEATURES
from dispatcher.functions.runs.watching import Nobody
from dispatcher.protocol.connect import Code, ConnectError
from dispatcher.protocol.messages import Duration, RunRequest, RunResponse
from dispatcher.protocol.statuses import Status
from dispatcher.testing.application import (
    FakeApplication,
    Reply,
    Running,
    exits,
    polls,
)
from dispatcher.testing.calls import http
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.keeping import KeepingApplication
from dispatcher.testing.loop import run
from dispatcher.testing.memory_store import MemoryStore

RULES = Rules(retry_delay_ms=1000)
LACKING = http(400, ConnectError(Code.FAILED_PRECONDITION, "not here").body())


def behind(*processes: KeepingApplication) -> FakeApplication:
    """Processes that get requests in turn."""
    count = 0

    def answer(request: RunRequest) -> Reply:
        nonlocal count
        count += 1
        return processes[count % len(processes)].answer(request) or LACKING

    return FakeApplication(answer)


async def ended(running: Running, call: Call) -> bytes:
    """What a call comes to."""
    await running.until(lambda: call.phase is Phase.ENDED, 3600)
    assert call.how is How.OK
    return running.result_of(call).output.value


def stored_bytes(store: MemoryStore) -> int:
    """What all polls have written."""
    return sum(
        len(event.state)
        for event in store.submitted
        if isinstance(event, Polled) and isinstance(event.state, bytes)
    )


def sent_bytes(application: FakeApplication) -> int:
    return sum(len(message.body) for message in application.messages)


def test_long_function_moves_and_writes_what_is_new() -> None:
    """Twice the steps are twice the bytes, in the log and on the wire."""

    async def main(clock: SimulatedClock) -> None:
        stored, sent = [], []
        for steps in (800, 1600):
            process = KeepingApplication(steps)
            application = behind(process)
            running = Running(application, clock)
            (call,) = await running.dispatch("f")
            assert await ended(running, call) == b"%d" % steps
            stored.append(stored_bytes(running.store) / steps)
            sent.append(sent_bytes(application) / steps)
            assert process.wholes < 20  # while it was small
            assert not process.misses
            await running.stop()
        assert stored[1] < 1.2 * stored[0] < 1000
        assert sent[1] < 1.2 * sent[0] < 300

    run(main)


def test_application_that_uses_no_extension_gets_and_sends_whole_states() -> None:
    """It is told the words, and passes them over."""

    async def main(clock: SimulatedClock) -> None:
        process = KeepingApplication(50, appends=False, refers=False)
        application = behind(process)
        running = Running(application, clock, features=FEATURES)
        (call,) = await running.dispatch("f")
        assert await ended(running, call) == b"50"
        assert process.wholes == 50
        assert not any(event.is_appended for event in running.store.submitted
                       if isinstance(event, Polled))  # fmt: skip
        head = application.messages[0].head
        words = b"append, cancel, delay, keep, state-ref, timeout, version"
        assert b"X-Dispatcher-Features: %b\r\n" % words in head
        await running.stop()

    run(main)


@pytest.mark.parametrize(("appends", "refers"), [(True, False), (False, True)])
def test_each_extension_goes_by_itself(appends: bool, refers: bool) -> None:
    """States that grow and are sent whole; whole states that are kept."""

    async def main(clock: SimulatedClock) -> None:
        process = KeepingApplication(200, appends=appends, refers=refers)
        running = Running(behind(process), clock)
        (call,) = await running.dispatch("f")
        assert await ended(running, call) == b"200"
        assert (process.hits > 150) is refers
        await running.stop()

    run(main)


class Runs(Nobody):
    """What runs came to."""

    is_wanted = True

    def __init__(self) -> None:
        self.came_to: list[Status] = []

    def run_ended(self, call: Call, decision: Decision, started_us: int, at_us: int) -> None:
        """One has ended."""
        self.came_to.append(decision.status)


def test_process_that_lacks_the_state_gets_it_and_no_attempt_is_spent() -> None:
    """At once. Where it happens again and again it is seldom tried."""

    async def main(clock: SimulatedClock) -> None:
        processes = [KeepingApplication(400, process=f"p{number}") for number in range(2)]
        application = behind(*processes)
        watcher = Runs()
        running = Running(application, clock, rules=RULES, watcher=watcher)
        (call,) = await running.dispatch("f")
        began = clock.now_us()
        assert await ended(running, call) == b"400"
        assert watcher.came_to == [Status.OK] * 401
        misses = sum(process.misses for process in processes)
        assert 3 < misses < 20
        assert not any(isinstance(event, Retried) for event in running.store.submitted)
        assert clock.now_us() - began < 1_000_000
        for before, after in zip(application.requests, application.requests[1:], strict=False):
            if before.poll_result.state_ref and after.poll_result.state_ref:
                assert before.poll_result.state_ref != after.poll_result.state_ref
        await running.stop()

    run(main)


def test_after_a_restart_of_the_server_states_are_whole_and_grow_on() -> None:
    """The nonce is stored with the state."""

    async def main(clock: SimulatedClock) -> None:
        process = KeepingApplication(120, wait_s=1)
        application = behind(process)
        running = Running(application, clock)
        (call,) = await running.dispatch("f")
        await running.until(lambda: call.step >= 60, 100)
        await running.stop()
        hits, wholes, left = process.hits, process.wholes, 120 - call.step
        assert left > 50
        again = Running(application, clock, store=running.store.again(), starts=2)
        application.in_flight.clear()
        (call,) = again.machine.calls.values()
        states = len(call.states)
        assert states > 10
        assert await ended(again, call) == b"120"
        assert process.wholes == wholes + 1
        assert process.hits >= hits + left - 2
        polls = [event for event in again.store.submitted if isinstance(event, Polled)]
        assert sum(event.is_appended for event in polls) >= len(polls) - 2
        await again.stop()

    run(main)


def test_restarted_application_gets_whole_states() -> None:
    """Its new process says its name with the first answer; what was kept is asked for once."""

    async def main(clock: SimulatedClock) -> None:
        processes = [KeepingApplication(40, process=name, wait_s=1) for name in ("old", "new")]
        application = FakeApplication(lambda _: None)
        application.answer = lambda request: processes[0].answer(request) or LACKING
        running = Running(application, clock)
        calls = await running.dispatch("f", "f", "f")
        await running.until(lambda: all(call.step >= 20 for call in calls), 100)
        del processes[0]
        for call in calls:
            assert await ended(running, call) == b"40"
        assert 1 <= processes[0].misses <= 3
        await running.stop()

    run(main)


def test_state_that_is_not_its_own_is_answered_with_the_whole_one() -> None:
    """An answer that extends something else means nothing."""

    async def main(clock: SimulatedClock) -> None:
        process = KeepingApplication(40)
        wrong = 0

        def answer(request: RunRequest) -> Reply:
            nonlocal wrong
            reply = process.answer(request)
            assert reply is not None
            if request.poll_result.state_ref and reply.poll.extends and not wrong:
                wrong += 1
                reply.poll.extends ^= 1
            return reply

        application = FakeApplication(answer)
        running = Running(application, clock, rules=RULES)
        (call,) = await running.dispatch("f")
        assert await ended(running, call) == b"40"
        assert wrong == 1
        assert not any(isinstance(event, Retried) for event in running.store.submitted)
        await running.stop()

    run(main)


def test_pieces_that_cannot_be_read_now_are_put_together_later() -> None:
    """The run is made again when that may have passed."""

    async def main(clock: SimulatedClock) -> None:
        process = KeepingApplication(100, wait_s=1)
        application = behind(process)
        store = MemoryStore()
        running = Running(application, clock, store=store)
        (call,) = await running.dispatch("f")
        await running.until(lambda: len(call.states) > 60, 100)
        store.error = LogBusy("descriptors")
        await running.until(lambda: running.runner.starts_at_us(call) > clock.now_us())
        assert not running.runner.running
        store.error = None
        assert await ended(running, call) == b"100"
        await running.stop()

    run(main)


# Children that are needed no more.


def unneeding(reply: RunResponse, *correlations: int) -> RunResponse:
    """The same, which needs the children with these correlations no more."""
    part = reply.poll if reply.HasField("poll") else reply.exit
    part.cancel.extend(correlations)
    return reply


def racing(then: RunResponse) -> FakeApplication:
    """`f` calls one that wins, one that is not to be run for an hour, one that runs and one that is
    suspended; `then` is what it answers when the first is there, and after that it exits."""
    first = polls("wins", "waits", "runs", "sleeps", state=b"1")
    first.poll.calls[0].delay.seconds = 1
    first.poll.calls[1].delay.seconds = 3000
    scripts = {
        "f": iter([first, then, exits(b"over")]),
        "wins": iter([exits(b"first"), exits(b"second")]),
        "sleeps": iter([polls(state=b"s", wait_s=2000), exits(b"cleaned up")]),
        "runs": iter([None]),
    }
    return FakeApplication(lambda request: next(scripts[request.function]))


async def raced(clock: SimulatedClock, then: RunResponse) -> tuple[Running, FakeApplication, Call]:
    """Until `then` is stored, and what follows from it."""
    application = racing(then)
    running = Running(application, clock)
    (call,) = await running.dispatch("f")
    await running.until(lambda: any(isinstance(one, Dropped) for one in running.store.events))
    return running, application, call


def functions_of(running: Running) -> set[str]:
    return {call.function for call in running.machine.calls.values()}


def test_children_that_a_poll_needs_no_more_are_asked_to_end() -> None:
    """What has not been run is gone; what waits cleans up; what runs is asked when it is resumed;
    and no result of them comes."""

    async def main(clock: SimulatedClock) -> None:
        then = unneeding(polls("wins", state=b"2", wait_s=100), 2, 3, 4, 77)
        running, application, call = await raced(clock, then)
        assert "waits" not in functions_of(running)
        (held,) = application.held
        application.tell(held, polls(state=b"r", wait_s=2000))
        application.answer = lambda request: exits(request.function.encode())
        await running.until(lambda: functions_of(running) == {"f"})
        told = [
            request.poll_result.error.type
            for request in application.requests
            if request.function in ("runs", "sleeps") and request.HasField("poll_result")
        ]
        assert told == ["Cancelled", "Cancelled"]
        await ended(running, call)
        given = [result for request in application.requests
                 for result in request.poll_result.results]  # fmt: skip
        assert [result.correlation_id for result in given] == [1, 1]
        await running.stop()

    run(main)


def test_children_that_an_exit_needs_no_more_are_asked_to_end() -> None:
    """Others go on."""

    async def main(clock: SimulatedClock) -> None:
        running, application, call = await raced(clock, unneeding(exits(b"won"), 2, 4))
        assert await ended(running, call) == b"won"
        await running.until(lambda: functions_of(running) == {"f", "runs"})
        (held,) = application.held
        (other,) = (one for one in running.machine.calls.values() if one.function == "runs")
        assert not other.cancelling
        application.tell(held, exits())
        await running.stop()

    run(main)


def test_who_needs_nothing_any_more_is_resumed_at_once() -> None:
    """It would wait for nothing."""

    async def main(clock: SimulatedClock) -> None:
        then = unneeding(polls(state=b"2"), 2, 3, 4)
        running, _, call = await raced(clock, then)
        began = clock.now_us()
        assert await ended(running, call) == b"over"
        assert clock.now_us() - began < 1_000_000
        await running.stop()

    run(main)


def test_delay_and_timeout_of_a_child_are_kept() -> None:
    """Its first run comes later, and is told how long it has; so is each run after that."""

    async def main(clock: SimulatedClock) -> None:
        first = polls("g")
        first.poll.calls[0].delay.seconds = 5
        first.poll.calls[0].timeout.CopyFrom(Duration(seconds=1, nanos=500_001_000))
        scripts = {
            "f": iter([first, exits()]),
            "g": iter([polls(state=b"g", wait_s=1), exits()]),
        }
        application = FakeApplication(lambda request: next(scripts[request.function]))
        running = Running(application, clock)
        (call,) = await running.dispatch("f")
        await ended(running, call)
        times = [round(one - application.times[0], 1) for one in application.times]
        assert times[1] == 5.0
        limits_ms = [message.timeout_ms for message in application.messages]
        assert limits_ms == [60_000, 1501, 1501, 60_000]
        assert b"Connect-Timeout-Ms: 1501\r\n" in application.messages[1].head
        await running.stop()

    run(main)
