"""Starting attempts of one partition: what a lane's turn comes to, and the timer of its retries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from dispatcher.core.clock import QueueUs
from dispatcher.core.message import Home, Message
from dispatcher.core.rules.table import RulesInForce
from dispatcher.core.tenure import Tenure
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.commit.endings import Endings
from dispatcher.queue.deadletters.store import DeadLetters
from dispatcher.queue.flow.figures import Figures
from dispatcher.queue.flow.traffic import Traffic
from dispatcher.queue.lanes.alarm import Alarm
from dispatcher.queue.lanes.gates import first_closed
from dispatcher.queue.lanes.lanes import WORKER, Lane, Lanes
from dispatcher.queue.lanes.lines import Lines
from dispatcher.queue.lanes.lineup import Lineup
from dispatcher.queue.lanes.loading import Loading
from dispatcher.queue.lanes.peers import Peer
from dispatcher.queue.lanes.warm import READ_AHEAD_BELOW, Warm
from dispatcher.queue.pending.index import State
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.ports import Deliverer

_EXPIRED_AT_ONCE = 100
_LANES_AT_ONCE = 500
_PUT_OFF_US: Final = 1_000_000
_BREAK_US: Final = 1000


class Starting:
    """Starts attempts (`lanes.Home`). Nothing starts before `begin` and after `close`."""

    __slots__ = (
        "_alarm",
        "_clock",
        "_committer",
        "_dead_letters",
        "_deliverer",
        "_endings",
        "_expire",
        "_figures",
        "_home",
        "_is_closed",
        "_is_open",
        "_lanes",
        "_lines",
        "_lineup",
        "_loading",
        "_pending",
        "_rules",
        "_taken",
        "_tenure",
        "_traffic",
        "_warm",
    )

    _home: Home

    def __init__(
        self,
        pending: Pending,
        lanes: Lanes,
        *,
        traffic: Traffic,
        lineup: Lineup,
        lines: Lines,
        warm: Warm,
        loading: Loading,
        committer: Committer,
        dead_letters: DeadLetters,
        endings: Endings,
        figures: Figures,
        rules: RulesInForce,
        tenure: Tenure,
        expire: Callable[[int], None],
    ) -> None:
        """`expire` is told the slot of a READY message that has waited for too long."""
        self._tenure = tenure
        self._expire = expire
        self._pending = pending
        self._lanes = lanes
        self._traffic = traffic
        self._taken = traffic.workers.taken
        self._lineup = lineup
        self._lines = lines
        self._warm = warm
        self._loading = loading
        self._committer = committer
        self._dead_letters = dead_letters
        self._endings = endings
        self._figures = figures
        self._rules = rules
        self._clock = traffic.clock
        self._alarm = Alarm(self._clock.now_us, self._tick)
        self._deliverer: Deliverer | None = None
        self._is_open = False
        self._is_closed = False

    def begin(self, deliverer: Deliverer, home: Home) -> None:
        """Attempts may start from now on, unless it was closed already; `home` is told how they
        end."""
        if self._is_closed:
            return
        self._deliverer = deliverer
        self._home = home
        self._is_open = True
        self._traffic.join(self)
        self._enter(list(self._lanes), 0)
        self.arm()

    def _enter(self, lanes: list[Lane], start: int) -> None:
        """Let these lanes wait for a turn, from `start` on: some now, and the others when the loop
        has had its turn."""
        if not self._is_open:
            return
        end = start + _LANES_AT_ONCE
        for lane in lanes[start:end]:
            self._traffic.turns.enter(lane)
        if end < len(lanes):
            asyncio.get_running_loop().call_soon(self._enter, lanes, end)
        self.pump()

    def close(self) -> None:
        """Start no more attempts. Idempotent."""
        self._is_open = False
        self._is_closed = True

    def leave(self) -> None:
        """Do nothing more by itself, and take no more part in the traffic. Idempotent."""
        self.close()
        self._alarm.cancel()
        self._lines.close()
        self._traffic.leave(self)

    def may_start(self) -> bool:
        """Whether attempts may be started at all."""
        tenure = self._tenure
        return (
            self._is_open
            and (tenure.is_for_good or tenure.holds())
            and not self._committer.dead
            and not (self._figures.burying and self._dead_letters.is_behind)
        )

    def pump(self) -> None:
        """Give lanes their turns."""
        self._traffic.pump()

    def take_turn(self, lane: Lane, kind: int) -> bool:
        """See `lanes.Home`."""
        if not self._is_open or self._committer.dead:
            return True  # for good, or until `begin`: it need not wait
        tenure = self._tenure
        if not (tenure.is_for_good or tenure.holds()):
            return False
        if self._figures.burying and self._dead_letters.is_behind:
            return False
        peer = lane.peer
        now = self._clock.now_us()
        if not lane.ready or peer.in_flight >= peer.limit.value or peer.spent:
            # Halved or spent while it waited; the end of an attempt, or a token, brings it back.
            return True
        if not peer.calm:
            closed = first_closed(self._pending, lane.head, peer, now)
            if closed is not None:
                self._warm.chill(lane)
                self._traffic.learning.leave_alone(peer, closed.until_us)
                return True
        pending = self._pending
        if (pending.ages is not None or pending.deadlines.at) and self._is_too_old(lane, now):
            return True
        if not lane.warm:
            if not lane.loading and not self._loading.read(lane, kind):
                self._traffic.put_off(lane)
            return True
        message = self._warm.take(lane)
        if message.answer_limit and self._endings.are_waiting:
            self._put_off(lane, message, now)
            return True
        self.start(lane, message, now, kind)
        if lane.ready and peer.in_flight < peer.limit.value:
            self._traffic.turns.enter(lane)
        return True

    def _put_off(self, lane: Lane, message: Message, now_us: QueueUs) -> None:
        """What comes of its attempt might find no space: it waits, and the others go on. They may
        make the space. A lane that has many such messages is not gone through without a break."""
        if self._pending.has_lines:
            self._lines.take_out(message.slot)
        self._lineup.schedule(message.slot, QueueUs(now_us + _PUT_OFF_US), now_us)
        self.arm()
        self._traffic.learning.leave_alone(lane.peer, now_us + _BREAK_US)

    def _is_too_old(self, lane: Lane, now_us: QueueUs) -> bool:
        """Take messages that have waited for too long out of the beginning of a lane; whether its
        turn is over with that. One for which that is not sure waits until it is."""
        pending = self._pending
        for _ in range(_EXPIRED_AT_ONCE):
            if not lane.ready:
                return True
            if pending.expires_us(lane.head) > now_us:
                return False
            self._expire(lane.head)
            self.arm()
        self._traffic.turns.enter(lane)
        return True

    def start(self, lane: Lane, message: Message, now_us: int, kind: int) -> None:
        """Start the next attempt of a message that is in no chain, unless a rule for its path lets
        it wait."""
        if self._rules.bounds_paths and self._lines.holds_back(message):
            return
        slot = message.slot
        message.home = self._home
        peer = lane.peer
        self._pending.index.state[slot] = State.IN_FLIGHT
        message.attempt += 1
        message.started_at = now_us
        peer.in_flight += 1
        self._figures.in_flight += 1
        if not peer.calm:
            peer.start(now_us)
        if self._pending.has_lines:
            self._lines.started(slot, now_us)
        if peer.bucket is not None:
            self._traffic.learning.spend(peer, peer.bucket, now_us)
        if kind == WORKER:  # as `Workers.start` has it, without the calls
            message.takes = WORKER
            self._taken[message] = lane
        else:
            self._traffic.workers.start(lane, message, kind)
        if not self._traffic.is_watched:
            self._traffic.watch(message)
        if lane.warm < READ_AHEAD_BELOW and lane.warm < lane.ready and not lane.loading:
            self._loading.read_ahead(lane)
        if message.chunks is not None:  # they may have been copied since it was read
            message.chunks = tuple(self._pending.owned.positions(slot))
        deliverer = self._deliverer
        assert deliverer is not None
        deliverer.deliver(message)

    def chill(self, lane: Lane) -> None:
        """See `lanes.Home`."""
        self._warm.chill(lane)

    def lane_of(self, peer: Peer) -> Lane | None:
        """See `lanes.Home`."""
        return self._lanes.find(peer.destination.key)

    def rules_changed(self) -> None:
        """See `lanes.Home`."""
        self._lines.rules_changed()

    def loaded(self, lane: Lane, had_turn: bool) -> None:
        """Messages of a lane were read back; `had_turn`: that was what its turn came to."""
        self._traffic.turns.enter(lane, first=had_turn)
        self._traffic.pump()

    def line_up(self, slot: int) -> None:
        """Let a message that was dead wait for its turn, as if it were new."""
        if self._pending.ages is not None:
            self._pending.ages.add(slot, self._clock.now_us())
        self._traffic.turns.enter(self._lineup.line_up(slot))
        self.pump()

    def notice(self, lane: Lane) -> None:
        """A lane has one message more, and may have a turn after what is done now."""
        self._traffic.turns.enter(lane)
        self._traffic.pump_soon()

    def look_at(self, lane: Lane) -> None:
        """Something changed for a lane: it may wait for a turn."""
        self._traffic.turns.enter(lane)
        self._traffic.pump()

    def arm(self) -> None:
        """Look again when the next retry is due."""
        due = self._pending.timers.next_at()
        if due is not None and self._is_open:
            self._alarm.set(due)

    def _tick(self) -> None:
        self._enter_due(self._lineup.expire(self._clock.now_us()))

    def due(self, slots: list[int]) -> None:
        """SCHEDULED messages that were taken out of their timers wait for a turn from here on."""
        self._enter_due(self._lineup.due(slots, self._clock.now_us()))

    def _enter_due(self, lanes: list[Lane]) -> None:
        for lane in lanes:
            self._traffic.turns.enter(lane)
        self.arm()
        self.pump()

    def try_now(self, lane: Lane) -> None:
        """End what its destination has asked for and what its breaker waits for: one real message
        goes there at once, if there is one and nothing else holds it up."""
        self._traffic.try_now(lane.peer)

    def under_way(self, message_id: bytes) -> tuple[int, int] | None:
        """When the attempt of a message started, by the wall clock, and after how many milliseconds
        it times out; None when none is under way."""
        found = self._deliverer.under_way(message_id) if self._deliverer is not None else None
        return None if found is None else (self._clock.to_wall(QueueUs(found[0])), found[1])
