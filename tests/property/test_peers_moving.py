"""Members of a cluster are as one: whatever messages come to which of them, wherever partitions
move meanwhile, whoever knows that late, and whichever links break: callers are told the truth.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.core.message import Message
from dispatcher.errors import LogFenced
from dispatcher.queue.flow.settling import Settling
from dispatcher.queue.refusals import MOVED, NO_VERDICT, SHUTTING_DOWN
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.clustered import Cluster, clustered
from dispatcher.testing.loop import run
from dispatcher.testing.peered import keyed, place_in
from dispatcher.testing.queue import message
from tests.effort import times

MEMBERS, PARTITIONS = 3, 2


@dataclass(frozen=True, slots=True)
class Send:
    """A message comes to a member: with an order key or an idempotency key for a partition, or
    without any (key "")."""

    member: int
    partition: int
    key: str


@dataclass(frozen=True, slots=True)
class Move:
    """A partition goes to a member, after nobody had it for a while. Its owner hands it over, or
    learns that it has lost it."""

    partition: int
    to: int
    gap_s: float
    is_lost: bool


@dataclass(frozen=True, slots=True)
class Cut:
    """A link breaks when one side has sent so many bytes more."""

    pair: int
    side: int
    passes: int


@dataclass(frozen=True, slots=True)
class Look:
    """A member learns who has what."""

    member: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Time passes."""

    seconds: float


Step = Send | Move | Cut | Look | Wait
sends = st.builds(
    Send,
    st.integers(0, MEMBERS - 1),
    st.integers(0, PARTITIONS - 1),
    st.sampled_from(["", "order", "once-a", "once-b"]),
)
moves = st.builds(
    Move,
    st.integers(0, PARTITIONS - 1),
    st.integers(0, MEMBERS - 1),
    st.sampled_from([0, 0.02, 0.5, 3]),
    st.booleans(),
)
cuts = st.builds(Cut, st.integers(0, 2), st.integers(0, 1), st.integers(0, 900))
looks = st.builds(Look, st.integers(0, MEMBERS - 1))
waits = st.builds(Wait, st.sampled_from([0, 0.001, 0.1, 1]))


class Told:
    """Who hears of one message (`ports.Receipt`): what was said, and when."""

    def __init__(self, step: Send, name: str, order: list[Told]) -> None:
        """`order` is where it is noted that something was said."""
        self.step = step
        self.name = name
        self.sent_s = asyncio.get_running_loop().time()
        self.told_s = 0.0
        self.said: Any = None
        self._order = order

    @property
    def stored(self) -> bytes:
        """The id that it was told; b"" for none."""
        if isinstance(self.said, Message):
            return self.said.wire_id
        return self.said if isinstance(self.said, bytes) else b""

    def _tell(self, said: Any) -> None:
        assert self.said is None, "told twice"
        self.said = said
        self.told_s = asyncio.get_running_loop().time()
        self._order.append(self)

    def accepted(self, message: Message) -> None:
        self._tell(message)

    def duplicate(self, message_id: bytes) -> None:
        self._tell(message_id)

    def refused(self, refusal: Any) -> None:
        self._tell(refusal)


@dataclass(slots=True)
class World:
    """The cluster, and what came to it."""

    cluster: Cluster
    sent: list[Told] = field(default_factory=list)
    told: list[list[Told]] = field(default_factory=lambda: [[] for _ in range(MEMBERS)])
    moving: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    stored: dict[bytes, str] = field(default_factory=dict)

    async def do(self, step: Step) -> None:
        cluster = self.cluster
        if isinstance(step, Wait):
            await asyncio.sleep(step.seconds)
        elif isinstance(step, Look):
            cluster.members[step.member].look()
        elif isinstance(step, Cut):
            pairs = cluster.network.pairs
            if pairs:
                pairs[step.pair % len(pairs)].ends[step.side].passes = step.passes
        elif isinstance(step, Move):
            moving = self.moving.get(step.partition)
            if moving is None or moving.done():
                self.moving[step.partition] = asyncio.ensure_future(self._move(step))
                await asyncio.sleep(0)
        else:
            self._send(step)

    async def _move(self, step: Move) -> None:
        cluster = self.cluster
        if step.is_lost:
            owner = cluster.owners[step.partition]
            cluster.partitions[step.partition].queue.abandon(LogFenced("it is another's"))
            cluster.members[owner].router.remove(step.partition)
        await cluster.close(step.partition)
        await asyncio.sleep(step.gap_s)
        await cluster.open(step.partition, step.to)

    def _send(self, step: Send) -> None:
        router = self.cluster.members[step.member].router
        name = str(len(self.sent))
        to = place_in(step.partition)
        if not step.key:
            told = Told(step, name, self.told[step.member])
            refusal = router.refusal()
            if refusal is not None:
                return  # as a caller is told at once
            router.accept(message(to, name=name), told)
        else:
            told = Told(step, name, [])
            if step.key == "order":
                one = keyed(to, name, order_key="k")
            else:
                told.name = f"{step.key}-{step.partition}"
                one = keyed(to, told.name, idempotency_key=step.key)
            router.accept(one, told)
        self.sent.append(told)

    def begin(self) -> None:
        """Note what is delivered."""

        def started(sent: Message) -> None:
            self.stored[sent.wire_id] = sent.target[1:]

        for bench in self.cluster.partitions:
            bench.deliverer.on_start = started
        self.cluster.partitions[0].log.append_s = 0.05  # the other one may overtake it

    async def deliver(self) -> None:
        """Deliver all that there is."""
        for bench in self.cluster.partitions:
            settling = bench.queue.settling
            bench.deliverer.answer = partial(_succeed, settling)
            for sent in [*bench.deliverer.flying]:
                bench.end(sent)
        await asyncio.sleep(60)

    def check(self) -> None:
        """Look at what was said, and what was there."""
        stored = self.stored
        names = [*stored.values()]
        assert len({*names}) == len(names), "twice"
        for told in self.sent:
            assert told.said is not None, "no answer"
            if told.stored:
                assert stored.get(told.stored) == told.name, "lost"
            else:
                assert told.said in (MOVED, NO_VERDICT, SHUTTING_DOWN), told.said
                if told.said != NO_VERDICT and not told.step.key.startswith("once"):
                    assert told.name not in names, "refused, and stored"
        self._check_keys()
        self._check_order()

    def _check_keys(self) -> None:
        ids: dict[tuple[int, str], set[bytes]] = {}
        for told in self.sent:
            if told.stored and told.step.key.startswith("once"):
                ids.setdefault((told.step.partition, told.step.key), set()).add(told.stored)
        assert all(len(found) == 1 for found in ids.values()), "two messages with one key"

    def _check_order(self) -> None:
        """What has no key is told as it came, and an order is that of the answers: who was answered
        before another one came is before it."""
        for member, told in enumerate(self.told):
            sent = [one for one in self.sent if one.step.member == member and not one.step.key]
            assert told == sent, "answers out of order"
        ordered = [one for one in self.sent if one.step.key == "order" and one.stored]
        for first in ordered:
            for later in ordered:
                if first.step.partition == later.step.partition and first.told_s < later.sent_s:
                    assert first.stored < later.stored, "out of order"


def _succeed(settling: Settling, sent: Message) -> None:
    settling.delivered(sent, 200)


@settings(max_examples=times(40))
@given(
    st.lists(st.one_of(sends, sends, sends, sends, moves, cuts, looks, waits), max_size=50),
    st.sets(st.integers(0, MEMBERS - 1)),
    st.integers(),
)
def test_members_are_as_one_whatever_becomes_of_partitions_and_links(
    steps: list[Step], late: set[int], seed: int
) -> None:
    """Nothing that was accepted is lost, nothing that was refused is stored, a key makes one
    message, and answers come in order."""

    async def main(clock: SimulatedClock) -> None:
        async with clustered(clock, 0, 1, members=MEMBERS) as cluster:
            chance = random.Random(seed)

            def cut(data: bytes) -> list[bytes]:
                at = chance.randint(0, len(data))
                return [data[:at], data[at:]]

            cluster.network.pieces = cut
            for member in late:
                cluster.members[member].looks = False
            world = World(cluster)
            world.begin()
            for step in steps:
                await world.do(step)
            await asyncio.gather(*world.moving.values())
            await asyncio.sleep(5)
            cluster.look()
            await world.deliver()
            world.check()

    run(main)
