"""Two processes with a partition each, whose routers pass messages with a key to one another: on
simulated time, over connections that can be cut (`testing.peers`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from dispatcher.core.destination import Destination
from dispatcher.core.idempotency import place_in_group
from dispatcher.core.message import Message
from dispatcher.core.placing import partition_of, place_of_group
from dispatcher.core.terms import Terms
from dispatcher.node.router import Router
from dispatcher.peers.directory import ByRemainder
from dispatcher.peers.forwarding.elsewhere import Elsewhere
from dispatcher.peers.forwarding.receiving import Receiver
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.linked import Linked
from dispatcher.testing.peers import Network
from dispatcher.testing.queue import Bench, Receipts, destination, message

COUNT = 2


class Process:
    """One of them. Its partition delivers nothing unless `bench.deliverer` is told to."""

    def __init__(
        self, number: int, bench: Bench, network: Network, former: Sequence[int] = ()
    ) -> None:
        """Places had `former` spreads."""
        self._former = former
        self.number = number
        self.bench = bench
        self._network = network
        self.receipts = Receipts()
        self.linked: Linked
        self.router: Router

    async def start(self, incarnation: int = 1) -> None:
        """Open the partition, and be there for the other one."""
        await self.bench.start()
        self.router = Router(COUNT, self.number, former=self._former, partitions=range(COUNT))
        self.router.add(self.number, self.bench.queue.intake)
        self.linked = Linked(self.number, COUNT, self._network.wires(), incarnation)
        Receiver(self.router, self.linked.died).enter(self.linked.table)
        directory = ByRemainder(COUNT)
        self.router.elsewhere = Elsewhere(self.number, directory, self.linked.links)
        await self.linked.links.start()

    async def stop(self) -> None:
        """End in good order."""
        self.router.remove(self.number)
        await self.bench.stop()
        await self.linked.stop()
        assert not self.linked.failures
        assert not self.bench.notes.deaths

    def accept(self, sent: Message) -> Receipts.One:
        """Hand a message in, as a caller of this process does."""
        receipt = self.receipts.one()
        self.router.accept(sent, receipt)
        return receipt

    def accept_all(self, sent: Sequence[Message], group: str) -> Receipts.Together:
        """Hand in the messages of a group with a key."""
        together = Receipts.Together([self.receipts.one() for _ in sent])
        self.router.accept_all(sent, together, None, place_of_group(group))
        return together

    def deliver(self) -> None:
        """Deliver all that there is, and will be."""
        bench = self.bench
        deliverer = bench.deliverer
        deliverer.answer = lambda sent: bench.queue.settling.delivered(sent, 200)
        for sent in [*deliverer.flying]:
            bench.end(sent)

    @property
    def delivered(self) -> list[str]:
        """The targets of what was delivered."""
        return [target for target, _ in self.bench.deliverer.started]

    @property
    def flying(self) -> list[Message]:
        """Messages of its partition whose attempt is under way."""
        return self.bench.deliverer.flying


def place_in(partition: int, number: int = 0) -> Destination:
    """A destination whose keyed messages lie in a partition; another one for each number."""
    names = (f"d{number}-{one}.example" for one in range(1000))
    places = (destination(name) for name in names)
    return next(place for place in places if partition_of(place.key, COUNT) == partition)


def group_in(partition: int) -> str:
    """The name of a group whose keyed messages lie in a partition."""
    names = (f"group{one}" for one in range(1000))
    return next(name for name in names if partition_of(place_of_group(name), COUNT) == partition)


def keyed(to: Destination, name: str, body: bytes = b"hello", **terms: str) -> Message:
    """A message with terms, of which some are keys."""
    made = message(to, body, name=name)
    made.terms = Terms(**terms, request_print=7)  # type: ignore[arg-type]  # all are texts
    return made


def of_group(group: str, body: bytes, members: int, **terms: str) -> list[Message]:
    """The messages of a request to a group, with a key."""
    made = [keyed(place_in(0, one), "g", body, **terms) for one in range(members)]
    if "idempotency_key" in terms:
        for number, one in enumerate(made):
            assert one.terms is not None
            one.terms = replace(one.terms, key_place=place_in_group(group, number))
    return made


@asynccontextmanager
async def peered(
    clock: SimulatedClock, former: Sequence[int] = ()
) -> AsyncIterator[tuple[Process, Process, Network]]:
    """Both, connected. With a `former` spread of 1 everything with a key lay in partition 0."""
    network = Network()
    zero, one = (
        Process(number, Bench(clock, partition=number, workers=1000), network, former)
        for number in range(COUNT)
    )
    await zero.start()
    await one.start()
    await one.linked.links.to(0).connected(1)
    await asyncio.sleep(0.001)
    try:
        yield zero, one, network
    finally:
        await one.stop()
        await zero.stop()
