"""Members that come and go: a link is taken only of who has the number now, and only from who was
meant. On simulated time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from dispatcher.peers.errors import Broken, NotConnected
from dispatcher.peers.serving import Question
from dispatcher.testing.linked import Linked
from dispatcher.testing.loop import run
from dispatcher.testing.peers import Network

ECHO = 1
Test = Callable[[], Coroutine[Any, Any, None]]


def simulated(test: Test) -> Callable[[], None]:
    """The same test, on simulated time."""

    def tested() -> None:
        async def main(_: object) -> None:
            await test()

        run(main)

    tested.__name__, tested.__doc__ = test.__name__, test.__doc__
    return tested


class Cluster:
    """Members by number, each with the incarnation that it was started with."""

    def __init__(self) -> None:
        self.network = Network()
        self.members: dict[int, Linked] = {}
        self.incarnations: dict[int, int] = {}
        self.started: list[Linked] = []

    async def start(self, number: int, incarnation: int) -> Linked:
        """Start one, which knows nobody yet."""
        one = Linked(number, 0, self.network.wires(), incarnation)

        def echo(question: Question) -> None:
            question.answer(b"%d:" % incarnation + question.payload)

        one.table.on_ask(ECHO, echo)
        await one.links.start()
        self.started.append(one)
        self.members[number] = one
        self.incarnations[number] = incarnation
        return one

    def tell(self, *members: Linked) -> None:
        """Tell these, or all, who is there."""
        for one in members or self.members.values():
            one.links.are(self.incarnations)

    async def end(self) -> None:
        """Stop all that were started."""
        for one in self.started:
            await one.stop()
            assert not one.failures


async def _asked(one: Linked, number: int) -> bytes:
    peer = one.links.to(number)
    await peer.connected(10)
    return await peer.ask(ECHO, b"x")


@simulated
async def test_who_joins_is_connected_with_all_others() -> None:
    """Whoever hears of it first, and whichever side has to connect."""
    cluster = Cluster()
    one, two = [await cluster.start(number, 10 + number) for number in (1, 2)]
    cluster.tell()
    assert await _asked(one, 2) == b"12:x"
    three = await cluster.start(3, 13)
    cluster.tell(three)  # the others do not know it yet
    await asyncio.sleep(2)
    assert not three.links.to(1).is_connected
    cluster.tell()
    for member in (one, two, three):
        for peer in member.links.peers:
            assert await _asked(member, peer.process) == b"%d:x" % (10 + peer.process)
    assert [peer.process for peer in two.links.peers] == [1, 3]
    assert three.told.count("connected 1") < 10
    cluster.tell()
    cluster.tell()
    await asyncio.sleep(1)
    assert one.told == ["connected 2", "connected 3"]
    await cluster.end()


@simulated
async def test_a_stranger_has_the_members_looked_up_anew() -> None:
    """It may have joined just now; once it is known it is there in a moment."""
    cluster = Cluster()
    one, two = [await cluster.start(number, 10 + number) for number in (1, 2)]
    one.links.on_stranger = lambda: cluster.tell(one)
    began = asyncio.get_running_loop().time()
    cluster.tell(two)
    assert await _asked(two, 1) == b"11:x"
    assert asyncio.get_running_loop().time() - began < 0.5
    await cluster.end()


@simulated
async def test_who_leaves_is_asked_nothing_more() -> None:
    """Its link is closed, nobody tries to connect, and it is not let in again."""
    cluster = Cluster()
    one, two = [await cluster.start(number, 10 + number) for number in (1, 2)]
    cluster.tell()
    assert await _asked(two, 1) == b"11:x"
    changes: list[str] = []
    for member in (one, two):
        member.links.on_change(lambda: changes.append("changed"))
    gone = two.links.to(1)
    two.links.are({2: 12})
    one.links.are({1: 11})
    assert gone.has_left
    assert two.links.peers == [] == one.links.peers
    assert not two.links.by_number
    await asyncio.sleep(0.1)
    assert changes
    with pytest.raises(NotConnected):
        await gone.ask(ECHO)
    await asyncio.sleep(30)
    assert not cluster.network.pairs
    cluster.tell(two)
    await asyncio.sleep(30)
    assert not two.links.to(1).is_connected
    await cluster.end()


@simulated
async def test_a_number_that_is_another_nodes_now_is_not_the_former_ones() -> None:
    """One that hung, and does not know that its number was taken, gets no link any more; who asked
    it hears that the answer never comes, and asks the new one."""
    cluster = Cluster()
    old = await cluster.start(1, 11)
    two = await cluster.start(2, 12)
    cluster.tell()
    assert await _asked(two, 1) == b"11:x"
    old.table.on_ask(99, lambda question: None)
    asked = asyncio.ensure_future(two.links.to(1).ask(99))
    await asyncio.sleep(0.1)
    new = await cluster.start(1, 21)
    cluster.tell(two, new)
    with pytest.raises(Broken):
        await asked
    assert await _asked(two, 1) == b"21:x"
    assert await _asked(new, 2) == b"12:x"
    await asyncio.sleep(30)
    assert not old.links.to(2).is_connected
    await cluster.end()


@simulated
async def test_a_former_node_is_not_taken_for_the_one_that_has_its_number() -> None:
    """Whichever side connects: it comes back where the new one is expected."""
    cluster = Cluster()
    one = await cluster.start(1, 11)
    old = await cluster.start(2, 12)
    cluster.tell(old)
    one.links.are({2: 22})
    await asyncio.sleep(10)
    assert one.told == []
    new = await cluster.start(2, 22)
    cluster.tell(one, new)
    assert await _asked(new, 1) == b"11:x"
    assert await _asked(one, 2) == b"22:x"
    await asyncio.sleep(10)
    assert one.told == ["connected 2"]
    await cluster.end()


@simulated
async def test_an_address_with_another_member_is_not_the_one_that_was_meant() -> None:
    """An address that was given to another machine: it is closed, and tried again soon where the
    member is by then."""
    cluster = Cluster()
    one = await cluster.start(1, 11)
    three = await cluster.start(3, 13)
    cluster.incarnations[2] = 12
    cluster.network.listening[2] = cluster.network.listening[1]
    cluster.tell(one, three)
    await asyncio.sleep(3)
    assert not three.links.to(2).is_connected
    assert three.links.to(1).is_connected
    await cluster.start(2, 12)
    cluster.tell()
    began = asyncio.get_running_loop().time()
    assert await _asked(three, 2) == b"12:x"
    assert asyncio.get_running_loop().time() - began < 2
    assert await _asked(three, 1) == b"11:x"
    assert one.told.count("connected 3") == 1
    await cluster.end()


@simulated
async def test_a_node_that_starts_again_is_connected_as_the_same_member() -> None:
    """Whoever holds on to it has it again, with another incarnation."""
    cluster = Cluster()
    one = await cluster.start(1, 11)
    two = await cluster.start(2, 12)
    cluster.tell()
    peer = one.links.to(2)
    assert await _asked(one, 2) == b"12:x"
    await two.stop()
    again = await cluster.start(2, 13)
    cluster.tell()
    assert await _asked(one, 2) == b"13:x"
    assert one.links.to(2) is peer
    assert peer.incarnation == 13
    assert await _asked(again, 1) == b"11:x"
    await cluster.end()
