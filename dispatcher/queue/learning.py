"""What lanes learn from how their attempts end: how much to send at once, and when to send nothing.

Limit, breaker and pause of each lane are kept here, and the alarms that end a pause. A lane that is
left alone keeps no message in memory, and has at most one alarm that counts (`Lane.alarm`): it is
looked at again when that goes off, and may be left alone again.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

from dispatcher.core.breaker import Signal, State, classify
from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult
from dispatcher.core.retry import RetryPolicy, parse_retry_after
from dispatcher.queue.index import Index
from dispatcher.queue.lanes import Lane, Lanes
from dispatcher.queue.ports import Observer
from dispatcher.queue.readback import Warm


class Learning:
    """Lessons of all lanes. `on_alarm` is called when an earlier alarm than before was set;
    `wall_offset_us` is what an instant of the queue's clock lacks to the wall clock's."""

    __slots__ = (
        "_alarms",
        "_index",
        "_lanes",
        "_observer",
        "_on_alarm",
        "_policy",
        "_wall_offset_us",
        "_warm",
    )

    def __init__(
        self,
        lanes: Lanes,
        index: Index,
        warm: Warm,
        *,
        policy: RetryPolicy,
        observer: Observer,
        wall_offset_us: Callable[[], int],
        on_alarm: Callable[[], None],
    ) -> None:
        self._lanes = lanes
        self._index = index
        self._warm = warm
        self._policy = policy
        self._observer = observer
        self._wall_offset_us = wall_offset_us
        self._on_alarm = on_alarm
        self._alarms: list[tuple[int, int]] = []

    def failed(
        self, lane: Lane, message: Message, result: AttemptResult, *, now_us: int, wall_us: int
    ) -> None:
        """Learn from an attempt that was not a plain success.

        Args:
            now_us: when it ended, by the queue's clock.
            wall_us: the same by the wall clock, which a date in `Retry-After` is compared with.
        """
        signal = classify(result, self._policy)
        if signal is Signal.HEALTHY:
            lane.limit.success()
        elif signal is Signal.OVERLOAD:
            lane.limit.overload(message.started_at, now_us)
        is_asked = result.status in (429, 503) and not self._policy.ack_any_response
        if is_asked and result.retry_after is not None:
            asked_ms = parse_retry_after(result.retry_after, wall_us) or 0
            until_us = now_us + min(asked_ms, self._policy.max_delay_ms) * 1000
            if until_us > max(lane.paused_until, now_us):
                lane.paused_until = until_us
                lane.calm = False
                self._tell_paused(lane, until_us, "retry_after")
        if signal is not Signal.HEALTHY or not lane.calm:
            self.signal(lane, signal, message, now_us)

    def signal(self, lane: Lane, signal: Signal, message: Message, now_us: int) -> None:
        """Tell the breaker how an attempt ended, and say so where it opened or closed."""
        lane.calm = False
        breaker = lane.breaker
        changed = breaker.finish(signal, message.started_at, now_us)
        if breaker.state is State.CLOSED:
            # A success of before the last probe says nothing, and leaves failures counted.
            if signal is Signal.HEALTHY and message.started_at >= lane.probed_at:
                lane.calm = lane.paused_until <= now_us and not lane.held
            if changed:
                self._observer.lane_resumed(str(lane.destination))
        elif changed and breaker.state is State.OPEN:
            self.pause(lane, now_us)
            if breaker.open_until_us > now_us:
                self._tell_paused(lane, breaker.open_until_us, "breaker")

    def _tell_paused(self, lane: Lane, until_us: int, why: str) -> None:
        self._observer.lane_paused(str(lane.destination), until_us + self._wall_offset_us(), why)

    def pause(self, lane: Lane, now_us: int) -> None:
        """Leave a lane alone until its breaker and its pause allow an attempt."""
        self._warm.chill(lane, self._index)
        wakes_at = lane.wakes_at()
        # Where it is not ahead a probe is under way: its end lets the lane wait for a turn again.
        if wakes_at > now_us and not 0 < lane.alarm <= wakes_at:
            lane.alarm = wakes_at
            heappush(self._alarms, (wakes_at, lane.number))
            self._on_alarm()

    def next_at(self) -> int | None:
        """When `wake` has something to do, in microseconds since the epoch; None: never."""
        return self._alarms[0][0] if self._alarms else None

    def wake(self, now_us: int) -> list[Lane]:
        """Lanes whose alarm went off: they may wait for a turn."""
        lanes = []
        while self._alarms and self._alarms[0][0] <= now_us:
            at, number = heappop(self._alarms)
            lane = self._lanes.by_number[number]
            if lane.alarm == at:
                lane.alarm = 0
                lanes.append(lane)
        return lanes

    def __len__(self) -> int:
        return len(self._alarms)
