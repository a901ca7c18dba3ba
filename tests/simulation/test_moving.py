"""Messages that operators move, on a machine that loses its power at every change of its disk.

What is checked: whatever was accepted is in one place afterwards, at the old destination or at the
new one, waiting or dead, as it was or as it was changed; and where somebody was told that it was
moved, it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random

import pytest

from dispatcher.core.message import Message
from dispatcher.core.terms import Terms
from dispatcher.errors import Refusal
from dispatcher.queue.admin.surface import LetterEdit
from dispatcher.queue.partition import Partition, PartitionConfig
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.records.letters import DeadLetter
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.disk import Fate, SimulatedDisk
from dispatcher.testing.queue import POLICY, HeldDeliverer, Notes, destination, message
from tests.effort import each
from tests.simulation.engine_log import EngineLog, Power, run
from tests.simulation.workload import base_seed

OLD, NEW = destination("old.example"), destination("new.example")
LARGE = 2 * CHUNK_BYTES
NAMES = ("redirected", "keyed", "large", "dead", "edited", "grown", "stays")


class World:
    """What outlives the machine: ids of what was accepted, by name, and of what somebody was told
    that it was moved."""

    def __init__(self) -> None:
        self.ids: dict[str, str] = {}
        self.moved: set[str] = set()


class _Caller:
    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name

    def accepted(self, sent: Message) -> None:
        self._world.ids[self._name] = sent.wire_id.decode()

    def duplicate(self, message_id: bytes) -> None:
        raise AssertionError(message_id)

    def refused(self, refusal: Refusal) -> None:
        raise AssertionError(refusal)


def queue_on(clock: SimulatedClock, power: Power, start: int) -> Partition:
    random = Random(start)
    return Partition(
        EngineLog(Path("/simulated/log"), power, random),
        EngineLog(Path("/simulated/dead"), power, random),
        PartitionConfig(POLICY, 64),
        Notes(),
        clock=clock,
        random=random,
        incarnation=start,
    )


async def accept(queue: Partition, world: World, name: str) -> None:
    """Accept a message for the old destination."""
    sent = message(OLD, b"old", name=name)
    upload = None
    if name == "large":
        upload = queue.intake.start_upload(lambda: None)
        for _ in range(LARGE // CHUNK_BYTES):
            upload.write(b"o" * CHUNK_BYTES)
        sent.body, sent.body_size = b"", LARGE
    if name == "keyed":
        sent.terms = Terms(idempotency_key="k", order_key="o")
    queue.intake.accept(sent, _Caller(world, name), upload)
    for _ in range(100):
        if name in world.ids:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("never answered")


async def live(queue: Partition, world: World) -> None:
    """Accept some, and move them one after the other."""
    admin = queue.admin
    for place in (OLD, NEW):
        await admin.hold(str(place))
    for name in NAMES:
        await accept(queue, world, name)
    for name in ("edited", "grown"):
        await admin.give_up(world.ids[name])
    moves: dict[str, Callable[[str], Awaitable[object]]] = {
        "redirected": lambda one: admin.redirect(one, str(NEW)),
        "keyed": lambda one: admin.redirect(one, str(NEW)),
        "large": lambda one: admin.redirect(one, str(NEW)),
        "dead": admin.give_up,
        "edited": lambda one: admin.redrive_edited(one, LetterEdit(0, NEW, None, [b"new"])),
        "grown": lambda one: admin.redrive_edited(
            one, LetterEdit(0, NEW, None, [b"n" * CHUNK_BYTES] * 2)
        ),
    }
    for name, move in moves.items():
        await move(world.ids[name])
        world.moved.add(name)
    await asyncio.sleep(1)


async def until_cut(power: Power, work: Awaitable[None]) -> None:
    """Do something until it ends or the power is cut."""
    doing = asyncio.ensure_future(work)
    cut = asyncio.ensure_future(power.is_cut.wait())
    await asyncio.wait([doing, cut], return_when=asyncio.FIRST_COMPLETED)
    if not power.is_cut.is_set():
        cut.cancel()
        await doing
        return
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.wait(others)


async def look(queue: Partition, world: World) -> None:
    """What is left of each after a start."""
    letters = {}
    for letter in await queue.dead_letters.read([one for one, _ in queue.dead_letters]):
        assert isinstance(letter, DeadLetter)
        letters[letter.message.target[1:]] = letter.message
    deliverer = HeldDeliverer()
    queue.start(deliverer)
    for place in (OLD, NEW):
        await queue.admin.resume(str(place))
    sent: dict[str, Message] = {}
    while queue.pending.index.count:
        await asyncio.sleep(1)
        for one in list(deliverer.flying):
            name = one.target[1:]
            assert name not in sent, f"{name} is there twice"
            sent[name] = one
            pieces = await queue.settling.read_body(list(one.chunks or ()))
            one.body = one.body or b"".join(pieces)
            deliverer.flying.remove(one)
            queue.settling.delivered(one, 200)
    for name, number in world.ids.items():
        assert (name in sent) != (name in letters), f"{name} is in both places, or in none"
        one = sent.get(name) or letters[name]
        assert one.wire_id.decode() == number
        check(name, one, is_letter=name in letters, is_told=name in world.moved)


def check(name: str, one: Message, *, is_letter: bool, is_told: bool) -> None:
    """Is a message one of the two things that it may be, and the one that somebody was told?"""
    is_new = one.destination == NEW
    assert is_new or one.destination == OLD
    assert (b"Host: new.example" in one.head) == is_new
    match name:
        case "redirected" | "keyed" | "large":
            assert not is_letter
            assert is_new or not is_told
            assert len(one.body) == (LARGE if name == "large" else 3)
        case "dead":
            assert is_letter or not is_told
            assert not is_new
        case "edited" | "grown":
            assert (is_new and not is_letter) or not is_told
            new = b"new" if name == "edited" else b"n" * LARGE
            assert one.body == (new if is_new else b"old"), "half of it was changed"
            assert b"Content-Length: %d" % len(new) in one.head or not is_new
        case _:
            assert not is_new
            assert not is_letter


async def two_lives(world: World, power: Power, clock: SimulatedClock) -> None:
    """One that is cut, and one on what it left; or on the same disk, where it is not cut."""

    async def first() -> None:
        queue = queue_on(clock, power, 1)
        await queue.open("simulation", 1)
        queue.start(HeldDeliverer())
        await live(queue, world)
        await queue.stop()

    with suppress(asyncio.CancelledError):
        await until_cut(power, first())
    after = power.after or power.disk
    second = queue_on(clock, Power(after, Random(1)), 2)
    await second.open("again", 2)
    await look(second, world)
    await second.stop()


def changes() -> int:
    """How often the disk changes where the power is never cut."""
    world, power = World(), Power(SimulatedDisk(), Random(1))

    async def main(clock: SimulatedClock) -> None:
        queue = queue_on(clock, power, 1)
        await queue.open("simulation", 1)
        queue.start(HeldDeliverer())
        await live(queue, world)
        await queue.stop()

    run(main)
    assert world.moved == set(NAMES) - {"stays"}
    return power.changes


@pytest.mark.parametrize("fate", list(Fate))
def test_moved_message_is_in_one_place_wherever_the_power_is_cut(fate: Fate) -> None:
    """At any write and any sync, whatever of it reaches the disk."""
    most = changes()
    assert most > 40
    stride = each(4)
    for at in range(1 + base_seed() % stride, most + 1, stride):
        world = World()
        power = Power(SimulatedDisk(), Random(at), at=at, fate=fate)
        run(partial(two_lives, world, power))
