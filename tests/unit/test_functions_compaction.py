"""Compaction of calls: what is needed is copied, and a crash finds all as it was."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from dispatcher.errors import Refused
from dispatcher.functions.events import (
    CancelAsked,
    Completed,
    Created,
    Ended,
    Event,
    Fact,
    Forgotten,
    Noted,
    Restarted,
    Resuming,
    Sent,
    TailCalled,
)
from dispatcher.functions.ids import Keys
from dispatcher.functions.model import Call, How, Phase
from dispatcher.queue.compaction.source import ReclaimPolicy
from dispatcher.testing.callstore import BEGAN_US, CallBench, created, dump, exited, new, polled
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.log import Space
from dispatcher.testing.loop import run
from tests.unit.test_functions_store import LARGE, again, simulate

TIDY = ReclaimPolicy(
    slack_bytes=0, dead_end_bytes=1000, group_bytes=4000, rest_s=0.05, stretch_bytes=2000
)
LATE_US = BEGAN_US + 10**12


async def copy_oldest(bench: CallBench, count: int = 1) -> None:
    """Copy what is needed in the oldest extents, and trim them."""
    extents = bench.queue.pending.extents
    await bench.queue.space.copy(list(extents)[:count])
    upto = extents.drop_dead()
    if upto is not None:
        await bench.log.trim(upto)


async def pad(bench: CallBench, count: int = 1) -> None:
    """Fill an extent with what nobody needs."""
    for _ in range(count):
        await bench.store.stored(Noted((Fact("pad", "p", bytes(1500)),)))
        await bench.store.stored(Noted((Fact("pad", "p", None),)))


def test_child_that_is_not_in_the_extent_is_copied_with_its_parent() -> None:
    """The parent's first record is dropped; its poll, which made the child, would mean nothing
    without it. After a crash both are there, and the child's result still reaches the parent."""

    async def test(bench: CallBench) -> None:
        store, keys = bench.store, bench.keys
        root, child = keys.next(), keys.next()
        await store.stored(created(new(root, b"root")))
        await pad(bench)
        await store.stored(polled(store.machine.calls[root], b"state", new(child, b"child")))
        await pad(bench)
        await copy_oldest(bench)
        assert bench.log.records[0][0] > store.machine.calls[root].key & 0xFFFF_FFFF
        await again(bench)
        store = bench.store
        assert store.machine.calls[child].parent == root
        await store.stored(exited(store.machine.calls[child]))
        assert len(store.machine.calls[root].results) == 1
        await again(bench)

    simulate(test, extent_bytes=1000)


def test_tree_whose_copies_are_not_all_there_is_gone() -> None:
    """It ended after it was copied, and the first of its copies was trimmed: the others must not
    come back as calls of their own."""

    async def test(bench: CallBench) -> None:
        store, keys = bench.store, bench.keys
        root = keys.next()
        children = [new(keys.next(), bytes(400)) for _ in range(6)]
        await store.stored(created(new(root)))
        await store.stored(polled(store.machine.calls[root], b"s", *children))
        await copy_oldest(bench, len(bench.queue.pending.extents))
        copies = [at for at, payload in bench.log.records if payload[:2] == bytes([16, 15])]
        assert len(copies) == 7
        await store.stored(Ended(root, How.EXPIRED, b"", 1, with_children=True))
        await store.stored(Forgotten((root,)))
        assert not store.machine.calls
        await bench.log.trim(copies[3])
        await again(bench)
        assert not bench.store.machine.calls

    simulate(test, extent_bytes=500)


def test_fact_that_came_with_large_inputs_stays_when_they_are_over() -> None:
    """The chunks of the inputs are needed no more; without them the event would mean nothing."""

    async def test(bench: CallBench) -> None:
        store, root = bench.store, bench.keys.next()
        await store.stored(Created("app", (new(root, LARGE),), (Fact("s", "n", b"value"),)))
        await store.stored(exited(store.machine.calls[root]))
        await store.stored(Forgotten((root,)))
        await pad(bench)
        extents = bench.queue.pending.extents
        upto = extents.drop_dead()
        if upto is not None:
            await bench.log.trim(upto)
        await again(bench)
        assert len(bench.store.machine.facts) == 1
        await copy_oldest(bench, len(bench.queue.pending.extents) - 1)
        await again(bench)
        (fact,) = bench.store.machine.facts.values()
        assert await bench.bytes_of(fact.where) == [b"value"]

    simulate(test, extent_bytes=1000)


def test_events_wait_while_their_call_is_copied() -> None:
    """What is submitted meanwhile comes behind the copy, and is applied to it; others go on."""

    async def test(bench: CallBench) -> None:
        bench.log.append_s = 0.01
        store, keys = bench.store, bench.keys
        one = keys.next()
        await store.stored(created(new(one)))
        await pad(bench)
        other = keys.next()
        await store.stored(created(new(other)))
        order: list[str] = []
        call = store.machine.calls[one]
        store.submit(polled(call), lambda refusal: order.append("before"))
        copying = asyncio.get_running_loop().create_task(
            bench.queue.space.copy([bench.queue.pending.extents.oldest])
        )
        copying.add_done_callback(lambda task: order.append("copied"))
        await asyncio.sleep(0.001)
        after = exited(call)
        after = type(after)(call.key, 1, after.how, after.result, False, after.at_us)
        store.submit(after, lambda refusal: order.append("after"), urgent=True)
        store.submit(exited(store.machine.calls[other]), lambda refusal: order.append("other"))
        await asyncio.sleep(1)
        assert order.index("before") < order.index("copied") < order.index("after")
        assert order.index("other") < order.index("after")
        assert call.phase is Phase.ENDED
        await again(bench)

    simulate(test, extent_bytes=500)


def test_large_call_is_copied_in_chunks() -> None:
    """Input and state of 700 KiB: they are read where they are now."""

    async def test(bench: CallBench) -> None:
        store, keys = bench.store, bench.keys
        root = keys.next()
        await store.stored(created(new(root, LARGE)))
        call = store.machine.calls[root]
        await store.stored(polled(call, LARGE[::-1]))
        await pad(bench)
        await copy_oldest(bench, len(bench.queue.pending.extents) - 1)
        assert await bench.bytes_of(*call.spans) == [LARGE, LARGE[::-1]]
        await again(bench)
        await bench.store.stored(exited(bench.store.machine.calls[root]))
        await bench.store.stored(Forgotten((root,)))
        assert not bench.store.live_bytes

    simulate(test, extent_bytes=1000)


@pytest.mark.parametrize("is_kept", [False, True])
def test_call_with_more_than_a_record_can_name_is_copied(
    monkeypatch: pytest.MonkeyPatch, is_kept: bool
) -> None:
    """Its bytes go before it, in records of their own."""
    monkeypatch.setattr("dispatcher.functions.store.copying.WHOLE_BYTES", 1_000_000)

    async def test(bench: CallBench) -> None:
        store, keys = bench.store, bench.keys
        root, child = keys.next(), keys.next()
        await store.stored(created(new(root, LARGE)))
        call = store.machine.calls[root]
        await store.stored(polled(call, LARGE, new(child)))
        await store.stored(exited(store.machine.calls[child], LARGE[5:]))
        if is_kept:
            await store.stored(polled(call, LARGE[::-1], delivered=1, keep=(child,)))
        else:
            await store.stored(polled(call, LARGE[::-1]))
        assert (bool(call.kept), bool(call.results)) == (is_kept, not is_kept)
        await pad(bench)
        for _ in range(2):
            await copy_oldest(bench, len(bench.queue.pending.extents) - 1)
            assert await bench.bytes_of(*call.spans) == [LARGE, LARGE[::-1], LARGE[5:]]
            await pad(bench, 3)
        await again(bench)
        await bench.store.stored(exited(bench.store.machine.calls[root]))
        await bench.store.stored(Forgotten((root,)))
        assert not bench.store.live_bytes
        assert not any(extent.live for extent in bench.queue.pending.extents)

    simulate(test, extent_bytes=1000)


def test_no_space_for_copies_leaves_all_where_it_was() -> None:
    """The copy is refused; the calls are there, take events, and are copied later."""

    async def test(bench: CallBench) -> None:
        store, keys = bench.store, bench.keys
        roots = [keys.next() for _ in range(5)]
        child = keys.next()
        await store.stored(created(*map(new, roots)))
        await store.stored(polled(store.machine.calls[roots[0]], b"s", new(child)))
        await pad(bench)
        bench.log.space = Space.RESERVE
        with pytest.raises(Refused):
            await bench.queue.space.copy([bench.queue.pending.extents.oldest])
        bench.log.space = Space.ENOUGH
        await asyncio.sleep(3)
        await store.stored(exited(store.machine.calls[child]))
        await again(bench)
        await copy_oldest(bench)
        await again(bench)

    simulate(test, extent_bytes=1000)


def test_facts_and_kept_results_are_copied_with_their_meaning() -> None:
    """A fact, a promise that was completed and the values of a channel, in their order; one that
    was taken does not come back."""

    async def test(bench: CallBench) -> None:
        store, keys = bench.store, bench.keys
        numbers = [keys.next() for _ in range(4)]
        await store.stored(Noted((Fact("key", "a", b"value", LATE_US),)))
        await store.stored(Completed("app", "p", b"done", False, 1, LATE_US))
        for number in numbers[:2]:
            await store.stored(Sent("app", "c", b"%d" % number, False, LATE_US, number))
        await pad(bench)
        await store.stored(Sent("app", "c", b"third", False, LATE_US, numbers[2]))
        await copy_oldest(bench)
        await again(bench)
        store = bench.store
        values = store.machine.channels["app", "channel:c"]
        assert [value.number for value in values] == numbers[:3]
        taker = bench.keys.next()
        await store.stored(created(new(taker, endpoint="channel:c")))
        assert [value.number for value in values] == numbers[1:3]
        await store.stored(Completed("app", "p", b"second", False, 2, LATE_US))
        await pad(bench, 2)
        await copy_oldest(bench, len(bench.queue.pending.extents) - 1)
        await again(bench)
        (promise,) = bench.store.machine.promises.values()
        assert await bench.bytes_of(promise.where) == [b"done"]

    simulate(test, extent_bytes=1000)


class Life:
    """Random events of a store, as its machine can be asked for."""

    def __init__(self, bench: CallBench, seed: int) -> None:
        self.bench = bench
        self.random = Random(seed)
        self.restarted()

    def restarted(self) -> None:
        """The bench was started anew."""
        self.keys: Keys = self.bench.keys

    def data(self) -> bytes:
        """Bytes of a random size."""
        size = self.random.choice(
            (0, 5, 100, 700, 700, 300_000 if self.random.random() < 0.03 else 9)
        )
        return self.random.randbytes(size)

    def new(self) -> Any:
        """A call, sometimes one that waits outside."""
        choice = self.random.random()
        endpoint = "http://app"
        if choice < 0.1:
            endpoint = self.random.choice(("promise:", "channel:")) + self.random.choice("ab")
        return new(self.keys.next(), self.data(), endpoint=endpoint)

    def event(self) -> Event:
        """Something that may happen now."""
        calls = list(self.bench.store.machine.calls.values())
        choice = self.random.random()
        if not calls or choice < 0.12:
            return created(*(self.new() for _ in range(self.random.choice((1, 1, 3)))))
        if choice < 0.18:
            return Noted((Fact("s", self.random.choice("xyz"), self.random.choice((None, b"v"))),))
        if choice < 0.21:
            return Completed("app", self.random.choice("ab"), self.data(), False, 0, LATE_US)
        if choice < 0.26:
            number = self.keys.next()
            return Sent("app", self.random.choice("ab"), self.data(), False, LATE_US, number)
        return self.event_of(self.random.choice(calls))

    def event_of(self, call: Call) -> Event:
        """Something that may happen to a call."""
        choice = self.random.random()
        if call.phase is Phase.ENDED:
            return Forgotten((call.key,))
        if choice < 0.45:
            children = [self.new() for _ in range(self.random.choice((0, 1, 2, 4)))]
            delivered = self.random.randrange(len(call.results) + 1)
            given = [result.child for result in call.results[:delivered]]
            return polled(
                call,
                self.data(),
                *children,
                delivered=delivered,
                keep=tuple(self.random.sample(given, self.random.randrange(len(given) + 1))),
                is_appended=bool(call.states) and self.random.random() < 0.3,
            )
        if choice < 0.75:
            return exited(call, self.data())
        if choice < 0.80:
            return Restarted(call.key, call.step)
        if choice < 0.85:
            return TailCalled(call.key, call.step, "http://app", "g", "", self.data())
        if choice < 0.90:
            return Resuming(call.key, call.step, 1)
        if choice < 0.95:
            return CancelAsked(call.key, b"e", b"r", BEGAN_US, ())
        return Ended(call.key, How.EXPIRED, b"late", 1, with_children=self.random.random() < 0.5)


@pytest.mark.parametrize("seed", range(6))
def test_random_life_is_the_same_after_every_crash(seed: int) -> None:
    """Events come while the log is compacted; at any crash what was there is there again."""

    async def main(clock: SimulatedClock) -> None:
        bench = CallBench(clock, extent_bytes=3000, reclaim=TIDY)
        bench.log.append_s = 0.001
        await bench.start()
        life = Life(bench, seed)
        for _ in range(12):
            for _ in range(life.random.randrange(5, 60)):
                bench.store.submit(life.event(), urgent=life.random.random() < 0.3)
                if life.random.random() < 0.5:
                    await asyncio.sleep(0.002)
            await asyncio.sleep(1)
            assert not bench.notes.deaths
            assert not bench.notes.errors
            await again(bench)
            life.restarted()
        assert bench.log.records[0][0] > 100_000, "nothing was trimmed"

    run(main)


@pytest.mark.parametrize("seed", range(100, 106))
def test_crash_in_the_middle_leaves_what_was_durable(seed: int) -> None:
    """Events, large ones among them, and copies are under way: whatever was applied is there again,
    and nothing else."""

    async def main(clock: SimulatedClock) -> None:
        bench = CallBench(clock, extent_bytes=3000, reclaim=TIDY)
        bench.log.append_s = 0.001
        await bench.start()
        life = Life(bench, seed)
        for _ in range(12):
            for _ in range(life.random.randrange(5, 40)):
                bench.store.submit(life.event(), urgent=life.random.random() < 0.3)
                if life.random.random() < 0.7:
                    await asyncio.sleep(0.002)
            await asyncio.sleep(life.random.random() / 100)
            old = bench.store
            await bench.crash()
            before = await dump(old)
            bench.notes.deaths.clear()
            await bench.open()
            found = await dump(bench.store)
            assert found == before | {"channels": found["channels"], "waiting": found["waiting"]}
            bench.queue.start(bench.deliverer)
            life.restarted()
        assert not bench.notes.errors

    run(main)
