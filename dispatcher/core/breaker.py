"""When to leave a destination alone: a circuit breaker for each lane.

Theory of operation. The breaker is a state machine over what the attempts of one lane say about its
destination (`classify`). In CLOSED, everything may be sent, and failures in a row are counted. The
tenth opens it: in OPEN nothing is sent until the pause is over. Then one real message may go, the
probe, and in HALF_OPEN nothing else goes until it has ended. Its success closes the breaker and all
is forgotten; its failure opens the breaker again, for twice as long: 1 s, 2, 4, 8, 16, then 30 s
each time, and never longer than `RETRY_MAX_DELAY`. A probe that says nothing either way (it never
left this machine, say) is followed by another one at once.

An operator may end a pause before its time (`probe_now`).

Messages that wait for the breaker spend no attempt. Attempts that were in flight when it opened end
later, in any state and in any order. They say nothing new and are ignored; that is why every result
comes with the time at which its attempt started.

The transitions are `TRANSITIONS`; a pair that is not in it is a mistake of the caller.
"""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType
from typing import Final

from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.core.retry import RetryPolicy

FAILURES_TO_OPEN: Final = 10
FIRST_PAUSE_MS: Final = 1_000
LONGEST_PAUSE_MS: Final = 30_000


class Signal(Enum):
    """What an attempt says about its destination.

    OVERLOAD also halves the lane's limit; for the breaker it is a failure like FAILURE. HEALTHY
    also counts as a success for the limit. NEUTRAL changes nothing.
    """

    HEALTHY = "healthy"
    NEUTRAL = "neutral"
    FAILURE = "failure"
    OVERLOAD = "overload"


class State(Enum):
    """Where the breaker stands; the value is what metrics and logs show."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Event(Enum):
    """What moves the breaker."""

    TOO_MANY_FAILURES = "too many failures"
    PROBE_STARTED = "probe started"
    PROBE_HEALTHY = "probe healthy"
    PROBE_FAILED = "probe failed"
    PROBE_NEUTRAL = "probe neutral"


TRANSITIONS: Final = MappingProxyType(
    {
        (State.CLOSED, Event.TOO_MANY_FAILURES): State.OPEN,
        (State.OPEN, Event.PROBE_STARTED): State.HALF_OPEN,
        (State.HALF_OPEN, Event.PROBE_HEALTHY): State.CLOSED,
        (State.HALF_OPEN, Event.PROBE_FAILED): State.OPEN,
        (State.HALF_OPEN, Event.PROBE_NEUTRAL): State.OPEN,
    }
)


class Breaker:
    """The breaker of one lane. Times are microseconds of one clock that never goes back.

    `state` is read on the hot path: while it is CLOSED, nothing else needs to be asked before an
    attempt. `open_until_us` is when the pause ends; it means something in OPEN only.
    """

    __slots__ = ("_failures", "_longest_us", "_openings", "_probe_us", "open_until_us", "state")

    def __init__(self, longest_pause_ms: int = LONGEST_PAUSE_MS) -> None:
        """Begin CLOSED. `longest_pause_ms` is `RETRY_MAX_DELAY`; above 30 000 it has no effect."""
        self.state = State.CLOSED
        self.open_until_us = 0
        self._longest_us = min(longest_pause_ms, LONGEST_PAUSE_MS) * 1000
        self._failures = 0
        self._openings = 0
        self._probe_us = -1  # when the last probe started

    def admits(self, now_us: int) -> bool:
        """Whether an attempt may start now."""
        if self.state is State.OPEN:
            return now_us >= self.open_until_us
        return self.state is State.CLOSED

    def probe_now(self, now_us: int) -> None:
        """End the pause, if there is one: the next attempt is the probe. What its failure comes to
        is as after any pause."""
        if self.state is State.OPEN:
            self.open_until_us = min(self.open_until_us, now_us)

    def start(self, now_us: int) -> None:
        """Note that an attempt starts, where `admits` allowed it. Not needed while CLOSED.

        Raises:
            ValueError: no attempt may start now.
        """
        if not self.admits(now_us):
            raise ValueError(f"no attempt may start: the breaker is {self.state.value}")
        if self.state is State.OPEN:
            self._move(Event.PROBE_STARTED)
            self._probe_us = now_us

    def finish(self, signal: Signal, started_us: int, now_us: int) -> bool:
        """Note how an attempt ended; return whether the breaker changed its state.

        Every attempt that was started has to be finished once, with NEUTRAL where nothing is known
        about it: a probe that never ends would keep the lane shut.

        Args:
            signal: what the result says (`classify`).
            started_us: when the attempt started; for a probe exactly what `start` was given.
            now_us: when it ended.
        """
        if self.state is State.CLOSED:
            # Everything that started before the last probe was in flight when the breaker opened.
            return started_us >= self._probe_us and self._count(signal, now_us)
        if self.state is State.HALF_OPEN and started_us == self._probe_us:
            self._end_probe(signal, now_us)
            return True
        return False

    def _count(self, signal: Signal, now_us: int) -> bool:
        if signal is Signal.HEALTHY:
            self._failures = 0
        elif signal is not Signal.NEUTRAL:
            self._failures += 1
        if self._failures < FAILURES_TO_OPEN:
            return False
        self._move(Event.TOO_MANY_FAILURES)
        self._pause(now_us)
        return True

    def _end_probe(self, signal: Signal, now_us: int) -> None:
        if signal is Signal.HEALTHY:
            self._move(Event.PROBE_HEALTHY)
            self._failures = self._openings = 0
        elif signal is Signal.NEUTRAL:
            self._move(Event.PROBE_NEUTRAL)  # the pause is over already
        else:
            self._move(Event.PROBE_FAILED)
            self._pause(now_us)

    def _pause(self, now_us: int) -> None:
        # Five doublings are 32 s, above the longest pause: more would only make the number larger.
        doubled_us = FIRST_PAUSE_MS * 1000 << min(self._openings, 5)
        self._openings += 1
        self.open_until_us = now_us + min(doubled_us, self._longest_us)

    def _move(self, event: Event) -> None:
        self.state = TRANSITIONS[self.state, event]


def classify(result: AttemptResult, policy: RetryPolicy) -> Signal:
    """Say what a result means for the destination's lane.

    A destination that answers "no" is healthy: 3xx and 4xx are about the message. So is one that
    answers with what counts as delivered, whatever that is. 408 and 425 are about the connection,
    and what `RETRY_ON` lists is a state the operator knows about: both say nothing. Nor does an
    address that our own rules refused, or a body that could not be read back here.
    """
    if result.ours or result.failure is Failure.EGRESS:
        return Signal.NEUTRAL
    status = result.status
    if status is not None and policy.acks(status):
        return Signal.HEALTHY
    if status is None or (result.failure is not None and not _said_no(status, result, policy)):
        return Signal.OVERLOAD
    return _classify_status(status, policy)


def _said_no(status: int, result: AttemptResult, policy: RetryPolicy) -> bool:
    """A response that broke off after a final status: many answer a large request like that before
    they have read it. One that was not complete in time is slow all the same."""
    return result.failure is Failure.BROKEN and policy.is_final(status)


def _classify_status(status: int, policy: RetryPolicy) -> Signal:
    if status in (429, 503):
        return Signal.OVERLOAD
    if not 200 <= status <= 499:
        return Signal.FAILURE
    if status in (408, 425) or (status >= 300 and status in policy.retry_on):
        return Signal.NEUTRAL
    return Signal.HEALTHY
