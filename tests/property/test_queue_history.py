"""A random life of messages, and then a replay: it sends exactly what was delivered, once."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.core.terms import Terms
from dispatcher.errors import Refused
from dispatcher.queue.admin.surface import Cancelled, HistoryFilter, Place
from dispatcher.queue.pending.index import State
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.records.chunks import decode_chunk
from dispatcher.queue.records.ids import wire_id
from dispatcher.queue.records.kinds import Kind
from dispatcher.queue.records.messages import decode_stored
from dispatcher.testing.queue import Bench, destination, failed, message, simulate
from tests.effort import times

T0: Final = 1_704_067_200_000_000
Step = tuple[str, int]
_ENDS: Final = (200, 404, 200, 503, 200)
_WHAT: Final = (
    *("accept", "end") * 6,
    *("wait", "redrive", "redrive", "purge", "cancel"),
    *("accept large", "copy forward", "restart", "crash"),
)
STEPS: Final = st.lists(
    st.tuples(st.sampled_from(_WHAT), st.integers(0, 100)), min_size=20, max_size=100
)
"""What is done, and a number that says to which, how, or how long."""


class Sent(NamedTuple):
    """What a destination sees of a message."""

    target: str
    body: bytes
    destination: str


@dataclass
class Life:
    """Messages by id, when they were accepted, and which did not end by a delivery."""

    bench: Bench
    accepted: dict[bytes, tuple[Sent, int]] = field(default_factory=dict)
    forgotten: set[bytes] = field(default_factory=set)
    bodies: dict[str, bytes] = field(default_factory=dict)

    def accept(self, to: int, *, large: bool) -> None:
        """One more message; it is lost when the process ends before it is durable."""
        number = len(self.bodies) + 1
        body = b"%03d" % number * (CHUNK_BYTES if large else 1)
        one = message(destination(f"d{to}.example"), b"" if large else body, name=str(number))
        one.accepted_at = T0 + number
        one.terms = Terms(label="third") if not number % 3 else None
        one.body_size = len(body)
        self.bodies[one.target] = body
        upload = self.bench.queue.intake.start_upload(lambda: None) if large else None
        for start in range(0, len(body) if large else 0, CHUNK_BYTES):
            assert upload is not None
            upload.write(body[start : start + CHUNK_BYTES])
        self.bench.queue.intake.accept(one, self.bench.receipts.one(), upload)

    def note(self) -> None:
        """Enter what was accepted since."""
        for one in self.bench.receipts.accepted:
            sent = Sent(one.target, self.bodies[one.target], str(one.destination))
            self.accepted[one.wire_id] = sent, one.accepted_at - T0

    def waiting(self) -> list[bytes]:
        """Ids of what waits, or is under way."""
        index = self.bench.queue.pending.index
        return sorted(
            wire_id(0, index.incarnation_of(slot), index.id_position[slot])
            for slot in range(index.slots)
            if index.state[slot] != State.FREE
        )

    def letters(self) -> list[bytes]:
        """Ids of the dead letters."""
        return sorted(one for one, _ in self.bench.queue.dead_letters)

    def delivered(self) -> set[bytes]:
        """What can only have been delivered."""
        return set(self.accepted) - self.forgotten - set(self.letters()) - set(self.waiting())


async def live(life: Life, steps: list[Step]) -> None:
    """Do all of that."""
    bench = life.bench
    for what, value in steps:
        match what:
            case "accept" | "accept large":
                life.accept(value % 3, large=what == "accept large")
                await asyncio.sleep(0.001)
            case "end" if bench.deliverer.flying:
                status = _ENDS[value % len(_ENDS)]
                bench.end(bench.deliverer.flying[-1], 200 if status == 200 else failed(status))
            case "wait":
                await asyncio.sleep(value % 30)
            case "cancel" | "redrive" | "purge":
                ids = life.waiting() if what == "cancel" else life.letters()
                if ids:
                    await operate(life, what, ids[value % len(ids)])
            case "copy forward":
                await bench.queue.space.copy([bench.queue.pending.extents.oldest])
            case "restart":
                await bench.stop()
                await bench.start()
            case "crash":
                await bench.crash(keep_dead_batch=bool(value % 2))
                await bench.start()
        life.note()


async def operate(life: Life, what: str, chosen: bytes) -> None:
    """Do as an operator does."""
    admin = life.bench.queue.admin
    if what == "redrive":
        await admin.redrive([chosen.decode()])
    elif what == "purge":
        if (await admin.purge([chosen.decode()])).count:
            life.forgotten.add(chosen)
    else:
        with suppress(Refused):
            if await admin.cancel(chosen.decode()) is Cancelled.DONE:
                life.forgotten.add(chosen)


async def replay(
    bench: Bench, which: HistoryFilter, after: Place | None, *, stop_after: int
) -> tuple[Place, int]:
    """Replay until so many are sent; returns what was told last."""
    told = None
    async with aclosing(bench.queue.replaying.replay(which, after=after)) as steps:
        async for told in steps:
            if told.messages >= stop_after:
                break
    assert told is not None
    assert not told.unreadable
    return told.place, told.messages


async def stored_from(bench: Bench, position: int) -> list[Sent]:
    """Messages that lie behind a position of the log."""
    found = []
    for at, payload in bench.log.records:
        if at >= position and payload[0] in (Kind.MESSAGE, Kind.MESSAGE_TERMS):
            one = decode_stored(at, payload, 0)
            body = one.body
            if one.chunks is not None:
                body = b"".join(map(decode_chunk, await bench.log.read(list(one.chunks))))
            found.append(Sent(one.target, body, str(one.destination)))
    return found


@settings(max_examples=times(30), deadline=None)
@given(STEPS, st.none() | st.tuples(st.integers(0, 40), st.integers(0, 40)), st.integers(0, 20))
def test_replay_sends_exactly_what_was_delivered(
    steps: list[Step], span: tuple[int, int] | None, stop_after: int
) -> None:
    """Once each, byte for byte: not what waits, died, was purged or cancelled; however often it
    was tried, moved, redriven, or delivered before a crash; also where the replay breaks off."""

    async def test(bench: Bench) -> None:
        life = Life(bench)
        await live(life, steps)
        await asyncio.sleep(1)
        await bench.stop()
        await bench.start()
        life.note()
        which = HistoryFilter()
        wanted = [life.accepted[one] for one in life.delivered()]
        if span is not None:
            low, high = sorted(span)
            which = HistoryFilter("http://d1.example", T0 + low, T0 + high)
            wanted = [
                (sent, at)
                for sent, at in wanted
                if low <= at < high and sent.destination == "http://d1.example"
            ]
        end = bench.log.bounds().end
        place, first = await replay(bench, which, None, stop_after=stop_after)
        await bench.crash()
        await bench.start()
        place, second = await replay(bench, which, place, stop_after=1_000_000)
        copies = await stored_from(bench, end)
        assert len(copies) == first + second
        assert sorted(copies) == sorted(sent for sent, _ in wanted)

    simulate(test, keep_everything=True, workers=5)
