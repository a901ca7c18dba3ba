"""Callbacks on a machine that loses its power at every change of its disk.

What is checked: every message that was accepted ends, and of each end somebody is told by exactly
one message. It may be delivered more than once, with the same id; another one there never is.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

import pytest

from dispatcher.core.answer import Answer
from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult
from dispatcher.core.terms import Terms
from dispatcher.errors import Refusal
from dispatcher.queue.partition import Partition, PartitionConfig
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.disk import Fate, SimulatedDisk
from dispatcher.testing.queue import POLICY, Notes, message
from tests.effort import each
from tests.simulation.engine_log import EngineLog, Power, run
from tests.simulation.workload import base_seed

NAMES = ("delivered", "rejected", "exhausted", "redriven")
HOOK = "http://told.example/hook"


@dataclass(slots=True)
class World:
    """What outlives the machine: which messages were accepted, and what was told of each, by the
    ids of the callbacks."""

    accepted: dict[bytes, str] = field(default_factory=dict)
    told: dict[str, dict[bytes, str]] = field(default_factory=lambda: defaultdict(dict))
    redriven: set[bytes] = field(default_factory=set)
    lives: int = 0

    def check(self) -> None:
        """Nothing is under way any more."""
        for number, name in self.accepted.items():
            outcomes = sorted(self.told[number.decode()].values())
            if number in self.redriven:
                assert outcomes == ["dead", "delivered"], name
            elif name == "redriven":  # the power was cut as an operator asked for it
                assert outcomes in (["dead"], ["dead", "delivered"]), name
            else:
                assert outcomes == ["delivered" if name == "delivered" else "dead"], name
        assert len(self.told) >= len(self.accepted)


class Caller:
    """Is told when a message is durable (`ports.Receipt`)."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name

    def accepted(self, sent: Message) -> None:
        self._world.accepted[sent.wire_id] = self._name

    def duplicate(self, message_id: bytes) -> None:
        raise AssertionError("nobody has a key")

    def refused(self, refusal: Refusal) -> None:
        raise AssertionError(refusal)


class Life:
    """One life of the machine: it delivers, until its power is cut or nothing is left."""

    def __init__(self, world: World, power: Power, clock: SimulatedClock) -> None:
        world.lives += 1
        self.world = world
        self.power = power
        random = Random(world.lives)
        self.queue = Partition(
            EngineLog(Path("/simulated/log"), power, random),
            EngineLog(Path("/simulated/dead"), power, random),
            PartitionConfig(POLICY, 10),
            Notes(),
            clock=clock,
            random=random,
            incarnation=world.lives,
        )

    def deliver(self, sent: Message) -> None:
        """See `ports.Deliverer`."""
        asyncio.get_running_loop().call_later(0.01, self._end, sent)

    def under_way(self, message_id: bytes) -> tuple[int, int] | None:
        """See `ports.Deliverer`."""
        return None

    def _end(self, sent: Message) -> None:
        if self.power.is_cut.is_set():
            return
        name = sent.target[1:]
        status = {"rejected": 404, "exhausted": 503}.get(name, 200)
        if name == "redriven" and not sent.redrives:
            status = 410
        if name == "hook":
            told = json.loads(sent.body)
            self.world.told[told["id"]][sent.wire_id] = told["outcome"]
        if sent.answer_limit:
            sent.answer = Answer(status, b"", None, b"said")
        if status == 200:
            self.queue.settling.delivered(sent, 200)
        else:
            self.queue.settling.failed(sent, AttemptResult(status, None, "as told", 5))

    async def live(self, names: tuple[str, ...]) -> None:
        """Begin, accept these, and end when nothing is left, or when the power is cut."""
        await self.queue.open("simulation", self.world.lives)
        self.queue.start(self)
        for name in names:
            sent = message(name=name)
            sent.terms = Terms(callback=HOOK, failure_callback=HOOK)
            self.queue.intake.accept(sent, Caller(self.world, name))
            await asyncio.sleep(0.05)
        await self._rest()
        if names:
            (number,) = [one for one, name in self.world.accepted.items() if name == "redriven"]
            done = await self.queue.redriver.redrive([number])
            self.world.redriven.update(done.done)
            await self._rest()
        await asyncio.sleep(1)
        await self.queue.stop()

    async def _rest(self) -> None:
        for _ in range(200):
            if not self.queue.pending.index.count:
                return
            await asyncio.sleep(0.5)
        raise AssertionError("something waits for ever")


async def one_life(
    world: World, power: Power, clock: SimulatedClock, names: tuple[str, ...] = ()
) -> None:
    """Until it ends or its power is cut."""
    life = asyncio.create_task(Life(world, power, clock).live(names))
    cut = asyncio.create_task(power.is_cut.wait())
    await asyncio.wait([life, cut], return_when=asyncio.FIRST_COMPLETED)
    if not power.is_cut.is_set():
        cut.cancel()
        await life
        return
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.wait(others)


def changes() -> int:
    """How often the disk changes in a life of which the power is never cut."""
    world, power = World(), Power(SimulatedDisk(), Random(1))

    async def main(clock: SimulatedClock) -> None:
        await one_life(world, power, clock, NAMES)

    run(main)
    world.check()
    assert len(world.accepted) == len(world.told) == len(NAMES)
    return power.changes


@pytest.mark.parametrize("fate", list(Fate))
def test_each_end_is_told_by_one_message_wherever_the_power_is_cut(fate: Fate) -> None:
    """At any write and any sync, whatever of it reaches the disk: of each message that was
    accepted exactly one callback is made for each of its ends."""
    most = changes()
    assert most > 20
    stride = each(4)
    for at in range(1 + base_seed() % stride, most + 1, stride):
        world = World()
        power = Power(SimulatedDisk(), Random(at), at=at, fate=fate)

        run(partial(two_lives, world, power))
        world.check()


async def two_lives(world: World, power: Power, clock: SimulatedClock) -> None:
    """The second one on what the first one left."""
    await one_life(world, power, clock, NAMES)
    if power.after is not None:
        await one_life(world, Power(power.after, Random(1)), clock)
