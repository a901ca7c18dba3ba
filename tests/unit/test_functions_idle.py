"""Messages pay nothing for the function service beside them while no function is called.

What is counted are calls (of functions in C too) and lines of our own code, from the intake of
messages to the records that settle them: on a simulated clock they are the same each time, however
busy the machine is.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import dispatcher
from dispatcher.build import is_compiled
from dispatcher.core.clock import SteadyClock
from dispatcher.core.message import Message
from dispatcher.functions.config import Events, FunctionConfig
from dispatcher.functions.intake import IntakeConfig
from dispatcher.functions.model import Call
from dispatcher.functions.results.retention import ResultPolicy
from dispatcher.functions.rules import Rules
from dispatcher.functions.service import FunctionService
from dispatcher.functions.shown import Entry
from dispatcher.functions.signing.file import SigningKeyFile
from dispatcher.functions.signing.in_force import KeysInForce
from dispatcher.ingress.planned import message_of
from dispatcher.queue.partition import Partition
from dispatcher.schedules.messages import MessageMaker
from dispatcher.schedules.partition import PartitionQueue
from dispatcher.testing.application import FakeApplication, exits
from dispatcher.testing.clock import FixedRandom, SimulatedClock
from dispatcher.testing.log import FaultyLog
from dispatcher.testing.loop import run
from dispatcher.testing.queue import Bench, destination, message

OURS = str(Path(dispatcher.__file__).parent)
FUNCTIONS = f"{OURS}/functions/"
MESSAGES = 500


class NoLog:
    """Nothing is written."""

    is_debug = False

    def happened(self, call_id: str, call: Call, entry: Entry) -> None:
        raise AssertionError("no function is called")


def service(partition: Partition, clock: SimulatedClock, key: Path) -> FunctionService:
    """A function service that nobody calls."""
    rules, steady = Rules(), SteadyClock(clock)

    def nothing(*_: object) -> None:
        raise AssertionError("no function is called")

    return FunctionService(
        partition,
        FunctionConfig(rules, IntakeConfig(rules, 20, 1000), ResultPolicy(1000)),
        KeysInForce(SigningKeyFile(key)),
        make_results_log=FaultyLog,
        has_results=False,
        deliverer=FakeApplication(lambda request: exits()),
        clock=steady,
        random=FixedRandom(),
        incarnation=1,
        events=Events(nothing, NoLog(), nothing, nothing, nothing, nothing),
        planned_messages=MessageMaker(
            PartitionQueue([partition], partition.intake), message_of, steady.wall_us
        ),
    )


class Counting:
    """Counts calls and lines of our own code while it is on; `of_functions` are the lines of the
    function service."""

    def __init__(self) -> None:
        self.calls = self.lines = self.of_functions = 0

    def __enter__(self) -> Counting:
        sys.settrace(self._traced)
        sys.setprofile(self._profiled)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        sys.setprofile(None)

    def _profiled(self, frame: FrameType, event: str, argument: Any) -> None:
        if event in ("call", "c_call") and frame.f_code.co_filename.startswith(OURS):
            self.calls += 1

    def _traced(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        if event == "line":
            self.lines += 1
            self.of_functions += frame.f_code.co_filename.startswith(FUNCTIONS)
        return self._traced


def counted(key: Path, *, is_hosted: bool, backlog_bytes: int) -> Counting:
    """What many messages take from their acceptance to their end."""
    counting = Counting()

    async def main(clock: SimulatedClock) -> None:
        beside: list[FunctionService] = []

        def prepare(partition: Partition) -> None:
            if is_hosted:
                beside.append(service(partition, clock, key))

        bench = Bench(clock, prepare=prepare, max_backlog_bytes=backlog_bytes)
        await bench.open()
        for one in beside:
            await one.open("test", 1)
        bench.queue.start(bench.deliverer)
        for one in beside:
            one.start()

        def answer(sent: Message) -> None:
            bench.queue.settling.delivered(sent, 200)

        bench.deliverer.answer = answer
        await asyncio.sleep(1)
        with counting:
            for number in range(MESSAGES):
                bench.accept(message(destination(f"d{number % 10}"), name=str(number)))
            await asyncio.sleep(0.5)
        assert bench.queue.figures.delivered_total == MESSAGES
        for one in beside:
            await one.stop()
        await bench.stop()

    run(main)
    return counting


@pytest.mark.skipif(is_compiled(), reason="compiled code tells of no lines")
@pytest.mark.parametrize("backlog_bytes", [0, 1 << 40])
def test_message_takes_as_many_calls_and_lines_beside_an_idle_function_service(
    tmp_path: Path, backlog_bytes: int
) -> None:
    """Within 2 % of what it takes without one; also where the backlog has a limit, for which what
    calls need of the log counts."""
    alone = counted(tmp_path / "key", is_hosted=False, backlog_bytes=backlog_bytes)
    beside = counted(tmp_path / "key", is_hosted=True, backlog_bytes=backlog_bytes)
    print({name: (one.calls, one.lines) for name, one in (("alone", alone), ("beside", beside))})
    assert alone.calls > 10 * MESSAGES
    assert alone.lines > 10 * MESSAGES
    assert beside.calls <= alone.calls * 1.02
    assert beside.lines <= alone.lines * 1.02
    assert beside.of_functions < MESSAGES / 10, "timers, and nothing for each message"
