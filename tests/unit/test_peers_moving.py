"""Partitions that move while messages for them are on their way: what certainly was not stored goes
where the partition is by then, in order; nobody is told that something is stored that is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from dispatcher.core.answer import MOST_WAITED_BYTES
from dispatcher.core.message import Message
from dispatcher.core.placing import place_of_group
from dispatcher.peers.forwarding.remote import HOLD_S
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.refusals import (
    DISK_FULL,
    IDEMPOTENCY_CONFLICT,
    MOVED,
    NO_VERDICT,
    SHUTTING_DOWN,
)
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.clustered import Cluster, Member, clustered
from dispatcher.testing.log import Space
from dispatcher.testing.loop import run
from dispatcher.testing.peered import group_in, keyed, of_group, place_in
from dispatcher.testing.queue import Receipts, message

Test = Callable[[Cluster], Coroutine[Any, Any, None]]


def simulated(*owners: int, members: int = 3) -> Callable[[Test], Callable[[], None]]:
    """The same test, on simulated time, with partitions at these members."""

    def decorated(test: Test) -> Callable[[], None]:
        def tested() -> None:
            async def main(clock: SimulatedClock) -> None:
                async with clustered(clock, *owners, members=members) as cluster:
                    await test(cluster)

            run(main)

        tested.__name__, tested.__doc__ = test.__name__, test.__doc__
        return tested

    return decorated


def stored_in(receipt: Receipts.One, partition: int) -> bytes:
    """The id of a message that was accepted."""
    assert isinstance(receipt.answer, Message), receipt.answer
    assert receipt.answer.wire_id.startswith(b"%04x" % partition)
    return receipt.answer.wire_id


def send(member: Member, count: int) -> list[Receipts.One]:
    """So many messages with a key for partition 0."""
    return [member.accept(keyed(place_in(0), str(one), order_key="k")) for one in range(count)]


@simulated(0, 1)
async def test_what_the_former_owner_says_has_moved_goes_to_the_new_one(cluster: Cluster) -> None:
    """Whoever sent it did not know yet: it looks again, and nobody notices but by the time."""
    await cluster.move(0, 1)
    two = cluster.members[2]
    receipts = send(two, 100)
    await asyncio.sleep(0.2)
    ids = [stored_in(receipt, 0) for receipt in receipts]
    assert ids == sorted(ids)
    assert two.again


@simulated(0, 1)
async def test_messages_keep_their_order_while_their_partition_moves(cluster: Cluster) -> None:
    """Those that come back are sent before those that came later; there and back, all the time."""
    cluster.look()
    receipts: list[Receipts.One] = []
    two = cluster.members[2]
    for turn in range(60):
        for number in range(5):
            name = f"{turn}.{number}"
            receipts.append(two.accept(keyed(place_in(0), name, order_key="k")))
        await asyncio.sleep(0.003)
        if turn % 20 == 10:
            await cluster.move(0, 1 - cluster.owners[0])
    await asyncio.sleep(2)
    ids = [stored_in(receipt, 0) for receipt in receipts]
    assert len(ids) == 300
    assert ids == sorted(ids)


@simulated(0, 1)
async def test_while_nobody_has_it_messages_are_held_and_then_go_to_who_has(
    cluster: Cluster,
) -> None:
    """Also those of its former owner's callers, and of the next one's: there it is taken here."""
    await cluster.close(0)
    cluster.look()
    sent = [send(member, 20) for member in cluster.members]
    group = group_in(0)
    members = cluster.members
    together = Receipts.Together([members[1].receipts.one() for _ in range(3)])
    messages = of_group(group, b"x", 3, order_key="k")
    members[1].router.accept_all(messages, together, None, place_of_group(group))
    await asyncio.sleep(HOLD_S - 0.2)
    assert not any(one.answer for receipts in sent for one in receipts)
    await cluster.open(0, 1)
    cluster.look([0, 2])
    await asyncio.sleep(0.1)
    for receipts in (*sent, together.ones):
        ids = [stored_in(receipt, 0) for receipt in receipts]
        assert ids == sorted(ids)


@simulated(0, 1)
async def test_what_nobody_takes_in_time_is_refused_as_moved(cluster: Cluster) -> None:
    """Whether nobody is known, or who is known says no all the time: after two seconds, and he is
    asked now and then by one message, not by all of them."""
    await cluster.close(0)
    unknown = send(cluster.members[2], 10)
    cluster.look([2])
    stubborn = cluster.members[1]
    stubborn.looks = False
    refused = send(stubborn, 1000)
    await asyncio.sleep(HOLD_S - 0.1)
    assert not any(one.answer for one in [*unknown, *refused])
    asked = stubborn.again - 1000
    assert asked < 60
    await asyncio.sleep(0.3)
    assert {one.answer for one in [*unknown, *refused]} == {MOVED}
    await cluster.open(0, 0)
    cluster.look()
    stored_in((await _sent(cluster.members[1])), 0)


async def _sent(member: Member) -> Receipts.One:
    (receipt,) = send(member, 1)
    await asyncio.sleep(0.2)
    return receipt


@simulated(0, 1)
async def test_who_may_have_been_heard_is_cut_off_and_with_a_key_it_goes_to_the_new_owner(
    cluster: Cluster,
) -> None:
    """The new owner has the log, and knows the key if it had come: there is one message."""
    two = cluster.members[2]
    _end_of(cluster, 0, 2).is_held = True
    plain = two.accept(keyed(place_in(0), "plain", order_key="k"))
    known = two.accept(keyed(place_in(0), "known", idempotency_key="k"))
    await asyncio.sleep(0.1)
    assert cluster.partitions[0].queue.pending.index.count == 2
    cluster.network.listening.pop(0)  # it died
    for pair in [*cluster.network.pairs]:
        if 0 in (_number(cluster, pair.ends[0]), _number(cluster, pair.ends[1])):
            pair.cut()
    await asyncio.sleep(0.1)
    assert plain.answer == NO_VERDICT
    assert NO_VERDICT.is_silent
    assert known.answer is None
    await cluster.move(0, 1)
    cluster.look([2])
    await asyncio.sleep(0.1)
    assert isinstance(known.answer, bytes)
    assert cluster.partitions[0].queue.pending.index.count == 2


def _number(cluster: Cluster, end: Any) -> int:
    """Whose end it is."""
    return next(
        member.number for member in cluster.members if end.link in member.linked.links._links
    )


def _end_of(cluster: Cluster, own: int, other: int) -> Any:
    """The end of a member, of its connection with another."""
    (found,) = [
        end
        for pair in cluster.network.pairs
        for end in pair.ends
        if _number(cluster, end) == own
        and end.link.hello is not None
        and end.link.hello.process == other
    ]
    return found


@pytest.mark.parametrize("was_read", [True, False])
@pytest.mark.parametrize("conflicts", [True, False])
def test_what_may_be_stored_and_is_taken_here_is_no_promise(
    was_read: bool, conflicts: bool
) -> None:
    """A key that was sent to an owner that died, whose partition comes here: it is known, or new;
    a 503 of this second try would say that nothing is stored, and nobody knows that."""

    async def main(clock: SimulatedClock) -> None:
        async with clustered(clock, 0, 1) as cluster:
            two = cluster.members[2]
            _end_of(cluster, *((0, 2) if was_read else (2, 0))).is_held = True
            receipt = two.accept(keyed(place_in(0), "x", idempotency_key="k"))
            other = two.accept(keyed(place_in(0), "y", idempotency_key="l"))
            await asyncio.sleep(0.1)
            await cluster.close(0)
            cluster.network.cut()
            two.look()
            await asyncio.sleep(0.01)
            assert receipt.answer is None
            bench = await cluster.partitions[0].start()
            if not conflicts:
                bench.log.space = Space.NOTHING
            two.router.add(0, bench.queue.intake)
            cluster.owners[0] = 2
            await asyncio.sleep(0.5)
            for one in (receipt, other):
                if was_read:
                    assert isinstance(one.answer, bytes)
                elif conflicts:
                    stored_in(one, 0)
                else:
                    assert one.answer == NO_VERDICT
            bench.log.space = Space.ENOUGH

    run(main)


async def _upload(
    cluster: Cluster, member: Member, pieces: int, *, between: Callable[[], Any]
) -> Receipts.One:
    to = keyed(place_in(0), "large", b"", order_key="k")
    upload = member.router.start_upload(lambda: None, to.destination.key)
    for number in range(pieces):
        upload.write(bytes([number]) * CHUNK_BYTES)
        if number == 0:
            await between()
    receipt = member.receipts.one()
    to.body_size = pieces * CHUNK_BYTES
    if upload.refusal is not None:
        upload.abort()
        receipt.refused(upload.refusal)
    else:
        member.router.accept(to, receipt, upload)
    await asyncio.sleep(1)
    return receipt


@pytest.mark.parametrize("owner", [0, 1])
def test_a_large_body_that_is_held_goes_to_where_the_partition_is(owner: int) -> None:
    """Here, or at another member; it is whole, and delivered as it came."""

    async def main(clock: SimulatedClock) -> None:
        async with clustered(clock, 0, 1) as cluster:
            await cluster.close(0)
            cluster.look()

            async def between() -> None:
                await asyncio.sleep(0.5)
                await cluster.open(0, owner)
                cluster.look()
                await asyncio.sleep(0.1)

            receipt = await _upload(cluster, cluster.members[1], 3, between=between)
            stored_in(receipt, 0)
            bench = cluster.partitions[0]
            (sent,) = bench.deliverer.flying
            assert sent.chunks is not None
            body = await bench.queue.settling.read_body(list(sent.chunks))
            assert body == [bytes([number]) * CHUNK_BYTES for number in range(3)]

    run(main)


@simulated(0, 1)
async def test_a_large_body_whose_partition_moves_under_way_is_refused(cluster: Cluster) -> None:
    """Its pieces lie where nobody needs them; certainly no message was made of it."""

    async def between() -> None:
        await asyncio.sleep(0.1)
        await cluster.move(0, 1)
        cluster.look()
        await asyncio.sleep(0.1)

    receipt = await _upload(cluster, cluster.members[2], 3, between=between)
    assert receipt.answer in (MOVED, SHUTTING_DOWN)


@simulated(0, 1)
async def test_who_waits_for_the_outcome_is_told_it_where_the_partition_came_to(
    cluster: Cluster,
) -> None:
    """It was held, and is taken here: its caller waits for this process's own message."""
    await cluster.close(0)
    cluster.look()
    one = cluster.members[1]
    told: list[Any] = []

    class Waiter:
        def accepted(self, message: Message) -> None:
            one.router.await_end(message, self)

        def duplicate(self, message_id: bytes) -> None:
            told.append(message_id)

        def refused(self, refusal: Any) -> None:
            told.append(refusal)

        def ended(self, answer: Any, error: str | None) -> None:
            told.append("ended")

        def undecided(self) -> None:
            told.append("undecided")

    sent = keyed(place_in(0), "x", order_key="k")
    sent.want_start(MOST_WAITED_BYTES)
    one.router.accept(sent, Waiter())
    await asyncio.sleep(0.3)
    await cluster.open(0, 1)
    await asyncio.sleep(0.1)
    bench = cluster.partitions[0]
    (flying,) = bench.deliverer.flying
    bench.end(flying)
    await asyncio.sleep(0.1)
    assert told == ["ended"]


@simulated(0, 1)
async def test_a_conflict_of_keys_is_told_whatever_came_before(cluster: Cluster) -> None:
    """Another request has the key: nothing of this one is stored, whoever says so."""
    await cluster.close(0)
    cluster.look()
    two = cluster.members[2]
    first = two.accept(keyed(place_in(0), "x", idempotency_key="k"))
    other = keyed(place_in(0), "x", idempotency_key="k")
    assert other.terms is not None
    other.terms = type(other.terms)(idempotency_key="k", request_print=8)
    conflict = two.accept(other)
    await asyncio.sleep(0.3)
    await cluster.open(0, 2)
    await asyncio.sleep(0.1)
    stored_in(first, 0)
    assert conflict.answer == IDEMPOTENCY_CONFLICT


# A node without any partition.


class InOrder:
    """A connection of a caller: what it is told has to come in the order of what it sent."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.sent = 0

    def accepted(self, message: Message) -> None:
        self.told.append(message)

    def duplicate(self, message_id: bytes) -> None:
        raise AssertionError

    def refused(self, refusal: Any) -> None:
        self.told.append(refusal)

    def send(self, member: Member, count: int) -> None:
        """So many messages without a key."""
        for _ in range(count):
            assert member.router.refusal() is None
            member.router.accept(message(place_in(0), name=str(self.sent)), self)
            self.sent += 1

    @property
    def names(self) -> list[int]:
        """Of all that was stored, in the order in which it was told."""
        return [int(one.target[1:]) for one in self.told if isinstance(one, Message)]


@simulated(0, 1)
async def test_a_node_without_partitions_gives_its_messages_to_one_that_has_some(
    cluster: Cluster,
) -> None:
    """To one and the same, which is another one for each node; large bodies, groups, and what its
    callers wait for too."""
    two = cluster.members[2]
    caller = InOrder()
    caller.send(two, 200)
    await asyncio.sleep(0.1)
    assert caller.names == list(range(200))
    assert {one.wire_id[:4] for one in caller.told} == {b"0000"}
    upload = two.router.start_upload(lambda: None)
    upload.write(b"x" * CHUNK_BYTES)
    large = message(place_in(1), b"", name="large")
    large.body_size = CHUNK_BYTES
    two.router.accept(large, caller, upload)
    await asyncio.sleep(0.5)
    assert isinstance(caller.told[-1], Message)
    together = Receipts.Together([two.receipts.one() for _ in range(3)])
    two.router.accept_all([message(place_in(0), name="g") for _ in range(3)], together)
    await asyncio.sleep(0.1)
    assert all(isinstance(one.answer, Message) for one in together.ones)


@simulated(0, 1)
async def test_without_anybody_who_has_one_it_refuses_and_is_not_ready(cluster: Cluster) -> None:
    """Callers are told at once; as soon as somebody is there it takes messages again."""
    two = cluster.members[2]
    cluster.network.is_down = True
    cluster.network.cut()
    await asyncio.sleep(0.01)
    assert two.router.refusal() == MOVED
    cluster.network.is_down = False
    await two.linked.links.to(0).connected(3)
    assert two.router.refusal() is None
    caller = InOrder()
    caller.send(two, 1)
    await asyncio.sleep(0.1)
    assert caller.names == [0]


@simulated(0, 1)
async def test_answers_come_in_order_while_partitions_come_and_go(cluster: Cluster) -> None:
    """One that has moved, one that refuses, one that comes here and leaves again: every message is
    told once, in the order in which it came, and is stored if it was told so."""
    two = cluster.members[2]
    caller = InOrder()
    for turn in range(100):
        if two.router.refusal() is None:
            caller.send(two, 7)
        await asyncio.sleep(0.002)
        if turn == 20:
            await cluster.move(0, 1)
        if turn == 40:
            await cluster.move(0, 2)
        if turn == 45:
            cluster.look()
        if turn == 60:
            await cluster.move(0, 0)
        if turn == 80:
            await cluster.move(1, 0)
    await asyncio.sleep(3)
    assert len(caller.told) == caller.sent
    assert caller.names == list(range(caller.sent))
    assert caller.sent > 500
    stored = sum(bench.queue.pending.index.count for bench in cluster.partitions)
    assert stored == caller.sent


@simulated(0, 1)
async def test_a_refusal_does_not_overtake_what_is_being_stored(cluster: Cluster) -> None:
    """The log is full from one message on: those before it are told first; the next messages go to
    another partition."""
    two = cluster.members[2]
    caller = InOrder()
    caller.send(two, 1)
    await asyncio.sleep(0.1)
    first = int(caller.told[0].wire_id[:4], 16)
    caller.send(two, 3)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    cluster.partitions[first].log.space = Space.NOTHING
    caller.send(two, 3)
    await asyncio.sleep(0.5)
    caller.send(two, 3)
    await asyncio.sleep(0.5)
    assert len(caller.told) == 10
    refused = [at for at, one in enumerate(caller.told) if one == DISK_FULL]
    assert refused
    assert all(0 < at < 7 for at in refused)
    assert all(isinstance(one, Message) for one in caller.told[7:])
    assert {one.wire_id[:4] for one in caller.told[7:]} == {b"%04x" % (1 - first)}


@simulated(0, 1)
async def test_a_faster_partition_does_not_overtake_one_that_was_used_before(
    cluster: Cluster,
) -> None:
    """What went to the former is told first, however long its log takes."""
    two = cluster.members[2]
    caller = InOrder()
    caller.send(two, 1)
    await asyncio.sleep(0.1)
    first = int(caller.told[0].wire_id[:4], 16)
    bench = cluster.partitions[first]
    bench.log.append_s = 0.5
    caller.send(two, 3)
    await asyncio.sleep(0.1)
    bench.queue.close_intake()
    caller.send(two, 3)
    await asyncio.sleep(0.2)
    assert len(caller.told) == 1
    await asyncio.sleep(1)
    assert caller.names == list(range(7))
    places = [int(one.wire_id[:4], 16) for one in caller.told]
    assert places == [first] * 4 + [1 - first] * 3


@simulated(0, 1)
async def test_a_node_that_loses_the_one_it_uses_cuts_off_who_may_have_been_heard(
    cluster: Cluster,
) -> None:
    """And gives what comes next to another one."""
    two = cluster.members[2]
    _end_of(cluster, 0, 2).is_held = True
    caller = InOrder()
    caller.send(two, 2)
    await asyncio.sleep(0.1)
    cluster.network.listening.pop(0)
    for pair in [*cluster.network.pairs]:
        if 0 in (_number(cluster, pair.ends[0]), _number(cluster, pair.ends[1])):
            pair.cut()
    await asyncio.sleep(0.1)
    assert caller.told == [NO_VERDICT] * 2
    later = InOrder()
    later.send(two, 2)
    await asyncio.sleep(0.1)
    assert [one.wire_id[:4] for one in later.told] == [b"0001"] * 2
