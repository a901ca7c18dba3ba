"""Gives the calls of all partitions of a process their turns: `lanes` says whose it is.

One for a process. What has been answered and is not durable yet counts here too, so that a disk
that stands still stops the runs, and not the memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from dispatcher.core.breaker import Signal
from dispatcher.core.clock import SteadyClock
from dispatcher.functions.lanes.lane import At, Owner, Place
from dispatcher.functions.lanes.lanes import Lanes, Lesson

NOTHING: Final = Lesson(Signal.NEUTRAL)
_AT_ONCE: Final = 100
"""Runs started before the loop has its turn."""
_AGAIN_US: Final = 1_000_000
"""Until it is looked again whether runs may be started."""


class Turns:
    """Made within a running event loop. `storing` counts answers whose meaning is not durable.

    `is_behind` says that so much waits in memory for a disk that no run is to be started: the
    letters of calls that died wait there.
    """

    __slots__ = (
        "_clock",
        "_is_behind",
        "_is_standing",
        "_is_stopped",
        "_loop",
        "_soon",
        "_timer",
        "_timer_us",
        "lanes",
        "storing",
    )

    def __init__(
        self, lanes: Lanes, clock: SteadyClock, is_behind: Callable[[], bool] = lambda: False
    ) -> None:
        self.lanes = lanes
        self._is_behind = is_behind
        self._is_standing = False
        self.storing = 0
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._soon: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_us = 0
        self._is_stopped = False

    def __repr__(self) -> str:
        return f"<Turns of {self.lanes!r}, {self.storing} being stored>"

    @property
    def waits_for_disk(self) -> bool:
        """Whether no run is started until a disk has stored more of what others came to."""
        return self._is_standing or self.storing >= self.lanes.most

    def enter(
        self, owner: Owner, key: int, name: str, function: str, *, root: int, is_resume: bool
    ) -> Place:
        """A call waits for its turn; its owner is told when that has come, not before this
        returns."""
        place = self.lanes.add(owner, key, name, function, root=root, is_resume=is_resume)
        self._pump_soon()
        return place

    def leave(self, place: Place) -> None:
        """It need not be run any more."""
        self.lanes.take_out(place, self._clock.now_us())

    def finish(self, place: Place, lesson: Lesson) -> None:
        """Its attempt has ended, or was not made (`NOTHING`)."""
        if place.at is At.RUNNING:
            self.lanes.finish(place, lesson, self._clock.now_us())
            self._pump_soon()

    def stored(self) -> None:
        """One answer less is on its way to the disk."""
        self.storing -= 1
        self._pump_soon()

    def hold(self, name: str, held: bool) -> None:
        """Let nothing be sent in a lane, or again."""
        self.lanes.hold(name, held=held)
        self._pump_soon()

    def rules_changed(self) -> None:
        """Other rules are in force for lanes."""
        self.lanes.rules_changed(self._clock.now_us())
        self._pump_soon()

    def pull(self, name: str) -> Place | None:
        """Give the next call of a lane that is fetched its turn; None: there is none.

        Its message follows later. Where the place is `At.OUT` at any time, it does not.
        """
        if self._is_stopped or self._stands():
            return None
        place = self.lanes.pull(name, self._clock.now_us())
        if place is not None:
            place.owner.take_turn(place)
        return place

    def stop(self) -> None:
        """Give no more turns. Idempotent."""
        for handle in (self._soon, self._timer):
            if handle is not None:
                handle.cancel()
        self._is_stopped = True

    def _pump_soon(self) -> None:
        if self._soon is None and not self._is_stopped:
            self._soon = self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._soon = None
        was_standing = self._is_standing
        if self._stands():
            return
        if was_standing:
            self.lanes.offer_pulled()
        for _ in range(_AT_ONCE):
            if self.storing >= self.lanes.most:
                return  # `stored` goes on
            place = self.lanes.next_turn(self._clock.now_us())
            if place is None:
                self._arm(self.lanes.wake_us())
                return
            place.owner.take_turn(place)
        self._pump_soon()

    def _stands(self) -> bool:
        """Whether no run is to be started now; then it is looked again by itself."""
        if not self._is_behind():
            self._is_standing = False
        elif not self._is_standing or self._timer is None:
            self._is_standing = True
            self._arm(self._clock.now_us() + _AGAIN_US)
        return self._is_standing

    def _arm(self, at_us: int) -> None:
        if at_us == self._timer_us and self._timer is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_us = at_us
        if at_us:
            wait_s = max(0.001, (at_us - self._clock.now_us()) / 1_000_000)
            self._timer = self._loop.call_later(wait_s, self._go_off)

    def _go_off(self) -> None:
        self._timer = None
        self._pump_soon()
