"""Owners of one stream who all believe: whatever is lost, late or doubled between them and the
servers, what the stream holds is one history, and everybody acknowledged is in it.

JetStream is in memory here (`dispatcher.testing.jetstream`).
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.errors import LogCorrupt, LogError, LogFenced, LogUnknown
from dispatcher.testing.jetstream import Streams, StreamsLink, Trouble
from dispatcher.txlog import each
from dispatcher.txlog.nats.asking import Patience
from dispatcher.txlog.nats.batch import Fence, encode_fence, sequence_of
from dispatcher.txlog.nats.link import Answer, Silence
from dispatcher.txlog.nats.log import NatsLog
from tests.effort import times

AT_ONCE = Patience(again_s=0.0)
"""What is silent says so at once here."""

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 2), st.sampled_from(Trouble)),
        st.tuples(st.just("open"), st.integers(0, 2), st.sampled_from(Trouble)),
        st.tuples(st.just("late"), st.integers(0, 2), st.just(Trouble.NONE)),
        st.tuples(st.just("trim"), st.integers(0, 2), st.just(Trouble.NONE)),
    ),
    min_size=5,
    max_size=40,
)


class Owner:
    """One of them. `epoch` is of its last opening, 0 before that."""

    def __init__(self, world: World, name: int) -> None:
        self.name = name
        self.epoch = 0
        self.link = StreamsLink(world.streams, self._trouble)
        self.log: NatsLog | None = None
        self.next_trouble = Trouble.NONE
        self._world = world

    def _trouble(self) -> Trouble:
        """Once, then none: what is asked for again gets there."""
        trouble, self.next_trouble = self.next_trouble, Trouble.NONE
        return trouble

    async def open(self) -> None:
        """Open the log anew, as who claimed the partition."""
        world = self._world
        if self.log is not None:
            await self.log.close()
        world.epoch += 1
        self.epoch = world.epoch
        self.log = NatsLog(self.link, "log", world.directory, replicas=1, patience=AT_ONCE)
        self.log.without_mirror()
        found: list[bytes] = []
        try:
            await self.log.open(
                f"owner {self.name}", self.epoch, each(lambda _, p: found.append(p))
            )
        except LogFenced:
            self.log = None
            return
        # Every acknowledged batch is found by whoever opens the log, in order.
        kept = [payload for payload in found if payload in world.acked]
        assert kept == world.acked[len(world.acked) - len(kept) :]
        assert len(kept) == len(world.acked) or world.is_trimmed

    async def append(self, payload: bytes) -> None:
        """Append, if the log is open; where it cannot, it is lost."""
        if self.log is None:
            return
        is_latest = self.epoch == self._world.epoch
        try:
            await self.log.append([payload])
        except LogError as error:
            if isinstance(error, LogFenced):
                self._world.refused.add(payload)
            await self.log.close()
            self.log = None
            return
        assert is_latest, "who was fenced is acknowledged nothing"
        self._world.acked.append(payload)


class World:
    """The stream, and what is known of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.streams = Streams()
        self.epoch = 0
        self.acked: list[bytes] = []
        self.refused: set[bytes] = set()
        self.is_trimmed = False
        self.owners = [Owner(self, name) for name in range(3)]


async def play(world: World, steps: list[tuple[str, int, Trouble]]) -> list[bytes]:
    """Do the steps; returns what the last owner finds."""
    for number, (what, who, trouble) in enumerate(steps):
        owner = world.owners[who]
        owner.next_trouble = trouble
        match what:
            case "open":
                await owner.open()
            case "append":
                # Large, so that trimming is worth it.
                await owner.append(b"%04d" % number + bytes(300_000))
            case "late":
                owner.link.deliver_late()
            case _:
                if owner.log is not None and owner.epoch == world.epoch:
                    world.is_trimmed = True
                    await owner.log.trim(owner.log.bounds().end)
    for owner in world.owners:
        owner.link.deliver_late()
        if owner.log is not None:
            await owner.log.close()
    found: list[bytes] = []
    last = NatsLog(StreamsLink(world.streams), "log", world.directory, replicas=1, patience=AT_ONCE)
    last.without_mirror()
    await last.open("last", world.epoch + 1, each(lambda _, payload: found.append(payload)))
    await last.close()
    return found


@settings(max_examples=times(50), deadline=None)
@given(STEPS)
def test_history_is_one_chain_that_holds_what_was_acknowledged(
    steps: list[tuple[str, int, Trouble]],
) -> None:
    """Once each, in order; what was refused as fenced is not in it, then or later."""

    async def main() -> None:
        with tempfile.TemporaryDirectory() as directory:
            world = World(Path(directory))
            found = await play(world, steps)
            assert len(found) == len(set(found)), "nothing twice"
            assert not world.refused & set(found)
            kept = [payload for payload in found if payload in world.acked]
            assert kept == world.acked[len(world.acked) - len(kept) :]
            assert world.is_trimmed or len(kept) == len(world.acked)

    asyncio.run(main())


class _Between(StreamsLink):
    """Before the second publish of a batch something else happens to the stream."""

    def __init__(self, streams: Streams, first: Trouble) -> None:
        super().__init__(streams, self._next)
        self.between: Callable[[], object] | None = None
        self._first = first
        self._tries = 0

    def _next(self) -> Trouble:
        if self.between is None:
            return Trouble.NONE
        self._tries += 1
        if self._tries == 2:
            self.between()
        return self._first if self._tries == 1 else Trouble.NONE


@pytest.mark.parametrize("first", [Trouble.UNANSWERED, Trouble.LOST])
async def test_batch_whose_place_was_trimmed_before_its_verdict_may_have_been_stored(
    tmp_path: Path, first: Trouble
) -> None:
    """The next owner has delivered and trimmed what it found, so nobody can tell any more whether
    the batch was among it: its callers must not be told that it was not."""
    streams = Streams()
    link = _Between(streams, first)
    log = NatsLog(link, "log", tmp_path, replicas=1, patience=AT_ONCE)
    await log.open("owner", 1)
    await log.append([b"before"])

    def others_take_over() -> None:
        for epoch in (2, 3):
            streams.publish("log.e", encode_fence(Fence(epoch, epoch, "next")), {})
        streams.asked("PURGE", {"seq": streams.last})

    link.between = others_take_over
    with pytest.raises(LogUnknown, match="may have been stored"):
        await log.append([b"batch"])
    await log.close()


async def test_batch_whose_only_try_was_refused_is_not_stored(tmp_path: Path) -> None:
    """Its place was trimmed too, but the only request for it was answered."""
    streams = Streams()
    log = NatsLog(StreamsLink(streams), "log", tmp_path, replicas=1, patience=AT_ONCE)
    await log.open("owner", 1)
    for epoch in (2, 3):
        streams.publish("log.e", encode_fence(Fence(epoch, epoch, "next")), {})
    streams.asked("PURGE", {"seq": streams.last})
    with pytest.raises(LogFenced):
        await log.append([b"batch"])
    await log.close()


async def test_message_that_is_lost_between_others_stops_the_log(tmp_path: Path) -> None:
    """It is not waited for, as one is that a server has not got yet."""
    streams = Streams()
    soon = Patience(again_s=0.0, open_s=0.05)
    log = NatsLog(StreamsLink(streams), "log", tmp_path, replicas=1, patience=soon)
    await log.open("owner", 1)
    positions = [(await log.append([payload]))[0] for payload in (b"a", b"b", b"c")]
    await log.close()
    lost = sequence_of(positions[1])
    del streams.messages[lost]
    with pytest.raises(LogCorrupt, match=f"message {lost}"):
        await NatsLog(StreamsLink(streams), "log", tmp_path, replicas=1, patience=soon).open("b", 2)


async def test_positions_of_very_many_batches_are_right(tmp_path: Path) -> None:
    """Numbers of messages use 44 bits: a stream that has been there for years."""
    streams = Streams(last=1 << 42)
    log = NatsLog(StreamsLink(streams), "log", tmp_path, replicas=1, patience=AT_ONCE)
    await log.open("test", 1)
    positions = [(await log.append([b"%d" % number, b""]))[0] for number in range(2000)]
    assert positions[0] > 1 << 62
    assert positions == sorted(set(positions))
    assert await log.read(positions[::999]) == [b"%d" % number for number in range(0, 2000, 999)]
    await log.close()


class Electing(StreamsLink):
    """Has no leader for the first requests. `waits` is how long each was ready to wait."""

    def __init__(self, link: StreamsLink) -> None:
        super().__init__(link.streams)
        self.waits: list[float] = []

    async def request(
        self,
        subject: str,
        data: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float,
    ) -> Answer:
        """Nobody answers."""
        self.waits.append(timeout_s)
        if len(self.waits) < 6:
            raise Silence("no leader")
        return await super().request(subject, data, headers=headers, timeout_s=timeout_s)


async def test_opening_asks_again_soon_when_nobody_answers_for_a_while(tmp_path: Path) -> None:
    """As during an election: no single request waits for seconds."""
    link = Electing(StreamsLink(Streams()))
    log = NatsLog(link, "log", tmp_path, replicas=1)
    await log.open("test", 1)
    assert len(link.waits) > 6
    assert max(link.waits) <= 1
    await log.close()
