"""Faults at random, for `CHAOS_MINUTES`, which are none by default: this is not for every change.

`CHAOS_SEED` has the faults of an earlier run again.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from typing import Final

import pytest

from tests.cluster.ledger import Ledger
from tests.cluster.load import Load
from tests.cluster.sink import Sink
from tests.cluster.site import Node, Site, delivered

MINUTES: Final = float(os.environ.get("CHAOS_MINUTES", "0"))

pytestmark = [
    pytest.mark.crash,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not MINUTES, reason="CHAOS_MINUTES says for how long"),
]

_CALM_S: Final = 12.0
"""After a fault everything runs again for so long: partitions move back after ten seconds."""


class Chaos:
    """Faults, each of which is over when its method returns."""

    def __init__(self, made: Site, seed: int) -> None:
        self._made = made
        self._random = random.Random(seed)

    @property
    def faults(self) -> list[str]:
        """Their names."""
        return [name for name in vars(Chaos) if name.startswith("fault_")]

    async def one(self) -> str:
        """Have one of them happen, and everything run again."""
        name = self._random.choice(self.faults)
        await getattr(self, name)()
        await self._made.whole()
        return name

    def _node(self) -> Node:
        return self._random.choice(self._made.nodes)

    async def _while(self) -> None:
        await asyncio.sleep(self._random.uniform(0.2, 8.0))

    async def fault_node_killed(self) -> None:
        """And back at once, or after a while."""
        self._node().kill()
        await self._while()

    async def fault_node_still(self) -> None:
        """For less than it takes to lose partitions, or for more."""
        self._node().stand_still()
        await self._while()

    async def fault_node_restarted(self) -> None:
        """In the orderly way."""
        assert await self._node().stop() == 0

    async def fault_two_nodes_killed(self) -> None:
        """One has everything then."""
        for node in self._random.sample(self._made.nodes, 2):
            node.kill()
        await self._while()

    async def fault_nats_killed(self) -> None:
        """Any of the servers."""
        self._made.nats_of(self._node()).stop()
        await self._while()

    async def fault_nats_still(self) -> None:
        """Any of the servers."""
        self._made.nats_of(self._node()).hang(hangs=True)
        await self._while()

    async def fault_quorum_gone(self) -> None:
        """Two servers stand still."""
        for node in self._random.sample(self._made.nodes, 2):
            self._made.nats_of(node).hang(hangs=True)
        await self._while()

    async def fault_machine_lost(self) -> None:
        """A node and its server."""
        self._made.kill_machine(self._node())
        await self._while()

    async def fault_power_failed(self) -> None:
        """Of everything."""
        await asyncio.to_thread(self._made.kill_all)


async def test_faults_at_random_lose_nothing(made: Site, ledger: Ledger, sink: Sink) -> None:
    """However faults follow each other, what was answered 202 is delivered, and nothing by an
    owner that is no more."""
    seed = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"CHAOS_SEED={seed}")
    chaos, until_s, told = Chaos(made, seed), time.monotonic() + MINUTES * 60, []
    async with Load(ledger, made.addresses, sink.origins):
        while time.monotonic() < until_s:
            told.append(await chaos.one())
            await asyncio.sleep(_CALM_S)
            assert not ledger.wrong(), told
    await delivered(ledger, made.told)
    print(f"{len(told)} faults, {ledger.accepted} accepted, {ledger.duplicates()} came again")
    ledger.check(made.tenures(), most_duplicates=50 * (len(told) + 1))
