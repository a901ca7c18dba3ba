"""The end of an attempt: its lane learns from it, and the message's kind says what becomes of the
message (`Handler.ended`): done, tried again, or given up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from dispatcher.core.breaker import Signal
from dispatcher.core.clock import QueueUs, Random, SteadyClock
from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult
from dispatcher.core.policy import Policy, retry_of
from dispatcher.core.rules.table import RulesInForce
from dispatcher.core.tenure import Tenure
from dispatcher.core.verdict import Delivered, NotSpent, decide
from dispatcher.queue.bodies.readback import OutgoingBodies
from dispatcher.queue.commit.endings import Endings
from dispatcher.queue.deadletters.store import DeadLetters
from dispatcher.queue.flow.figures import Figures
from dispatcher.queue.flow.plain import Handler
from dispatcher.queue.flow.traffic import Traffic
from dispatcher.queue.lanes.lanes import NOTHING, WORKER, Lane, Lanes
from dispatcher.queue.lanes.lines import Lines
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.ports import Watcher
from dispatcher.queue.records.history import encode_attempt

_DELIVERED: Final = Delivered()


class Settling:
    """Settles attempts (`core.message.Home`)."""

    __slots__ = (
        "_bodies",
        "_clock",
        "_dead_letters",
        "_endings",
        "_figures",
        "_handlers",
        "_lanes",
        "_lines",
        "_pending",
        "_policy",
        "_random",
        "_rules",
        "_traffic",
        "_watch",
        "tenure",
    )

    def __init__(
        self,
        pending: Pending,
        lanes: Lanes,
        handlers: Sequence[Handler],
        *,
        lines: Lines,
        traffic: Traffic,
        dead_letters: DeadLetters,
        endings: Endings,
        bodies: OutgoingBodies,
        figures: Figures,
        watch: Watcher,
        policy: Policy,
        rules: RulesInForce,
        tenure: Tenure,
        clock: SteadyClock,
        random: Random,
    ) -> None:
        """`handlers` are by the number of a message's kind; `policy` is what the settings say."""
        self._pending = pending
        self._lanes = lanes
        self._handlers = handlers
        self._lines = lines
        self._traffic = traffic
        self._dead_letters = dead_letters
        self._endings = endings
        self._bodies = bodies
        self._figures = figures
        self._watch = watch
        self._policy = policy
        self._rules = rules
        self.tenure = tenure
        self._clock = clock
        self._random = random

    def delivered(self, message: Message, status: int) -> None:
        """An attempt succeeded (`core.message.Home`)."""
        lane = self._lanes.by_number[self._pending.index.lane[message.slot]]
        peer = lane.peer
        peer.limit.success()
        traffic = self._traffic
        if not peer.calm:
            traffic.learning.signal(peer, Signal.HEALTHY, message, self._clock.now_us())
        workers = traffic.workers
        workers.until_sample -= 1
        if workers.until_sample <= 0:
            workers.succeeded(message, self._clock.now_us())
        trail = peer.trail
        trail.left -= 1
        if trail.left <= 0:
            self._figures.timed(trail, message.started_at, self._clock.now_us())
        self._ended(lane, message)
        if self._watch.is_wanted:
            duration_ms = (self._clock.now_us() - message.started_at) // 1000
            self._watch.delivered(message, status, duration_ms)
        self._handlers[message.kind].ended(message, lane, _DELIVERED, None)
        if lane.ready and not lane.place:
            traffic.turns.enter(lane)
        traffic.pump()

    def failed(self, message: Message, result: AttemptResult) -> None:
        """An attempt did not succeed (`core.message.Home`)."""
        now, wall = self._clock.now_us(), self._clock.wall_us()
        lane = self._lanes.by_number[self._pending.index.lane[message.slot]]
        policy = retry_of(message, self._policy, self._rules.rules)
        trail = lane.peer.trail
        signal = self._traffic.learning.failed(lane.peer, message, result, policy, now)
        self._ended(lane, message)
        pending = self._pending
        expires_us = None
        if pending.may_expire:
            expires_us = self._clock.to_wall(QueueUs(pending.expires_us(message.slot)))
        verdict = decide(
            result,
            message.attempt,
            policy,
            wall,
            self._random,
            expires_us=expires_us,
        )
        if isinstance(verdict, Delivered):
            trail.left -= 1
            if trail.left <= 0:
                self._figures.timed(trail, message.started_at, now)
            if self._watch.is_wanted:
                self._watch.delivered(message, result.status or 0, result.duration_ms)
        else:
            self._figures.failed(
                trail, result, message.started_at, now, answered=signal is Signal.HEALTHY
            )
            self._figures.attempts[_outcome(result)] += 1
            if not isinstance(verdict, NotSpent):
                # What is stored is the wall clock's.
                started_at = self._clock.to_wall(QueueUs(message.started_at))
                message.history += encode_attempt(started_at, result)
        self._handlers[message.kind].ended(message, lane, verdict, result)
        self._traffic.turns.enter(lane)
        self._traffic.pump()

    async def read_body(self, positions: list[int]) -> list[bytes]:
        """See `core.message.Home`."""
        return await self._bodies.read(positions)

    async def drain(self, timeout_s: float) -> bool:
        """Wait until nothing is in flight; False when time ran out first.

        Dead letters and other ends that wait for space are not waited for: the next start makes
        them again.
        """
        figures = self._figures
        try:
            async with asyncio.timeout(timeout_s):
                while figures.in_flight or (figures.burying and not self._lack_space):
                    figures.fell.clear()
                    await figures.fell.wait()
        except TimeoutError:
            return False
        return True

    @property
    def _lack_space(self) -> bool:
        return self._dead_letters.lacks_space or self._endings.lacks_space

    def look_again(self) -> None:
        """Something changed that `drain` may have waited for."""
        self._figures.fell.set()

    def _ended(self, lane: Lane, message: Message) -> None:
        peer = lane.peer
        workers = self._traffic.workers
        if message.takes == WORKER:  # as `Workers.end` has it, without the call
            message.takes = NOTHING
            del workers.taken[message]
            peer.in_flight -= 1
        elif message.takes != NOTHING:  # else the partition has left the traffic
            workers.end(message)
            peer.in_flight -= 1
        if self._pending.has_lines:
            self._lines.ended(message.slot)
        self._figures.in_flight -= 1
        if not self._figures.in_flight:
            self._figures.fell.set()
        if lane.place:
            self._traffic.turns.look_again(lane)
        if peer.lanes > 1:
            self._traffic.enter_others(lane)


def _outcome(result: AttemptResult) -> str:
    """The `outcome` label of an attempt that was not a success."""
    if result.failure is not None:
        return result.failure.value
    return f"http_{(result.status or 0) // 100}xx"
