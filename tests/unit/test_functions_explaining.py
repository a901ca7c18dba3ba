"""What a person is told of a call that has not ended."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.functions.events import CancelAsked
from dispatcher.functions.model import Call, Phase
from dispatcher.functions.rules import Rules
from dispatcher.functions.shown import CallState, ExplanationView, WaitingReason
from dispatcher.functions.views.explaining import Explaining
from dispatcher.functions.views.history import History
from dispatcher.functions.views.last_errors import LastErrors
from dispatcher.functions.views.looking import Looking
from dispatcher.functions.views.reasons import has_ended
from dispatcher.protocol.messages import RunRequest
from dispatcher.queue.admin.pace import Pace
from dispatcher.testing import loop
from dispatcher.testing.application import FakeApplication, Reply, Running, polls
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.function_service import view

LOST = AttemptResult(None, Failure.CONNECTION, "reset", 1, was_sent=True)
HOUR = 3_600_000_000


class Bench:
    """Calls that are run, and what is said of them."""

    def __init__(self, answer: Callable[[RunRequest], Reply], clock: SimulatedClock) -> None:
        rules = Rules(retry_delay_ms=60_000, retry_max_delay_ms=3_600_000)
        self.running = Running(FakeApplication(answer), clock, rules=rules)
        self.looking = Looking(
            self.running.machine,
            self.running.runner,
            History(),
            last_errors=LastErrors(),
            id_of=hex,
            now_us=self.running.clock.wall_us,
            pace=Pace(),
        )
        self.explaining = Explaining(
            self.running.runner,
            self.running.turns,
            self.running.clock,
            find=self.running.machine.calls.get,
            id_of=hex,
        )

    def asked(self, call: Call) -> ExplanationView:
        """What is said of a call."""
        return self.explaining.explain(call, self.looking.view(call))


def test_call_that_expires_before_its_next_run_says_so() -> None:
    """Nothing is expected of it then."""

    async def main(clock: SimulatedClock) -> None:
        bench = Bench(lambda request: LOST, clock)
        expires_us = bench.running.clock.wall_us() + 30_000_000
        (call,) = await bench.running.dispatch("f", expires_us=expires_us)
        await bench.running.until(lambda: call.attempts)
        found = bench.asked(call)
        assert found.reason is WaitingReason.SCHEDULED
        assert found.message.endswith("It expires before that.")
        assert found.expected_at_us is None
        await bench.running.stop()

    loop.run(main)


def test_application_that_is_left_alone_for_longer_is_named_with_the_retry() -> None:
    """The run is expected when its breaker lets it through, as far as that is known."""

    async def main(clock: SimulatedClock) -> None:
        bench = Bench(lambda request: LOST, clock)
        (call,) = await bench.running.dispatch("f")
        await bench.running.until(lambda: call.attempts)
        lane = bench.running.runner.lane_of(call)
        assert lane is not None
        lane.paused_until_us = bench.running.clock.now_us() + HOUR // 2
        found = bench.asked(call)
        assert found.reason is WaitingReason.SCHEDULED
        assert "left alone for longer" in found.message
        assert found.until_us is not None
        assert found.expected_at_us is not None
        assert found.expected_at_us > found.until_us
        bench.running.turns.hold(lane.name, True)
        assert bench.asked(call).reason is WaitingReason.DESTINATION_HELD
        await bench.running.stop()

    loop.run(main)


def test_call_that_was_asked_to_end_says_so_while_it_cleans_up() -> None:
    """Beside what it does."""

    async def main(clock: SimulatedClock) -> None:
        def answer(request: RunRequest) -> Reply:
            return polls(wait_s=3600) if request.HasField("input") else None

        bench = Bench(answer, clock)
        (call,) = await bench.running.dispatch("f")
        await bench.running.until(lambda: call.phase is Phase.SUSPENDED)
        now_us = bench.running.clock.wall_us()
        await bench.running.store.stored(CancelAsked(call.key, b"", b"", now_us + HOUR, ()))
        await bench.running.until(lambda: bench.running.runner.is_running(call.key))
        found = bench.asked(call)
        assert found.reason is WaitingReason.IN_FLIGHT
        assert found.message.startswith("It was asked to end, and may clean up. Attempt 1")
        await bench.running.stop()

    loop.run(main)


def test_disk_that_is_too_slow_is_the_reason_of_all_that_waits() -> None:
    """No run is started while what others came to is not stored."""

    async def main(clock: SimulatedClock) -> None:
        bench = Bench(lambda request: None, clock)
        bench.running.turns.storing = bench.running.lanes.most
        (call,) = await bench.running.dispatch("f")
        assert bench.asked(call).reason is WaitingReason.LACKING
        bench.running.turns.storing = 0
        assert bench.asked(call).reason is WaitingReason.WAITING_TURN
        await bench.running.stop()

    loop.run(main)


@pytest.mark.parametrize(
    ("state", "reason", "is_redriven"),
    [
        (CallState.SUCCEEDED, WaitingReason.SUCCEEDED, False),
        (CallState.FAILED, WaitingReason.FAILED, True),
        (CallState.EXPIRED, WaitingReason.EXPIRED, True),
        (CallState.CANCELLED, WaitingReason.CANCELLED, False),
    ],
)
def test_call_that_has_ended_says_how(
    state: CallState, reason: WaitingReason, is_redriven: bool
) -> None:
    """One at the top that failed or expired has a dead letter, one below it has none."""
    top, below = has_ended(view(1, state=state)), has_ended(view(2, state=state, parent=1))
    assert top.reason is below.reason is reason
    assert ("redriven" in top.message) is is_redriven
    assert "redriven" not in below.message
