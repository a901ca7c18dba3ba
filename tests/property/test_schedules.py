"""Schedules of messages over a real queue that crashes at any moment: each firing is one message.

What happens is a list of steps: time passes, messages are delivered or not, the process dies with
or without the batch that was under way. Afterwards all that was to fire must have fired, once.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.core.instants import rfc3339
from dispatcher.core.message import Message
from dispatcher.functions.schedules.facts import StoredFacts
from dispatcher.ingress.planned import message_of
from dispatcher.schedules.keeper import Keeper
from dispatcher.schedules.messages import MessageMaker
from dispatcher.schedules.partition import PartitionQueue
from dispatcher.schedules.plans import CatchUp, Overlap, Plan, PlannedMessage
from dispatcher.telemetry.supervisor import Supervisor
from dispatcher.testing.callstore import CallBench
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run
from dispatcher.testing.queue import failed
from tests.effort import times

MINUTE_US: Final = 60_000_000
PLAN: Final = Plan("* * * * *", "UTC", PlannedMessage("http://a.example"), catch_up=CatchUp.ALL)

PASS = st.tuples(st.just("pass"), st.sampled_from((0.0, 0.3, 20.0, 61.0, 150.0)))
TURNS = st.tuples(st.just("turns"), st.integers(1, 12))
DELIVER = st.tuples(st.just("deliver"), st.sampled_from((200, 500)))
CRASH = st.tuples(st.just("crash"), st.booleans())
STEPS = st.lists(st.one_of(PASS, TURNS, DELIVER, CRASH), max_size=12)


class Server:
    """A queue with a schedule that fires every minute. `seen` are the ids under each key."""

    keeper: Keeper

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock = clock
        self.bench = CallBench(clock)
        self.bench.deliverer.on_start = self._note
        self.seen: dict[str, set[bytes]] = {}
        self.order: list[str] = []
        self.died: list[BaseException] = []

    def _note(self, message: Message) -> None:
        assert message.terms is not None
        key = message.terms.idempotency_key
        if key not in self.seen:
            self.order.append(key)
        self.seen.setdefault(key, set()).add(message.wire_id)

    async def start(self) -> None:
        """Begin, or go on after a crash."""
        await self.bench.open()
        self.supervisor = Supervisor(lambda name, error: self.died.append(error))
        store, queue = self.bench.store, self.bench.queue
        maker = MessageMaker(PartitionQueue([queue], queue.intake), message_of, queue.clock.wall_us)
        self.keeper = Keeper(
            StoredFacts(store, store.machine),
            {PlannedMessage: maker},
            now_us=queue.clock.wall_us,
            supervisor=self.supervisor,
        )
        await self.keeper.open()
        queue.start(self.bench.deliverer)
        self.keeper.start()

    async def crash(self, *, keep_batch: bool) -> None:
        """Lose all but the disk, and perhaps keep the batch that was under way."""
        self.keeper.stop()
        await self.supervisor.stop()
        await self.bench.crash(keep_batch=keep_batch)
        assert not self.died

    async def step(self, what: str, argument: float) -> None:
        """Let something happen."""
        match what:
            case "pass":
                await asyncio.sleep(argument)
            case "turns":
                for _ in range(int(argument)):
                    await asyncio.sleep(0)
            case "deliver":
                for message in list(self.bench.deliverer.flying):
                    self.bench.end(message, 200 if argument == 200 else failed(500))
            case "crash":
                await self.crash(keep_batch=bool(argument))
                await self.start()


@settings(deadline=None, max_examples=times(20), suppress_health_check=list(HealthCheck))
@given(steps=STEPS, overlap=st.sampled_from(Overlap))
def test_each_firing_is_one_message_whatever_happens(
    steps: list[tuple[str, float]], overlap: Overlap
) -> None:
    """With `queue` there is one for every minute, in their order; with `skip`, for those that were
    not left out. However often the process dies: no key is ever sent under two ids."""

    async def main(clock: SimulatedClock) -> None:
        server = Server(clock)
        await server.start()
        view, _ = await server.keeper.put("", "often", replace(PLAN, overlap=overlap))
        first_us = view.next_at_us
        assert first_us is not None
        for what, argument in (*steps, ("crash", True)):
            await server.step(what, argument)
        for _ in range(30):
            await server.step("deliver", 200)
            await asyncio.sleep(10)
        found = await server.keeper.get("", "often")
        assert found is not None
        assert found.last is not None
        fired = range(first_us, found.last.at_us + 1, MINUTE_US)
        expected = [f"often@{rfc3339(at_us)}" for at_us in fired]
        assert all(len(ids) == 1 for ids in server.seen.values())
        if overlap is Overlap.QUEUE:
            assert server.order == expected
        else:
            assert server.order == [key for key in expected if key in server.seen]
            assert len(expected) - len(server.order) <= found.skipped
        await server.crash(keep_batch=False)

    run(main)
