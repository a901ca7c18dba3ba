"""Members of a cluster whose partitions move from one to another, with their routers: on simulated
time, over connections that can be cut (`testing.peers`). Each has its own view of who has what,
which may be old."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from dispatcher.core.message import Message
from dispatcher.node.router import Router
from dispatcher.peers.forwarding.elsewhere import Elsewhere
from dispatcher.peers.forwarding.receiving import Receiver
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.linked import Linked
from dispatcher.testing.peered import COUNT
from dispatcher.testing.peers import Network
from dispatcher.testing.queue import Bench, Receipts


class Owners:
    """Who has what, as one member knows it (`peers.directory.Directory`)."""

    def __init__(self) -> None:
        self.known: dict[int, int] = {}

    def process_of(self, partition: int) -> int | None:
        """See `Directory`."""
        return self.known.get(partition)


class Member:
    """One of them. `again` is how often it wanted to look again; if it `looks`, it knows then."""

    def __init__(self, number: int, cluster: Cluster) -> None:
        self.number = number
        self._cluster = cluster
        self.owners = Owners()
        self.receipts = Receipts()
        self.again = 0
        self.looks = True
        self.linked = Linked(number, len(cluster.numbers), cluster.network.wires())
        self.router = Router(COUNT, -1)
        Receiver(self.router, self.linked.died).enter(self.linked.table)
        self.elsewhere = self.router.elsewhere = Elsewhere(
            number, self.owners, self.linked.links, again=self._look_again, spread=COUNT
        )

    def _look_again(self) -> None:
        self.again += 1
        if self.looks:
            asyncio.get_running_loop().call_later(0.005, self.look)

    def look(self) -> None:
        """Know who has what by now."""
        if self.owners.known != self._cluster.owners:
            self.owners.known = {**self._cluster.owners}
            self.elsewhere.go_on()

    def accept(self, sent: Message) -> Receipts.One:
        """Hand a message in, as a caller of this member does."""
        receipt = self.receipts.one()
        self.router.accept(sent, receipt)
        return receipt


class Cluster:
    """All of them, and the partitions, each of which somebody has, or nobody."""

    def __init__(self, clock: SimulatedClock, members: int) -> None:
        self.network = Network()
        self.numbers = range(members)
        self.owners: dict[int, int] = {}
        self.partitions = [Bench(clock, partition=one, workers=1000) for one in range(COUNT)]
        self.members = [Member(number, self) for number in self.numbers]

    def look(self, numbers: Iterable[int] | None = None) -> None:
        """Have these members, or all, know who has what."""
        for number in self.numbers if numbers is None else numbers:
            self.members[number].look()

    async def open(self, partition: int, member: int) -> None:
        """A member has a partition from now on. Who looks again knows."""
        bench = await self.partitions[partition].start()
        self.members[member].router.add(partition, bench.queue.intake)
        self.owners[partition] = member

    async def close(self, partition: int) -> None:
        """Its owner has handed it over to nobody yet."""
        member = self.owners.pop(partition)
        self.members[member].router.remove(partition)
        await self.partitions[partition].stop()

    async def move(self, partition: int, member: int) -> None:
        """From its owner to another member, in no time."""
        await self.close(partition)
        await self.open(partition, member)


@asynccontextmanager
async def clustered(
    clock: SimulatedClock, *owners: int, members: int = 3
) -> AsyncIterator[Cluster]:
    """So many members, connected; `owners` have the partitions 0, 1, ..., and all know it."""
    cluster = Cluster(clock, members)
    for member in cluster.members:
        await member.linked.links.start()
    for partition, owner in enumerate(owners):
        await cluster.open(partition, owner)
    for member in cluster.members:
        for peer in member.linked.links.peers:
            await peer.connected(1)
    await asyncio.sleep(0.001)
    cluster.look()
    try:
        yield cluster
    finally:
        for partition in [*cluster.owners]:
            await cluster.close(partition)
        for member in cluster.members:
            await member.linked.stop()
            assert not member.linked.failures
        assert not any(bench.notes.deaths for bench in cluster.partitions)
