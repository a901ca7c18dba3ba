"""What all partitions of a process share on the way out: destinations, workers, turns and memory.

Whoever frees something (an attempt ended, a message was read back, a pause is over) calls `pump`,
which gives lanes their turns, whichever partition they are of.
"""

from __future__ import annotations

import asyncio
from collections import deque

from dispatcher.core.clock import SteadyClock
from dispatcher.core.message import Message
from dispatcher.core.rules.table import RulesInForce
from dispatcher.queue.flow.backlog import Backlog
from dispatcher.queue.flow.learning import Learning
from dispatcher.queue.lanes.alarm import Alarm
from dispatcher.queue.lanes.lanes import Home, Lane
from dispatcher.queue.lanes.peers import Peer, Peers
from dispatcher.queue.lanes.turns import Turns
from dispatcher.queue.lanes.warm import Room
from dispatcher.queue.lanes.workers import Workers
from dispatcher.queue.ports import Observer

_TURNS_AT_ONCE = 64
"""Turns that are given before the loop gets its own: what hangs needs no worker, so nothing else
bounds how many attempts start in one go."""
_PEERS_AT_ONCE = 500
_LEAST_WAIT_US = 5_000
_PUT_ON = 4


class Traffic:
    """The attempts of a process. `members` are the partitions that may start some."""

    def __init__(
        self,
        *,
        workers: int,
        workers_slow: int,
        pause_max_ms: int,
        observer: Observer,
        clock: SteadyClock,
        warm_bytes: int,
        rules: RulesInForce | None = None,
    ) -> None:
        self.clock = clock
        self.members: list[Home] = []
        self.peers = Peers(limit_max=workers, pause_max_ms=pause_max_ms, rules=rules)
        self.workers = Workers(workers, workers_slow)
        self.turns = Turns(self.peers, self.workers)
        self.room = Room(warm_bytes)
        self.backlog = Backlog()
        self.learning = Learning(
            observer=observer,
            clock=clock,
            pause_max_ms=pause_max_ms,
            on_alarm=self._pause_began,
        )
        self._pauses = Alarm(clock.now_us, self._pause_over)
        self._watch = Alarm(clock.now_us, self._look)
        self.is_watched = False
        self._is_hurried = False
        self._patience = self.workers.usual.patience()
        self._put_off: deque[Lane] = deque()
        self._is_closed = False
        self._again: asyncio.Handle | None = None

    def close(self) -> None:
        """Do nothing more by itself. Idempotent."""
        self._is_closed = True
        self._pauses.cancel()
        self._watch.cancel()
        if self._again is not None:
            self._again.cancel()
            self._again = None

    def join(self, member: Home) -> None:
        """A partition is open, and has its turns from now on."""
        self.members.append(member)
        self._is_closed = False

    def leave(self, member: Home) -> None:
        """A partition ends, and what it took up is free for the others. After the last one nothing
        happens by itself, until one joins again. Idempotent."""
        if member not in self.members:
            return
        self.members.remove(member)
        self.turns.leave(member)
        self._put_off = deque(lane for lane in self._put_off if lane.home is not member)
        for lane in self.workers.leave(member):
            lane.peer.in_flight -= 1
            self.enter_others(lane)
        self.room.leave_all(member)
        if self.members:
            self.pump_soon()
        else:
            self.close()

    def pump(self) -> None:
        """Give lanes their turns, as long as any of them may have one."""
        turns = self.turns
        if self._put_off:
            self._put_on()
        if not turns.waiting:
            return
        for _ in range(_TURNS_AT_ONCE):
            found = turns.next()
            if found is None:
                if not self._is_hurried and turns.want_worker:
                    self._hurry()
                return
            lane, kind = found
            if not lane.home.take_turn(lane, kind):
                self._put_off.append(lane)
                if len(self.members) == 1:
                    return
        self.pump_soon()

    def _put_on(self) -> None:
        """Lanes that could not use their turn have it again, a few at a time."""
        for _ in range(min(len(self._put_off), _PUT_ON)):
            self.turns.enter(self._put_off.popleft(), first=True)

    def pump_soon(self) -> None:
        """Do it after what the loop has to do now."""
        if self._again is None and not self._is_closed:
            self._again = asyncio.get_running_loop().call_soon(self._pump_again)

    def _pump_again(self) -> None:
        self._again = None
        self.pump()

    def put_off(self, lane: Lane) -> None:
        """The lane could not use its turn, and has it again as soon as something has changed."""
        self._put_off.append(lane)

    def resume(self) -> None:
        """Whatever kept lanes from using their turns may be over for all of them at once."""
        put_off, self._put_off = self._put_off, deque()
        for lane in put_off:
            self.turns.enter(lane)
        self.pump()

    def watch(self, message: Message) -> None:
        """An attempt has started while nobody looks for attempts that have become slow."""
        self.is_watched = True
        self._watch.set(message.started_at + self._patience.patient_us)

    def enter_others(self, lane: Lane) -> None:
        """An attempt of a lane ended: lanes of other partitions for its destination come first."""
        members = self.members
        at = members.index(lane.home) + 1 if lane.home in members else 0
        for member in (*members[at:], *members[:at]):
            if member is lane.home:
                continue
            other = member.lane_of(lane.peer)
            if other is not None:
                self.turns.enter(other)

    def _pause_began(self, at_us: int) -> None:
        if not self._is_closed:
            self._pauses.set(at_us)

    def _pause_over(self) -> None:
        for peer in self.learning.wake(self.clock.now_us()):
            self._enter_all(peer)
        wakes_at = self.learning.next_at()
        if wakes_at is not None:
            self._pause_began(wakes_at)
        self.pump()

    def _enter_all(self, peer: Peer) -> None:
        """Let all lanes of a destination wait for a turn. Where a rate has one token for all of
        them, each is the first once."""
        members = self.members
        at = peer.first % len(members) if members else 0
        for member in (*members[at:], *members[:at]):
            lane = member.lane_of(peer)
            if lane is not None:
                self.turns.enter(lane)

    def try_now(self, peer: Peer) -> None:
        """Leave a destination alone no longer: its pause is over, and its breaker probes it."""
        peer.paused_until = 0
        peer.breaker.probe_now(self.clock.now_us())
        self._enter_all(peer)
        self.pump()

    def rules_changed(self) -> None:
        """Other rules are in force: every destination gets what they say of it, some now, and the
        others when the loop has had its turn."""
        for member in self.members:
            member.rules_changed()
        self._obey(list(self.peers))

    def _obey(self, peers: list[Peer]) -> None:
        now_us = self.clock.now_us()
        for peer in peers[-_PEERS_AT_ONCE:]:
            if peer.lanes:
                self.peers.obey(peer, now_us)
                self.learning.obeyed(peer, now_us)
                self._enter_all(peer)
        del peers[-_PEERS_AT_ONCE:]
        if peers:
            asyncio.get_running_loop().call_soon(self._obey, peers)
        self.pump()

    # ------------------------------------------------------------------ what has become slow

    def _hurry(self) -> None:
        """A lane waits for a worker: look sooner whether one is held by an attempt that is slow."""
        oldest_us = self.workers.oldest_us()
        if oldest_us is not None and not self._is_closed:
            self.is_watched = self._is_hurried = True
            at_us = max(oldest_us + self._patience.risky_us, self.clock.now_us() + _LEAST_WAIT_US)
            self._watch.set(at_us)

    def _look(self) -> None:
        self.is_watched = self._is_hurried = False
        workers, turns = self.workers, self.turns
        patience = self._patience = workers.usual.patience()
        now_us = self.clock.now_us()
        if turns.want_worker:
            slow = workers.turn_slow(now_us, patience.hurried_us, patience.risky_us)
        else:
            slow = workers.turn_slow(now_us, patience.patient_us, patience.patient_us)
        for lane in slow:
            self.learning.slowed(lane.peer)
            turns.look_again(lane)
        turns.relax()
        self.pump()
        oldest_us = workers.oldest_us()
        if oldest_us is not None and not (self.is_watched or self._is_closed):
            self.is_watched = True
            at_us = max(oldest_us + patience.patient_us, now_us + patience.hurried_us)
            self._watch.set(at_us)
