"""Until when an attempt may take: what operators are told, and what then happens, of the real queue
with the real pool, on simulated time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Never

import pytest

from dispatcher.core.message import Message
from dispatcher.core.outcome import Failure
from dispatcher.delivery.config import DeliveryConfig
from dispatcher.delivery.pool import Pool
from dispatcher.delivery.resolver import Resolver
from dispatcher.delivery.slots import Slots
from dispatcher.queue.admin.surface import MessageState, Reason
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.delivery import RecordingHome
from dispatcher.testing.loop import run
from dispatcher.testing.queue import Bench, destination, message

DEFAULT_MS = 4_000


async def never(_: object) -> Never:
    """Connect for ever, as to a host that drops every packet."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody wakes it")


def make_pool() -> Pool:
    return Pool(DeliveryConfig(default_timeout_ms=DEFAULT_MS), connector=never)


def simulate(test: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
    """Run a test with a queue that delivers through a pool which never gets through."""

    async def main(clock: SimulatedClock) -> None:
        bench = Bench(clock)
        await bench.open()
        pool = make_pool()
        bench.queue.start(pool)
        await test(bench)
        await pool.close()
        await bench.stop()

    run(main)


@pytest.mark.parametrize("timeout_ms", [0, 1, 700, 60_000])
@pytest.mark.parametrize("turned_s", [0, -5_000, 5_000])
def test_attempt_times_out_when_it_was_said_to(timeout_ms: int, turned_s: int) -> None:
    """The first and a later one; with a timeout of the message's own and without; also when
    somebody turned the clock on the wall meanwhile."""

    async def test(bench: Bench) -> None:
        admin = bench.queue.admin
        sent = message(destination("127.0.0.1:9"), timeout_ms=timeout_ms)
        bench.accept(sent)
        await asyncio.sleep(0)
        bench.clock.set_wall_clock(bench.clock.now_us() + turned_s * 1_000_000)
        for attempt in (1, 2):
            for _ in range(100_000):
                if bench.queue.figures.in_flight:
                    break
                await asyncio.sleep(0.000_1)
            began = bench.clock.now_us()
            message_id = sent.wire_id.decode()
            why = await admin.explain(message_id)
            assert why is not None
            assert why.until_us is not None
            assert (why.state, why.reason) == (MessageState.IN_FLIGHT, Reason.IN_FLIGHT)
            assert abs(why.until_us - began - (timeout_ms or DEFAULT_MS) * 1000) <= 200
            await asyncio.sleep((why.until_us - bench.clock.now_us()) / 1e6 - 0.001)
            assert bench.queue.figures.in_flight == 1
            await asyncio.sleep(0.002)
            assert bench.queue.figures.in_flight == 0
            later = await admin.message(message_id)
            assert later is not None
            assert later.state is MessageState.SCHEDULED
            assert (later.attempts, later.last_error) == (attempt, Failure.TIMEOUT.value)

    simulate(test)


def test_pool_tells_each_attempt_under_way_from_the_others() -> None:
    """By the id of its message; none that ended, none that never was."""

    async def main(clock: SimulatedClock) -> None:
        pool, home = make_pool(), RecordingHome()
        sent: list[Message] = []
        for number, timeout_ms in enumerate((0, 250, 90_000)):
            one = message(destination("127.0.0.1:9"), timeout_ms=timeout_ms)
            one.wire_id = b"%028x" % number
            one.attempt, one.started_at, one.home = 1, 1_000 + number, home
            sent.append(one)
            pool.deliver(one)
        assert [pool.under_way(one.wire_id) for one in sent] == [
            (1_000, DEFAULT_MS),
            (1_001, 250),
            (1_002, 90_000),
        ]
        assert pool.under_way(b"f" * 28) is None
        await asyncio.sleep(0.3)
        assert [call.message for call in home.calls] == [sent[1]]
        assert pool.under_way(sent[1].wire_id) is None
        assert pool.under_way(sent[2].wire_id) == (1_002, 90_000)
        await pool.close()
        assert [pool.under_way(one.wire_id) for one in sent] == [None, None, None]

    run(main)


def test_one_pool_serves_several_partitions() -> None:
    """How an attempt ended is told to the partition of its message, and to no other."""

    async def main(clock: SimulatedClock) -> None:
        pool = make_pool()
        benches = [Bench(clock), Bench(clock)]
        for number, bench in enumerate(benches):
            await bench.open()
            bench.queue.start(pool)
            for name in range(2 + number):
                bench.accept(message(destination(f"127.0.0.1:{9 + name}"), timeout_ms=100))
        await asyncio.sleep(0.05)
        assert [bench.queue.figures.in_flight for bench in benches] == [2, 3]
        await asyncio.sleep(0.07)
        assert [bench.queue.figures.in_flight for bench in benches] == [0, 0]
        assert [bench.queue.figures.attempts["timeout"] for bench in benches] == [2, 3]
        await pool.close()
        for bench in benches:
            await bench.stop()

    run(main)


def test_attempt_that_found_no_turn_to_look_its_name_up_is_ours() -> None:
    """Names of a dead server hold the lookups: that is no fault of this destination."""

    async def main(clock: SimulatedClock) -> None:
        async def silent(_: str) -> Never:
            await asyncio.get_running_loop().create_future()
            raise AssertionError("nobody wakes it")

        resolver = Resolver(silent, slots=Slots(1))
        pool, home = Pool(DeliveryConfig(), resolver=resolver), RecordingHome()
        for host in ("dead.test", "good.test"):
            pool.deliver(home.outgoing(host, timeout_ms=1000))
        results = {call.message.destination.host: call.result for call in await home.settled(2)}
        dead, good = results["dead.test"], results["good.test"]
        assert dead is not None
        assert good is not None
        assert (dead.failure, dead.ours) == (Failure.TIMEOUT, False)
        assert (good.failure, good.ours) == (Failure.TIMEOUT, True)
        assert good.detail == "1000 ms passed while waiting for a turn to look up good.test"
        await pool.close()

    run(main)
