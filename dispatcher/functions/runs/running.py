"""Runs calls: waits until they are due, and lets them wait for their turn.

is_due ─▶ alarm (not before, retry) ─▶ lane ─▶ take_turn ─▶ attempts ─▶ note
waits  ─▶ alarm (time, expiration)  ─▶ due, or Ended
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from dispatcher.core.clock import Random, SteadyClock
from dispatcher.core.room import Rooms
from dispatcher.core.tenure import Tenure
from dispatcher.functions import errors
from dispatcher.functions.deciding.judging import Judging
from dispatcher.functions.events import Ended
from dispatcher.functions.lanes.lane import Lane, Place
from dispatcher.functions.lanes.turns import NOTHING, Turns
from dispatcher.functions.machine import Machine
from dispatcher.functions.model import Call, How, Phase
from dispatcher.functions.ports import Sender, Store
from dispatcher.functions.runs.alarms import Alarms
from dispatcher.functions.runs.asking import Targets
from dispatcher.functions.runs.attempts import Attempts
from dispatcher.functions.runs.config import RunnerConfig
from dispatcher.functions.runs.under_way import Run, UnderWay
from dispatcher.functions.runs.watching import Nobody, Watcher
from dispatcher.queue.ports import Deliverer
from dispatcher.telemetry.supervisor import Died

_AT_ONCE: Final = 1000
"""Calls looked at at the start before the loop has its turn."""
_NO_LANE: Final = ""
"""Of calls with an endpoint that cannot be read: their run says so."""


class Runner:
    """Runs the calls of one partition (`machine.Listener`, `lane.Owner`, `under_way.Desk`).

    Life: made with an empty machine, `start` after recovery, then `await drain` and `await stop`.
    """

    def __init__(
        self,
        machine: Machine,
        store: Store,
        *,
        turns: Turns,
        targets: Targets,
        deliverer: Sender,
        next_key: Callable[[], int],
        config: RunnerConfig,
        clock: SteadyClock,
        random: Random,
        died: Died,
        watcher: Watcher | None = None,
        fetched: Deliverer | None = None,
        rooms: Rooms | None = None,
        tenure: Tenure | None = None,
    ) -> None:
        """
        Args:
            turns: those of the process.
            next_key: makes the key of a child.
            died: told what nobody foresaw; the run is made again.
            fetched: who gets the messages of lanes that are pulled (`Turns.pull`); their `home` is
                to be told the end, or that they were not fetched.
            rooms: room for the requests of all partitions of the process.
            tenure: says whether anything may be sent for the partition; None: always.
        """
        self.machine = machine
        self.targets = targets
        self._store = store
        self._turns = turns
        self._clock = clock
        self._alarms = Alarms(machine.calls, self._look, clock)
        self._places: dict[int, Place] = {}
        self._ending: set[int] = set()
        self._judging = Judging(
            machine.trees, rules=config.rules, next_key=next_key, clock=clock, random=random
        )
        self._under_way = UnderWay(machine.calls, self, turns=turns, clock=clock, died=died)
        self._attempts = Attempts(
            self._under_way,
            machine,
            store,
            self,
            turns=turns,
            targets=targets,
            deliverer=deliverer,
            fetched=fetched,
            judging=self._judging,
            rooms=rooms or Rooms(),
            config=config,
            clock=clock,
            watcher=watcher or Nobody(),
            tenure=tenure or Tenure(),
        )
        self._is_started = self._is_closed = False

    def __repr__(self) -> str:
        count = len(self._under_way.runs)
        return f"<Runner: {count} under way, {len(self._places)} waiting>"

    @property
    def running(self) -> frozenset[int]:
        """Keys of the calls that are under way."""
        return frozenset(self._under_way.runs)

    @property
    def in_flight(self) -> int:
        """How many calls are under way."""
        return len(self._under_way.runs)

    @property
    def waiting(self) -> int:
        """How many calls wait for their turn."""
        return len(self._places)

    def is_running(self, key: int) -> bool:
        """Whether a run of the call is under way."""
        return key in self._under_way.runs

    def starts_at_us(self, call: Call) -> int:
        """When the next run may start, by the wall clock; 0: when it has its turn."""
        return self._due_us(call)

    @property
    def rests_until_us(self) -> int:
        """Until when no run is begun, as something is lacking here, by the wall clock."""
        return self._under_way.rests_until_us

    def run_of(self, key: int) -> Run | None:
        """The run of a call that is under way."""
        return self._under_way.runs.get(key)

    def lane_of(self, call: Call) -> Lane | None:
        """The lane of a call, where there is one now."""
        return self._turns.lanes.find(self._lane_of(call))

    def is_waiting(self, key: int) -> bool:
        """Whether a call waits for its turn."""
        return key in self._places

    # Life.

    def start(self) -> None:
        """Run what is due. What was due when the process before this one ended may have been run,
        and its answer lost."""
        self._is_started = True
        self._start_some(list(self.machine.calls)[::-1])

    def _start_some(self, keys: list[int]) -> None:
        """The last ones first. There may be a million: the loop has its turn in between."""
        for key in reversed(keys[-_AT_ONCE:]):
            call = self.machine.calls.get(key)
            if call is not None:
                if call.phase is Phase.DUE and self._may_have_run(call):
                    self._judging.may_have_run(key)
                self.note(call)
        del keys[-_AT_ONCE:]
        if keys:
            asyncio.get_running_loop().call_soon(self._start_some, keys)

    def is_run_again(self, key: int) -> None:
        """A call has ended, and is about to be made again under its key."""
        self._judging.may_have_run(key)

    def _may_have_run(self, call: Call) -> bool:
        """Whether it may have been run at its step: the first time may still be to come."""
        return call.attempts > 0 or self._due_us(call) <= self._clock.wall_us()

    def close(self) -> None:
        """Start no more runs; those under way go on. Idempotent."""
        self._is_closed = True
        self._alarms.stop()
        for place in self._places.values():
            self._turns.leave(place)
        self._places.clear()

    async def drain(self, timeout_s: float) -> bool:
        """Close, and wait until nothing is under way; False when time ran out first."""
        self.close()
        return await self._under_way.drain(timeout_s)

    def abandon(self) -> None:
        """Close, and end the requests that are under way: nobody wants to know how they end.
        Idempotent."""
        self.close()
        self._attempts.abandon()

    async def stop(self) -> None:
        """Leave what is under way as it is: it is run again after the next start, in this process
        or another, and its requests end here. Idempotent."""
        self.abandon()
        await self._under_way.stop()

    # What the machine tells (`machine.Listener`).

    def is_due(self, call: Call) -> None:
        """It is to be run."""
        self.note(call)

    def waits(self, call: Call) -> None:
        """It waits for others, for time, or for somebody outside."""
        self.note(call)

    def is_asked_to_end(self, call: Call) -> None:
        """What follows from that is told by itself."""

    def has_ended(self, call: Call) -> None:
        """A root call is not to be run any more."""
        self._forget(call)

    def is_gone(self, call: Call) -> None:
        """Nor is this."""
        self._forget(call)

    def _forget(self, call: Call) -> None:
        self._alarms.drop(call)
        self._ending.discard(call.key)
        self._judging.forget(call)
        self._attempts.ended(call)
        place = self._places.pop(call.key, None)
        if place is not None:
            self._turns.leave(place)

    # When a call is looked at.

    def note(self, call: Call) -> None:
        """Let a call wait for its turn if it is due, and see that it is looked at when it is or has
        to end. Called in the middle of `apply` too: nothing is submitted here."""
        if not self._is_started or self._is_closed:
            return
        if call.phase is Phase.ENDED or call.key in self._ending:
            return
        at_us = call.expires_us
        if call.phase is Phase.SUSPENDED:
            at_us = min(at_us, call.poll_due_us or at_us)
        elif call.phase is Phase.DUE and call.key not in self._under_way.runs:
            due_us, now_us = self._due_us(call), self._clock.wall_us()
            if due_us > now_us:
                at_us = min(at_us, due_us)
            elif call.key not in self._places and call.expires_us > now_us:
                self._enter(call)
        self._alarms.set(call, at_us)

    def _due_us(self, call: Call) -> int:
        due_us = max(call.due_us, self._under_way.rests_until_us)
        return due_us if call.step or call.attempts else max(due_us, call.not_before_us)

    def _enter(self, call: Call) -> None:
        self._places[call.key] = self._turns.enter(
            self,
            call.key,
            self._lane_of(call),
            call.function,
            root=call.root,
            is_resume=call.is_resume,
        )

    def _lane_of(self, call: Call) -> str:
        try:
            return self.targets.of(call.endpoint).lane_of(call)
        except ValueError:
            return _NO_LANE

    def _look(self, call: Call) -> None:
        """The alarm of a call went off."""
        now_us = self._clock.wall_us()
        if call.expires_us <= now_us:
            what = call.function or call.endpoint  # promises have a name, and no function
            self.end(call, How.EXPIRED, errors.expired(what, call.expires_us))
            return
        if call.phase is Phase.SUSPENDED and 0 < call.poll_due_us <= now_us:
            self.machine.time_has_come(call)
        self.note(call)

    def end(self, call: Call, how: How, result: bytes) -> None:
        """The server ends a call."""
        if call.key not in self._ending:
            self._ending.add(call.key)
            event = Ended(call.key, how, result, self._clock.wall_us())
            self._store.submit(event, urgent=True)

    # A run.

    def take_turn(self, place: Place) -> None:
        """See `lane.Owner`."""
        self._places.pop(place.key, None)
        if not self._places:
            self._places = {}  # one that was large keeps its memory
        call = self.machine.calls.get(place.key)
        now_us = self._clock.wall_us()
        if (
            call is None
            or call.phase is not Phase.DUE
            or call.expires_us <= now_us
            or self._is_closed
            or self._due_us(call) > now_us
        ):
            self._turns.finish(place, NOTHING)
            if call is not None:
                self.note(call)
            return
        self._attempts.begin(call, place)
