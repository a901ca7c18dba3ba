"""Alarms of calls: at their instants, however far these are, and few bytes while they wait."""

from __future__ import annotations

import asyncio
import tracemalloc
from dataclasses import dataclass

from dispatcher.core.clock import SteadyClock
from dispatcher.functions.model import Call
from dispatcher.functions.runs import alarms as module
from dispatcher.functions.runs.alarms import STRETCH_BITS, Alarms
from dispatcher.functions.spans import Span
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run

_SECOND_US = 1_000_000
_HOUR_US = 3600 * _SECOND_US
_LATE_US = 70 * _SECOND_US
"""Nothing is waited for longer than a minute, and then a portion at a time."""


@dataclass
class Watched:
    """Alarms of `calls`, and when each of them went off."""

    simulated: SimulatedClock

    def __post_init__(self) -> None:
        self.clock = SteadyClock(self.simulated)
        self.calls: dict[int, Call] = {}
        self.went_off: list[tuple[int, int]] = []
        self.alarms = Alarms(self.calls, self._look, self.clock)

    def add(self, key: int, in_us: int) -> Call:
        """A call with an alarm."""
        call = self.calls[key] = _call(key)
        self.alarms.set(call, self.clock.wall_us() + in_us)
        return call

    def _look(self, call: Call) -> None:
        self.went_off.append((call.key, self.clock.wall_us()))


def _call(key: int) -> Call:
    return Call(
        key,
        parent=0,
        root=key,
        correlation=0,
        parent_generation=0,
        endpoint="http://app",
        function="f",
        version="",
        application="",
        created_us=0,
        expires_us=0,
        not_before_us=0,
        depth=0,
        timeout_ms=0,
        input=Span(0),
    )


def test_alarms_go_off_at_their_instants_however_far_they_are() -> None:
    """In order, none early and none much late: seconds, hours, days."""

    async def main(clock: SimulatedClock) -> None:
        watched = Watched(clock)
        began_us = watched.clock.wall_us()
        after_us = [n * n * n * _SECOND_US + 1 for n in range(1, 90)]
        for key, in_us in reversed(list(enumerate(after_us))):
            watched.add(key, in_us)
        await asyncio.sleep(after_us[-1] / _SECOND_US + 100)
        assert [key for key, _ in watched.went_off] == list(range(len(after_us)))
        for key, at_us in watched.went_off:
            assert 0 <= at_us - began_us - after_us[key] < _SECOND_US
        assert watched.alarms.entries == len(watched.alarms) == 0

    run(main)


def test_many_alarms_of_one_far_instant_all_go_off() -> None:
    """More than are moved at once, on top of others that come earlier."""

    async def main(clock: SimulatedClock) -> None:
        watched = Watched(clock)
        for key in range(3 * module._AT_ONCE + 1):
            watched.add(key, 30 * _HOUR_US)
        watched.add(10**6, _SECOND_US)
        await asyncio.sleep(2)
        assert [key for key, _ in watched.went_off] == [10**6]
        await asyncio.sleep(30 * 3600 + 10)
        assert len(watched.went_off) == 3 * module._AT_ONCE + 2

    run(main)


def test_alarm_that_was_replaced_or_dropped_does_not_go_off() -> None:
    """From a far instant to a near one, from one far one to another, and to none."""

    async def main(clock: SimulatedClock) -> None:
        watched = Watched(clock)
        began_us = watched.clock.wall_us()
        near = watched.add(1, 20 * _HOUR_US)
        watched.alarms.set(near, began_us + _SECOND_US)
        far = watched.add(2, 20 * _HOUR_US)
        watched.alarms.set(far, began_us + 5 * _HOUR_US)
        watched.alarms.set(far, began_us + 9 * _HOUR_US)  # later: it is looked at before
        watched.alarms.drop(watched.add(3, 20 * _HOUR_US))
        watched.add(4, 20 * _HOUR_US)
        del watched.calls[4]
        await asyncio.sleep(40 * 3600)
        assert [key for key, _ in watched.went_off] == [1, 2]
        assert watched.went_off[1][1] - began_us - 5 * _HOUR_US < _SECOND_US

    run(main)


def test_clock_that_is_set_forward_is_noticed_within_a_minute() -> None:
    """What is due by the new time is looked at."""

    async def main(clock: SimulatedClock) -> None:
        watched = Watched(clock)
        watched.add(1, 50 * _HOUR_US)
        watched.add(2, 90 * _HOUR_US)
        await asyncio.sleep(1)
        clock._now_us += 60 * _HOUR_US
        await asyncio.sleep(_LATE_US / _SECOND_US)
        assert [key for key, _ in watched.went_off] == [1]

    run(main)


def test_far_alarms_that_were_replaced_do_not_pile_up() -> None:
    """A call that is looked at again and again, and expires in a day, has a few entries."""

    async def main(clock: SimulatedClock) -> None:
        watched = Watched(clock)
        kept = watched.add(0, 30 * _HOUR_US)
        for key in range(1, 5_000):
            watched.alarms.drop(watched.add(key, 24 * _HOUR_US + key))
            watched.alarms.drop(kept)
            watched.alarms.set(kept, watched.clock.wall_us() + 30 * _HOUR_US)
        assert watched.alarms.entries < 200
        await asyncio.sleep(31 * 3600)
        assert [key for key, _ in watched.went_off] == [0]

    run(main)


def test_far_alarm_takes_few_bytes() -> None:
    """A place in a list: a hundred thousand calls sleep."""

    async def main(clock: SimulatedClock) -> None:
        watched = Watched(clock)
        count = 10_000
        calls = [_call((5 << 64) + key) for key in range(count)]
        for call in calls:
            call.alarm_us = 0
            watched.calls[call.key] = call
        at_us = watched.clock.wall_us() + (2 << STRETCH_BITS) + _HOUR_US
        tracemalloc.start()
        for call in calls:
            watched.alarms.set(call, at_us)
        found = tracemalloc.take_snapshot().filter_traces(
            (tracemalloc.Filter(True, module.__file__),)
        )
        tracemalloc.stop()
        assert sum(one.size for one in found.statistics("filename")) < 16 * count

    run(main)
