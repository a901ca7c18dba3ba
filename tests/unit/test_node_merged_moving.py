"""Partitions move between the nodes of a cluster, and operators see them as one all the time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence

import pytest

from dispatcher.api.health import Health
from dispatcher.cluster.directory import Directory, MemberFacts, PartitionFacts
from dispatcher.cluster.records import MemberState, Phase
from dispatcher.errors import Refused
from dispatcher.node.figures import Figures, Sight
from dispatcher.node.history import Counts
from dispatcher.node.holds import hold_only
from dispatcher.node.merged.whole import Merged, Served
from dispatcher.node.others import Others
from dispatcher.node.problems import Ailing
from dispatcher.node.process_face import About, CountedFigures, ProcessFace, Scrape
from dispatcher.peers.answers import Answers
from dispatcher.peers.calls import CALLS
from dispatcher.queue.admin.surface import Event, LetterFilter, MessageFilter
from dispatcher.queue.refusals import MOVED
from dispatcher.telemetry.supervisor import Supervisor
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.linked import Linked
from dispatcher.testing.loop import run
from dispatcher.testing.peers import Network
from dispatcher.testing.queue import Bench
from tests.unit.test_queue_admin import accepted, dead

COUNT = 3
HELD = "http://held.example"
ALL = LetterFilter()


def figures(accepted_total: int) -> Figures:
    """Those of a node that has accepted so many messages and has done nothing else."""
    nothing = Counts((1,), (0, 0), 0)
    return Figures(accepted_total, 0, 0, 0, 0, {}, 0, 0, 0, 0, nothing, nothing)


class Face:
    """What a node says of itself (`ProcessFace`)."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.told: list[tuple[tuple[str, ...], int]] = []
        self.accepted = 0

    async def about(self) -> About:
        """See `ProcessFace`."""
        raise AssertionError("the directory says which partitions it has")

    async def health(self) -> Health:
        """See `ProcessFace`."""
        return Health()

    async def metrics(self) -> Scrape:
        """See `ProcessFace`."""
        raise AssertionError("each node is asked for its own")

    async def figures(self) -> CountedFigures:
        """See `ProcessFace`."""
        return CountedFigures(self.node.incarnation, figures(self.accepted))

    async def sight(self) -> Sight:
        """See `ProcessFace`."""
        raise AssertionError("nobody looks")

    async def failing(self) -> Sequence[Ailing]:
        """See `ProcessFace`."""
        return ()

    async def why_over(self, destinations: Sequence[str]) -> Sequence[str]:
        """See `ProcessFace`."""
        raise AssertionError("nobody is told of anything")

    async def hold_only(self, destinations: Sequence[str], *, epoch: int = 0) -> None:
        """See `ProcessFace`."""
        self.told.append((tuple(destinations), epoch))
        await hold_only([bench.queue for bench in self.node.benches.values()], destinations)


class Node:
    """One of them, with those partitions that it has."""

    def __init__(self, number: int, network: Network, incarnation: int = 1) -> None:
        self.incarnation = incarnation
        self.linked = Linked(number, 0, network.wires(), incarnation)
        self.answers = Answers(self.linked.died)
        self.face = Face(self)
        self.served = Served(self.answers)
        self.benches: dict[int, Bench] = {}
        self.answers.serve(ProcessFace, self.face)
        asking = self.linked.answering.asking("calls", self.answers.answer)
        self.linked.table.on_ask(CALLS, asking)

    async def stop(self) -> None:
        """End it; what it had is nowhere then."""
        await self.answers.close()
        await self.linked.stop()
        assert not self.linked.failures


class Cluster:
    """Three nodes; the desk is on the first, which keeps partition 0."""

    def __init__(self, clock: SimulatedClock) -> None:
        self.network = Network()
        self.nodes = {number: Node(number, self.network) for number in range(COUNT)}
        self.benches = [Bench(clock, partition=number) for number in range(COUNT)]
        self.directory = Directory(0, COUNT)
        self.epochs = [0] * COUNT
        self.owners: dict[int, int] = {}
        self.deaths: list[str] = []
        self.supervisor = Supervisor(lambda name, error: self.deaths.append(f"{name}: {error!r}"))
        self.merged = Merged((), COUNT, 0, range(COUNT), keeps_history=False)
        self.held: list[str] = []
        zero = self.nodes[0]
        self.others = Others(
            0,
            zero.linked.links,
            self.merged,
            self.supervisor,
            held=lambda: self.held,
            directory=self.directory,
            hold_here=lambda held: zero.face.hold_only(held),
        )

    async def start(self) -> None:
        """All are there, each with its partition."""
        for node in self.nodes.values():
            await node.linked.links.start()
        self.meet()
        for number in range(COUNT):
            await self.open(number, number)
        self.others.epoch = 7
        self.others.start()
        await asyncio.sleep(2)

    def meet(self) -> None:
        """Each knows who there is."""
        there = {number: node.incarnation for number, node in self.nodes.items()}
        for node in self.nodes.values():
            node.linked.links.are(there)
        self.show()

    def show(self) -> None:
        """The directory says what is so."""
        members = {
            number: MemberFacts(f"n{number}", "", node.incarnation, MemberState.LIVE, is_heard=True)
            for number, node in self.nodes.items()
        }
        partitions = {
            number: PartitionFacts(owner, Phase.OPEN, self.epochs[number])
            for number, owner in self.owners.items()
        }
        self.directory.show(members, partitions)

    async def open(self, number: int, owner: int, *, is_told: bool = True) -> Bench:
        """A node has a partition from now on; whether the directory says so already."""
        self.epochs[number] += 1
        bench = await self.benches[number].start()
        self.nodes[owner].benches[number] = bench
        self.nodes[owner].served.add(bench.queue)
        if owner == 0:
            self.others.add(bench.queue)
        if is_told:
            self.owners[number] = owner
            self.show()
        return bench

    async def close(self, number: int, *, is_told: bool = True) -> None:
        """Nobody has it any more."""
        owner = self.owners[number]
        bench = self.nodes[owner].benches.pop(number)
        self.nodes[owner].served.remove(bench.queue)
        if owner == 0:
            self.others.remove(bench.queue)
        await bench.stop()
        if is_told:
            del self.owners[number]
            self.show()

    async def move(self, number: int, to: int) -> Bench:
        """From one node to another."""
        await self.close(number)
        return await self.open(number, to)

    async def stop(self) -> None:
        """The desk first."""
        self.others.stop()
        await self.supervisor.stop()
        for number in [*self.owners]:
            await self.close(number)
        for node in self.nodes.values():
            await node.stop()
        assert not self.deaths


def cluster(test: Callable[[Cluster], Coroutine[None, None, None]]) -> None:
    """On simulated time."""

    async def main(clock: SimulatedClock) -> None:
        made = Cluster(clock)
        await made.start()
        await test(made)
        await made.stop()

    run(main)


def test_partition_that_moves_is_found_where_it_is_and_never_unknown() -> None:
    """While nobody has it, and where the directory is behind, an id of it has moved; lists say what
    they lack; what was counted stays counted."""

    async def test(one: Cluster) -> None:
        admin = one.merged.admin
        message_id = await accepted(one.benches[1])
        letter_id = await dead(one.benches[1], to="dead.example")
        for turn, to in enumerate((2, 0, 1, 0, 2)):
            assert (await admin.totals()).accepted_total == 2
            await one.close(1, is_told=turn % 2 == 0)
            for asked in (
                admin.message(message_id),
                admin.letter(letter_id),
                admin.cancel(message_id),
                admin.purge([letter_id]),
            ):
                with pytest.raises(Refused) as caught:
                    await asked
                assert caught.value.refusal is MOVED
            totals = await admin.totals()
            assert (totals.accepted_total, totals.incomplete) == (2, [1])
            assert (await admin.letters(ALL, cursor=0, limit=9)).incomplete == [1]
            assert (await admin.waiting(MessageFilter(), cursor=0, limit=9)).incomplete == [1]
            await one.open(1, to)
            view = await admin.message(message_id)
            assert view is not None
            assert view.id == message_id
            assert await admin.letter(letter_id) is not None
            totals = await admin.totals()
            assert (totals.accepted_total, totals.dead, totals.incomplete) == (2, 1, [])
        assert await admin.message("00ff" + "0" * 24) is None

    cluster(test)


def test_partition_that_is_here_is_asked_here_whatever_the_directory_says() -> None:
    """It says that somebody else has it a moment too late, or too early."""

    async def test(one: Cluster) -> None:
        admin = one.merged.admin
        bench = await one.move(1, 0)
        message_id = await accepted(bench)
        one.owners[1] = 2
        one.show()
        assert await admin.message(message_id) is not None
        assert len(list(one.merged.admin._parts)) == COUNT
        one.owners[1] = 0
        await one.close(1)
        await one.open(1, 2, is_told=False)
        with pytest.raises(Refused):
            await admin.message(message_id)
        one.owners[1] = 2
        one.show()
        assert await admin.message(message_id) is not None

    cluster(test)


def test_who_listens_hears_of_a_partition_wherever_it_goes() -> None:
    """Once each, within a second; and nobody listens to where it was."""

    async def test(one: Cluster) -> None:
        heard: list[Event] = []
        one.merged.admin.subscribe(heard.append)
        for to in (2, 0, 1, 2):
            before = one.benches[1].queue
            bench = await one.move(1, to)
            assert not before.watch.has_listeners
            await asyncio.sleep(1)
            heard.clear()
            message_id = await accepted(bench)
            await asyncio.sleep(0.5)
            assert [event.id for event in heard] == [message_id]
        one.merged.admin.unsubscribe(heard.append)
        await asyncio.sleep(1)
        assert not any(bench.queue.watch.has_listeners for bench in one.benches)

    cluster(test)


def test_what_is_held_is_told_to_whoever_gets_a_partition_and_once() -> None:
    """Also to a node that was away as it changed, and in this node; and nobody is told anything
    before it is known, nor when another desk knows it."""

    async def test(one: Cluster) -> None:
        faces = [one.nodes[number].face for number in range(COUNT)]
        assert [face.told for face in faces] == [[], [((), 7)], [((), 7)]]
        await one.merged.admin.hold(HELD)  # in each
        one.held.append(HELD)
        await asyncio.sleep(5)
        assert [len(face.told) for face in faces] == [0, 1, 1]
        await one.close(1)
        with pytest.raises(Refused):
            await one.merged.admin.resume(HELD)
        one.held.clear()
        bench = await one.open(1, 2)
        assert bench.queue.pauses.keys  # it has not heard of that
        await asyncio.sleep(2)
        assert not bench.queue.pauses.keys
        assert [len(face.told) for face in faces] == [0, 1, 2]
        one.held.append(HELD)
        bench = await one.move(1, 0)
        await asyncio.sleep(2)
        assert [key.decode() for key in bench.queue.pauses.keys] == [HELD]
        assert not one.benches[0].queue.pauses.keys  # it is not told by others
        one.others.stop()
        told = [len(face.told) for face in faces]
        await one.move(1, 1)
        await asyncio.sleep(5)
        assert [len(face.told) for face in faces] == told

    cluster(test)


def test_what_is_held_is_told_again_where_it_changed_meanwhile() -> None:
    """What was told as the old state arrives after the new one was stored there."""

    async def test(one: Cluster) -> None:
        face = one.nodes[2].face
        hold = face.hold_only

        async def late(destinations: Sequence[str], *, epoch: int = 0) -> None:
            if not face.told:
                one.held.append(HELD)
                await one.benches[1].queue.admin.hold(HELD)
            await hold(destinations, epoch=epoch)

        face.told.clear()
        face.hold_only = late  # type: ignore[method-assign]
        bench = await one.move(1, 2)
        await asyncio.sleep(2)
        assert face.told == [((), 7), ((HELD,), 7)]
        assert [key.decode() for key in bench.queue.pauses.keys] == [HELD]

    cluster(test)


def test_node_that_leaves_is_counted_on_and_one_that_comes_is_met() -> None:
    """Whoever takes its number is another one."""

    async def test(one: Cluster) -> None:
        async def total() -> int:
            return sum(found.accepted_total for found in await one.others.figures())

        one.nodes[1].face.accepted, one.nodes[2].face.accepted = 10, 5
        assert await total() == 15
        await one.close(2)
        left = one.nodes.pop(2)
        one.meet()
        await left.stop()
        assert await total() == 15
        one.nodes[2] = Node(2, one.network, incarnation=2)
        await one.nodes[2].linked.links.start()
        one.meet()
        one.nodes[2].face.accepted = 3
        await asyncio.sleep(2)
        assert await total() == 18
        bench = await one.open(2, 2)
        await asyncio.sleep(2)
        assert await one.merged.admin.message(await accepted(bench)) is not None
        assert one.nodes[2].face.told
        one.nodes[2].incarnation = 3  # started again under its number, which the link tells
        one.nodes[2].face.accepted = 1
        assert await total() == 19

    cluster(test)


def test_desk_that_goes_leaves_nothing_with_links_and_directory() -> None:
    """Neither is told anything of it any more."""

    async def test(one: Cluster) -> None:
        links = one.nodes[0].linked.links
        one.others.stop()
        one.others.stop()
        assert not links._changed
        assert not one.directory._changed

    cluster(test)
