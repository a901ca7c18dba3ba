"""Dead calls against a small model: whatever happens in whatever order, a call exists once, as a
call or as a dead letter, until somebody purges it."""

from __future__ import annotations

import asyncio
import contextlib

from hypothesis import example, given, settings
from hypothesis import strategies as st

from dispatcher.errors import Refused
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.records.dead_calls import CallLetter
from dispatcher.queue.recovery.reconcile import reconcile_calls
from dispatcher.testing.admin import whole
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.deadcalls import call_id, call_letter
from dispatcher.testing.log import Space
from dispatcher.testing.loop import run
from dispatcher.testing.queue import Bench
from tests.effort import times

COUNT = 4
SIZES = (3, CHUNK_BYTES + 5, 0, 2 * CHUNK_BYTES)
ALL = frozenset(range(COUNT))
NUMBERS = st.one_of(st.just(ALL), st.frozensets(st.sampled_from(sorted(ALL)), min_size=1))
OPERATIONS = st.sampled_from(
    [
        *("die", "die", "redrive", "redrive", "redrive", "purge", "copy"),
        *("wait", "wait", "full", "space", "crash", "crash", "crash and keep"),
        *("be slow", "be quick"),
    ]
)
PAUSES = st.sampled_from([0.0, 0.002, 0.004, 1.0])


def _input(number: int) -> bytes:
    return bytes([number]) * SIZES[number]


class _World:
    """A partition, and a function service whose own log never fails. `alive` are calls that run,
    `ended` those that have to be buried; `purged` are gone for certain, `perhaps` may be."""

    def __init__(self, bench: Bench, fails_at_once: frozenset[int]) -> None:
        self.bench = bench
        self.fails_at_once = fails_at_once
        self.alive = set(range(COUNT))
        self.ended: set[int] = set()
        self.purged: set[int] = set()
        self.perhaps: set[int] = set()
        self.takes_s = 0.0
        self.tasks: list[asyncio.Task[None]] = []

    def new_id(self) -> bytes:
        """See `Reviver`."""
        raise AssertionError("nothing is imported")

    async def revive(self, letter: CallLetter) -> None:
        """See `Reviver`."""
        number = int(letter.id[-1:], 16)
        assert letter.body == _input(number)
        await asyncio.sleep(self.takes_s)
        assert number not in self.ended
        if number in self.alive:
            return
        assert number not in self.purged
        self.alive.add(number)
        self.perhaps.discard(number)
        if number in self.fails_at_once:
            self.die(number)

    def die(self, number: int) -> None:
        """A call that runs fails."""
        if number in self.alive:
            self.alive.discard(number)
            self.ended.add(number)
            self.bury(number)

    def bury(self, number: int) -> None:
        """Bury a call, and forget it then."""
        letter = call_letter(number, body=b"", body_size=SIZES[number])

        async def read() -> bytes:
            await asyncio.sleep(0.001)
            return _input(number)

        def then() -> None:
            self.ended.remove(number)  # once

        self.bench.queue.dead_letters.bury_call(letter, then, read)

    def start(self, what: str, numbers: frozenset[int]) -> None:
        """Begin to do something."""
        self.tasks.append(asyncio.create_task(self._do(what, numbers)))

    async def _do(self, what: str, numbers: frozenset[int]) -> None:
        queue = self.bench.queue
        ids = [call_id(number).decode() for number in sorted(numbers)]
        with contextlib.suppress(Refused):
            if what == "redrive":
                await queue.admin.redrive(ids)
            elif what == "copy":
                for one in ids:
                    await queue.dead_letters.space.copy_letter(one.encode())
            else:
                meant = {number for number in numbers if call_id(number) in queue.dead_letters}
                self.perhaps |= meant
                gone = await queue.redriver.purge([call_id(number) for number in sorted(meant)])
                self.purged |= {int(one[-1:], 16) for one in gone} - self.alive - self.ended

    async def restart(self, *, keep: bool) -> None:
        """The machine lost its power."""
        await self.bench.crash(keep_dead_batch=keep)
        self.tasks.clear()
        await self.bench.open()
        queue = self.bench.queue
        await reconcile_calls(queue.dead_letters, lambda one: int(one[-1:], 16) in self.alive)
        queue.redriver.calls.reviver = self
        queue.start(self.bench.deliverer)
        for number in sorted(self.ended):
            self.bury(number)

    async def settled(self) -> None:
        """Let everything that is under way end."""
        self.bench.dead_log.space = Space.ENOUGH
        await asyncio.sleep(120)
        for task in self.tasks:
            assert task.done()
            task.result()
        assert not self.bench.queue.redriver.is_busy

    async def check(self) -> None:
        """Each call is once where it must be, with its input."""
        await self.settled()
        assert not self.ended, "each was buried in the end"
        dead = self.bench.queue.dead_letters
        for number in range(COUNT):
            is_dead = call_id(number) in dead
            assert not (is_dead and number in self.alive), "it is there twice"
            assert not (is_dead and number in self.purged), "a purge was undone"
            is_there = is_dead or number in self.alive
            assert is_there or number in self.purged | self.perhaps, "it is lost"
            if is_dead:
                detail = await self.bench.queue.admin.letter(call_id(number).decode())
                assert detail is not None
                assert await whole(detail.body) == _input(number)
        assert len(dead) == sum(call_id(number) in dead for number in range(COUNT))
        assert not self.bench.notes.deaths
        assert not self.bench.notes.lost


@settings(max_examples=times(25), deadline=None)
@example([("redrive", ALL, 0.002), ("crash", ALL, 1.0)], frozenset())
@example([("redrive", ALL, 0.002), ("crash and keep", ALL, 1.0)], ALL)
@given(st.lists(st.tuples(OPERATIONS, NUMBERS, PAUSES), max_size=20), NUMBERS)
def test_call_is_there_once_until_it_is_purged(
    steps: list[tuple[str, frozenset[int], float]], fails_at_once: frozenset[int]
) -> None:
    """Over crashes and a full disk too; some calls fail again at once when they are redriven."""

    async def main(clock: SimulatedClock) -> None:
        bench = Bench(clock)
        bench.dead_log.append_s = 0.003
        world = _World(await bench.start(), fails_at_once)
        bench.queue.redriver.calls.reviver = world
        for number in ALL:
            world.die(number)
        await asyncio.sleep(1)
        for what, numbers, pause_s in steps:
            if what == "die":
                for number in sorted(numbers):
                    world.die(number)
            elif what in ("redrive", "purge", "copy"):
                world.start(what, numbers)
            elif what == "wait":
                await asyncio.sleep(1)
            elif what in ("full", "space"):
                bench.dead_log.space = Space.RESERVE if what == "full" else Space.ENOUGH
            elif what in ("be slow", "be quick"):
                world.takes_s = 0.01 if what == "be slow" else 0.0
            else:
                await world.restart(keep=what == "crash and keep")
                bench.dead_log.append_s = 0.003
            await asyncio.sleep(pause_s)
        await world.check()
        await world.restart(keep=False)
        await world.check()
        await bench.crash()

    run(main)
