"""The runs of a partition that are under way.

A run is *under way* from its turn until what came of it is durable and applied, and meanwhile
nothing else starts its call: at most one run of a call is in flight. What is asked and what was
answered counts for one step; where the call has moved on meanwhile, the answer is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Final, Protocol

from dispatcher.core.answer import Answer
from dispatcher.core.clock import SteadyClock
from dispatcher.core.message import Message
from dispatcher.core.room import Room
from dispatcher.errors import DispatcherError
from dispatcher.functions.lanes.lane import Place
from dispatcher.functions.lanes.turns import NOTHING, Turns
from dispatcher.functions.model import Call, How, Phase
from dispatcher.telemetry.supervisor import Died, Supervisor

_REST_US: Final = 1_000_000
_LONGEST_REST_US: Final = 30_000_000


class Run:
    """The run of a call, at the step at which it was begun.

    `started_us` is when its request was sent, by the wall clock, 0 before that, and `ends_us` when
    that times out; `room` is what its request takes; `answer` is there until what it means is
    durable; `message` while it is sent and not answered, and not fetched. `is_referred`: its state
    was left out.
    """

    __slots__ = (
        "answer",
        "ends_us",
        "is_referred",
        "key",
        "message",
        "place",
        "room",
        "started_us",
        "step",
    )

    def __init__(self, place: Place, step: int) -> None:
        self.place = place
        self.key = place.key
        self.step = step
        self.started_us = self.ends_us = 0
        self.is_referred = False
        self.message: Message | None = None
        self.room: Room | None = None
        self.answer: Answer | None = None

    def __repr__(self) -> str:
        return f"<Run of {self.key:x} step={self.step}>"


class Desk(Protocol):
    """Who sees to calls that are not under way: the runner."""

    def note(self, call: Call) -> None:
        """It is not under way any more: see when it is to be looked at."""

    def end(self, call: Call, how: How, result: bytes) -> None:
        """It cannot go on: it ends with this serialized CallResult."""


class UnderWay:
    """`runs` by the key of their call. Until `rests_until_us` (wall clock) none is to be begun:
    something is lacking here."""

    __slots__ = (
        "_calls",
        "_clock",
        "_desk",
        "_died",
        "_fell",
        "_refused",
        "_supervisor",
        "_turns",
        "is_stopped",
        "rests_until_us",
        "runs",
    )

    def __init__(
        self, calls: Mapping[int, Call], desk: Desk, *, turns: Turns, clock: SteadyClock, died: Died
    ) -> None:
        """`calls` is the table of calls; `died` is told what nobody foresaw."""
        self.runs: dict[int, Run] = {}
        self.rests_until_us = 0
        self.is_stopped = False
        self._calls = calls
        self._desk = desk
        self._turns = turns
        self._clock = clock
        self._died = died
        self._supervisor = Supervisor(died)
        self._refused = 0  # events in a row
        self._fell = asyncio.Event()

    def __repr__(self) -> str:
        return f"<UnderWay: {len(self.runs)} runs>"

    def begin(self, call: Call, place: Place) -> Run:
        """The run of a call that has its turn."""
        run = self.runs[call.key] = Run(place, call.step)
        return run

    def call_of(self, run: Run) -> Call | None:
        """Its call, if that is still where it was asked."""
        call = self._calls.get(run.key)
        if call is None or call.step != run.step or call.phase is not Phase.DUE:
            return None
        return call

    def over(self, run: Run) -> None:
        """Nothing of this run is under way any more."""
        self._turns.finish(run.place, NOTHING)
        if run.answer is not None:
            run.answer.release()
        if run.room is not None:
            run.room.release()
        if self.runs.get(run.key) is run:
            del self.runs[run.key]
        if not self.runs:
            self._fell.set()
        call = self._calls.get(run.key)
        if call is not None:
            self._desk.note(call)

    def spawn(self, name: str, run: Run, work: Coroutine[object, object, None]) -> None:
        """Do something for a run in a task; where that fails, it is made again."""
        self._supervisor.spawn(name, self._unless_it_fails(name, run, work))

    async def _unless_it_fails(
        self, name: str, run: Run, work: Coroutine[object, object, None]
    ) -> None:
        try:
            await work
        except Exception as error:
            self.failed(name, run, error)

    def failed(self, name: str, run: Run, error: Exception) -> None:
        """Something raised for a run: a call must not be under way for ever for our mistake."""
        if not isinstance(error, DispatcherError):
            self._died(name, error)
        self.not_stored(run)

    def stored(self) -> None:
        """An event of a run is durable."""
        self._refused = 0

    def not_stored(self, run: Run) -> None:
        """Something is lacking here. Runs would change the world and nobody would know: so all of
        the partition rest a while."""
        rest_us = min(_REST_US << min(self._refused, 5), _LONGEST_REST_US)
        self._refused += 1
        self.rests_until_us = max(self.rests_until_us, self._clock.wall_us() + rest_us)
        self.over(run)

    async def drain(self, timeout_s: float) -> bool:
        """Wait until nothing is under way; False when time ran out first."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.runs:
                    self._fell.clear()
                    await self._fell.wait()
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """Leave what is under way as it is. Idempotent."""
        self.is_stopped = True
        await self._supervisor.stop()
        for run in self.runs.values():
            self._turns.finish(run.place, NOTHING)
            if run.room is not None:
                run.room.release()
