"""The whole function service on a simulated disk, the machine of which loses its power.

`World` is what outlives it: what callers were told, what applications did. `live` is one life of
the machine, to its end or until the power is cut.

What it checks, and fails otherwise:
- a call whose id was answered ends as it should, and its result can be read;
- no run is made of a step of a call of which the outcome was durable;
- a run that is made again is the same, byte for byte: the same results in the same order;
- a run is told what its state refers to;
- a root call that failed is a dead letter, once;
- in the end nothing is held in the transaction log, and a start finds nothing in it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from dispatcher.core.clock import SteadyClock
from dispatcher.functions.config import Events, FunctionConfig
from dispatcher.functions.intake import IntakeConfig
from dispatcher.functions.model import Call
from dispatcher.functions.outside import Outside
from dispatcher.functions.results.retention import ResultPolicy
from dispatcher.functions.rules import Rules
from dispatcher.functions.service import FunctionService
from dispatcher.functions.shown import Entry
from dispatcher.functions.signing.file import SigningKeyFile
from dispatcher.functions.signing.in_force import KeysInForce
from dispatcher.functions.surface import Dispatcher, NoResult, ResultView, Token
from dispatcher.ingress.planned import message_of
from dispatcher.protocol.messages import CallResult
from dispatcher.queue.compaction.source import ReclaimPolicy
from dispatcher.queue.partition import Partition, PartitionConfig
from dispatcher.schedules.messages import MessageMaker
from dispatcher.schedules.partition import PartitionQueue
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.disk import SimulatedDisk
from dispatcher.testing.queue import POLICY, Notes
from tests.simulation.engine_log import EngineLog, Power
from tests.simulation.functions_application import EXPECTED, Application, World, requested, value

LOG: Final = Path("/simulated/log")
DEAD: Final = Path("/simulated/dead")
RESULTS: Final = Path("/simulated/results")
RETENTION_MS: Final = 3_600_000
PATIENCE_S: Final = 1200.0
RECLAIM: Final = ReclaimPolicy(
    slack_bytes=1 << 18, dead_end_bytes=1 << 18, group_bytes=1 << 20, rest_s=0.1
)
"""So eager that what is needed is copied forward again and again."""
CALLER: Final = Dispatcher("app")
RULES: Final = Rules(retry_delay_ms=100, retry_max_delay_ms=1000)
CONFIG: Final = FunctionConfig(
    RULES, IntakeConfig(RULES, 20, RETENTION_MS), ResultPolicy(RETENTION_MS)
)


def _is_there(disk: SimulatedDisk, path: Path) -> bool:
    try:
        return any(name.endswith(".seg") for name in disk.names(path))
    except FileNotFoundError:
        return False


class NoLog:
    """Nothing is written."""

    is_debug = False

    def happened(self, call_id: str, call: Call, entry: Entry) -> None:
        """Not noted."""


class Life:
    """One life of the machine."""

    def __init__(self, world: World, power: Power, clock: SimulatedClock, keys: Path) -> None:
        self.world = world
        self.power = power
        self.clock = clock
        self.notes = Notes()
        self.failures: list[object] = []
        self.is_late = world.has_ended
        random = world.random
        world.lives += 1
        steady = SteadyClock(clock)
        self.partition = Partition(
            EngineLog(LOG, power, random),
            EngineLog(DEAD, power, random),
            PartitionConfig(POLICY, 10, 0, reclaim=RECLAIM),
            self.notes,
            clock=clock,
            random=random,
            incarnation=world.lives,
        )
        self.partition.pending.extents.extent_bytes = 1 << 19
        self.application = Application(world, power)
        self.service = FunctionService(
            self.partition,
            FunctionConfig(
                RULES, IntakeConfig(RULES, 20, RETENTION_MS), ResultPolicy(RETENTION_MS)
            ),
            KeysInForce(SigningKeyFile(keys)),
            make_results_log=lambda: EngineLog(RESULTS, power, random),
            has_results=_is_there(power.disk, RESULTS),
            deliverer=self.application,
            clock=steady,
            random=random,
            incarnation=world.lives,
            events=Events(
                warned=lambda function, what: self.failures.append(what),
                log=NoLog(),
                lost=self.failures.append,
                result_lost=self.failures.append,
                failed=self.failures.append,
                results_space_changed=lambda full: self.failures.append(full),
            ),
            planned_messages=MessageMaker(
                PartitionQueue([self.partition], self.partition.intake), message_of, steady.wall_us
            ),
        )
        self.outside = Outside(
            self.service,
            now_us=steady.wall_us,
            retention_us=RETENTION_MS * 1000,
        )
        self.application.recall = self.outside.recall

    async def start(self) -> None:
        """Recover, and go on."""
        await self.partition.open("simulation", self.world.lives)
        await self.service.open("simulation", self.world.lives)
        self.power.when_cut = self._note_what_is_recorded  # all that is known is known by now
        self.partition.start(self.application)
        self.service.start()

    async def stop(self) -> None:
        """End in the orderly way."""
        self.partition.close_intake()
        self.service.close()
        await self.service.stop()
        await self.partition.stop()

    def check(self) -> None:
        """Nothing has gone wrong that nobody foresaw."""
        assert not self.failures, self.failures
        assert not self.application.failures, self.application.failures
        notes = self.notes
        wrong = [*notes.deaths, *notes.errors, *notes.lost, *notes.space]
        assert not wrong, wrong

    def _note_what_is_recorded(self) -> None:
        calls = self.service.machine.calls
        for key, step in self.world.bodies:
            call = calls.get(key)
            if call is None or call.step > step or call.how is not None:
                self.world.recorded.add((key, step))

    async def go_through(self) -> None:
        """What a caller does, again after each crash, until everything has ended."""
        world, outside = self.world, self.outside
        if world.has_ended:  # the key that made the ids the same may be forgotten by now
            return
        request = requested()
        token = Token("once", hashlib.sha256(b"body").digest())
        ids = tuple(await outside.dispatch(request, CALLER, token))
        assert world.ids in ((), ids), "the same body has other ids now"
        world.ids = ids
        async with asyncio.timeout(PATIENCE_S):
            # Later lives keep the promise before somebody waits for it: it may have been kept.
            if world.lives == 1:
                await until(lambda: self._asks_for("promise:ok") > 0)
            kept = CallResult(output=value("yes")).SerializeToString()
            told = await outside.complete("app", "ok", kept, is_error=False)
            assert told or world.lives > 1
            assert not (told and world.completed), "a promise was kept twice"
            world.completed = True
            if not world.sent:
                value_ = CallResult(output=value("told")).SerializeToString()
                await outside.send("app", "values", value_, is_error=False)
                world.sent = True
        for call_id, expected in zip(ids, EXPECTED, strict=True):
            found = await outside.result(call_id, wait_s=PATIENCE_S, only="app")
            assert isinstance(found, ResultView), f"{call_id}: {found}"
            assert CallResult.FromString(found.result) == expected
        world.has_ended = True

    def _asks_for(self, endpoint: str) -> int:
        return sum(call.endpoint == endpoint for call in self.service.machine.calls.values())

    async def check_the_end(self) -> None:
        """All has ended: results are where they are kept, nothing is where it was."""
        world, service = self.world, self.service
        async with asyncio.timeout(60):
            await until(lambda: not service.machine.calls)
        assert world.roots == set(world.ids)
        for call_id, expected in zip(world.ids, EXPECTED, strict=True):
            found = await self.outside.result(call_id, wait_s=0, only="app")
            assert isinstance(found, ResultView) or self.is_late
            if isinstance(found, ResultView):
                assert CallResult.FromString(found.result) == expected
        letters = self.partition.dead_letters
        assert len(letters) == 1
        assert world.ids[1].encode() in letters
        self.clock.advance(ms=RETENTION_MS - 120_000)  # in one step
        await asyncio.sleep(180)
        for call_id in world.ids:
            assert await self.outside.result(call_id, wait_s=0, only="app") is NoResult.EXPIRED
        check_empty(service)


async def until(done: Callable[[], bool]) -> None:
    """Wait until something is so."""
    while not done():  # noqa: ASYNC110 - anything may be asked
        await asyncio.sleep(0.05)


def check_empty(service: FunctionService) -> None:
    """Nothing is held."""
    machine, store = service.machine, service.store
    left = machine.calls or machine.facts or machine.promises or machine.channels
    assert not left, left
    assert not machine.waiting
    assert not machine.trees
    assert (store.live_bytes, store.ending_bytes) == (0, 0)
    assert not store._holds.larges
    for extent in store._extents:
        assert (extent.live, extent.live_bytes, extent.owners) == (0, 0, {})


async def live(
    world: World, power: Power, clock: SimulatedClock, keys: Path
) -> SimulatedDisk | None:
    """Live until all has ended, and everything is forgotten; or until the power is cut: then this
    is the disk that is left."""
    life = Life(world, power, clock, keys)

    async def whole() -> None:
        await life.start()
        await life.go_through()
        await life.check_the_end()
        await life.stop()
        again = Life(world, power, clock, keys)
        await again.start()
        assert not again.service.machine.calls
        await asyncio.sleep(60)
        check_empty(again.service)
        await again.stop()
        again.check()

    living = asyncio.ensure_future(whole())
    cut = asyncio.ensure_future(power.is_cut.wait())
    await asyncio.wait([living, cut], return_when=asyncio.FIRST_COMPLETED)
    if not power.is_cut.is_set():
        cut.cancel()
        life.check()
        await living
        return None
    others = asyncio.all_tasks() - {asyncio.current_task()}
    failed = living.exception() if living.done() else None
    for task in others:
        task.cancel()
    await asyncio.wait(others)
    life.partition.stop_timers()
    life.check()
    if failed is not None:
        raise failed
    assert power.after is not None
    return power.after
