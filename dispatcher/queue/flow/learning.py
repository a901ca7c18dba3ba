"""What is learned of destinations from how attempts end: how much to send at once, and when to send
nothing.

Limit, breaker and pause of each destination are kept here, and the alarms that end a pause. A
destination that is left alone has at most one alarm that counts (`Peer.alarm`): its lanes are
looked at again when that goes off, and may be left alone again.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Final

from dispatcher.core.breaker import Signal, State, classify
from dispatcher.core.clock import QueueUs, SteadyClock
from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult
from dispatcher.core.rate import Bucket
from dispatcher.core.retry import RetryPolicy, parse_retry_after
from dispatcher.queue.lanes.gates import is_shut
from dispatcher.queue.lanes.lanes import SLOW
from dispatcher.queue.lanes.peers import TOLD_OF_BREAKER, TOLD_OF_WISH, UNTOLD, Peer
from dispatcher.queue.ports import Observer

_FIRST_REST_US: Final = 100_000
_LONGEST_REST_US: Final = 30_000_000


class Learning:
    """Lessons of all destinations. `on_alarm` is called with the instant of each new alarm; no
    destination is left alone for longer than `pause_max_ms` because it asked for that."""

    __slots__ = ("_alarms", "_clock", "_count", "_observer", "_on_alarm", "_pause_max_ms")

    def __init__(
        self,
        *,
        observer: Observer,
        clock: SteadyClock,
        pause_max_ms: int,
        on_alarm: Callable[[int], None],
    ) -> None:
        self._pause_max_ms = pause_max_ms
        self._observer = observer
        self._clock = clock
        self._on_alarm = on_alarm
        self._alarms: list[tuple[int, int, Peer]] = []
        self._count = 0  # keeps alarms of one instant in order, as destinations have none

    def failed(
        self, peer: Peer, message: Message, result: AttemptResult, policy: RetryPolicy, now_us: int
    ) -> Signal:
        """Learn from an attempt that was not a plain success, and still takes up what it did;
        returns what it says of its destination.

        Args:
            policy: the message's.
            now_us: when it ended, by the queue's clock.
        """
        signal = classify(result, policy)
        if signal is Signal.HEALTHY:
            peer.limit.success()
        elif signal is Signal.OVERLOAD:
            peer.limit.overload(message.started_at, now_us)
        elif not (peer.tried or result.ours):
            peer.limit.tried()
        if result.retry_after is not None:
            self._asked(peer, result, result.retry_after, policy, now_us)
        if signal is not Signal.HEALTHY or not peer.calm:
            self.signal(peer, signal, message, now_us, result)
        if result.ours:
            _rest(peer, now_us)
        return signal

    def _asked(
        self, peer: Peer, result: AttemptResult, wish: bytes, policy: RetryPolicy, now_us: int
    ) -> None:
        """An answer says when to ask again. The message waits for that, where it is tried again at
        all; others too, where the answer is about all of them."""
        status = result.status
        if status is None or policy.acks(status) or policy.is_final(status):
            return
        asked_ms = parse_retry_after(wish, self._clock.wall_us()) or 0
        peer.asked_until = now_us + min(asked_ms, policy.max_delay_ms) * 1000
        if status not in (429, 503):
            return
        # A message may wait for longer than others do; it must not make them wait.
        most_ms = min(policy.max_delay_ms, self._pause_max_ms)
        until_us = now_us + min(asked_ms, most_ms) * 1000
        if until_us > max(peer.paused_until, now_us):
            peer.paused_until = until_us
            peer.calm = False
            self._tell(peer, until_us, TOLD_OF_WISH, result)

    def signal(
        self,
        peer: Peer,
        signal: Signal,
        message: Message,
        now_us: int,
        result: AttemptResult | None = None,
    ) -> None:
        """Tell the breaker how an attempt ended, and say so where it opened or closed. `result` is
        what it came to, None of a plain success; one for a reason on this machine says nothing at
        all."""
        breaker = peer.breaker
        ours = result is not None and result.ours
        was_calm, was_closed = peer.calm, breaker.state is State.CLOSED
        changed = breaker.finish(signal, message.started_at, now_us)
        if ours and was_calm:
            return
        peer.calm = False
        if not ours:
            peer.lacking_since = peer.rests_until = 0
            peer.tried = True
            peer.hangs = signal is not Signal.HEALTHY and message.takes == SLOW
        if breaker.state is State.CLOSED:
            # A success of before the last probe says nothing, and leaves failures counted.
            if signal is Signal.HEALTHY and message.started_at >= peer.probed_at:
                peer.trail.failing_since = 0
                peer.calm = not is_shut(peer, now_us)
                if peer.calm:
                    peer.told = UNTOLD
            if changed:
                self._observer.lane_reopened(str(peer.destination))
        elif changed and was_closed and breaker.open_until_us > now_us:
            assert result is not None, "no success opens it"
            self._tell(peer, breaker.open_until_us, TOLD_OF_BREAKER, result)

    def slowed(self, peer: Peer) -> None:
        """An attempt runs longer than attempts usually take: before one has succeeded its
        destination counts as one that hangs."""
        peer.calm = False
        peer.hangs = True

    def _tell(self, peer: Peer, until_us: int, why: int, result: AttemptResult) -> None:
        """Once, until the destination has answered again; that its breaker has opened also where
        it was told before that the destination asked for a rest."""
        if peer.told < why:
            peer.told = why
            until = self._clock.to_wall(QueueUs(until_us))
            word = "breaker" if why == TOLD_OF_BREAKER else "retry_after"
            self._observer.lane_backed_off(str(peer.destination), until, word, result)

    def leave_alone(self, peer: Peer, until_us: int | None) -> None:
        """Have the lanes of a destination looked at again at this instant, which a gate has said
        (`Closed.until_us`). None: something that happens lets them wait for a turn again."""
        if until_us is not None and not 0 < peer.alarm <= until_us:
            peer.alarm = until_us
            self._count += 1
            heappush(self._alarms, (until_us, self._count, peer))
            self._on_alarm(until_us)

    def spend(self, peer: Peer, bucket: Bucket, now_us: int) -> None:
        """An attempt starts at a destination with a rate. With the last token it is left alone
        until there is another."""
        bucket.take(now_us)
        opens_us = bucket.opens_at(now_us)
        if opens_us > now_us:
            peer.spent = True
            self.leave_alone(peer, opens_us)

    def obeyed(self, peer: Peer, now_us: int) -> None:
        """A destination has another rate, or none any more."""
        bucket = peer.bucket
        if bucket is not None and not peer.is_refilled(now_us):
            self.leave_alone(peer, bucket.opens_at(now_us))

    def next_at(self) -> int | None:
        """When `wake` has something to do, by the queue's clock; None: never."""
        return self._alarms[0][0] if self._alarms else None

    def wake(self, now_us: int) -> list[Peer]:
        """Destinations whose alarm went off: their lanes may wait for a turn."""
        peers: list[Peer] = []
        while self._alarms and self._alarms[0][0] <= now_us:
            at, _, peer = heappop(self._alarms)
            if peer.alarm == at:
                peer.alarm = 0
                if peer.spent and not peer.is_refilled(now_us):
                    assert peer.bucket is not None, "or there is nothing to spend"
                    self.leave_alone(peer, peer.bucket.opens_at(now_us))
                else:
                    peers.append(peer)
        return peers

    def __len__(self) -> int:
        return len(self._alarms)


def _rest(peer: Peer, now_us: int) -> None:
    """This machine lacked something for an attempt. Until one ends otherwise, all messages of the
    destination rest, for as long as that has lasted already: it is not tried over and over with
    each of ten thousand."""
    peer.calm = False  # its next success is to be heard of
    peer.lacking_since = peer.lacking_since or now_us
    rest_us = max(_FIRST_REST_US, min(now_us - peer.lacking_since, _LONGEST_REST_US))
    peer.rests_until = now_us + rest_us
