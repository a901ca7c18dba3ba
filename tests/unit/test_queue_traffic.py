"""Several partitions of a process: what belongs to a destination is one for all of them, and so are
workers, slow places and memory."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine

from dispatcher.core.breaker import State
from dispatcher.core.clock import SteadyClock
from dispatcher.core.message import Message
from dispatcher.core.outcome import Failure
from dispatcher.queue.flow.traffic import Traffic
from dispatcher.queue.refusals import BACKLOG_FULL
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run
from dispatcher.testing.queue import POLICY, Bench, Notes, destination, failed, message, simulate
from dispatcher.txlog import Bounds, Visit

Test = Callable[[Traffic, Bench, Bench], Coroutine[None, None, None]]


def _together(
    test: Test,
    *,
    workers: int = 10,
    slow: int = 100,
    warm_bytes: int = 100_000,
    max_backlog_bytes: int = 0,
) -> None:
    """Run a test with two partitions that share everything but their logs."""

    async def main(clock: SimulatedClock) -> None:
        traffic = Traffic(
            workers=workers,
            workers_slow=slow,
            pause_max_ms=POLICY.max_delay_ms,
            observer=Notes(),
            clock=SteadyClock(clock),
            warm_bytes=warm_bytes,
        )
        one, two = (
            Bench(clock, workers=workers, traffic=traffic, max_backlog_bytes=max_backlog_bytes)
            for _ in range(2)
        )
        await one.start()
        await two.start()
        await test(traffic, one, two)
        await one.stop()
        await two.stop()

    run(main)


def _fill(bench: Bench, count: int, to: str = "a", body: bytes = b"x") -> None:
    for n in range(count):
        bench.accept(message(destination(to), body, name=str(n)))


def _always(bench: Bench) -> None:
    """Let every attempt of a partition succeed at once."""

    def answer(sent: Message) -> None:
        bench.queue.settling.delivered(sent, 200)

    bench.deliverer.answer = answer


def test_limit_of_a_destination_holds_for_all_partitions_together() -> None:
    """One attempt while it was never tried, then as many as its limit says; both get turns."""

    async def test(traffic: Traffic, one: Bench, two: Bench) -> None:
        _fill(one, 100)
        _fill(two, 100)
        await asyncio.sleep(0.01)
        peer = one.queue.lanes.of(destination("a")).peer
        assert two.queue.lanes.of(destination("a")).peer is peer
        most = 0
        for _ in range(60):
            flying = [*one.deliverer.flying, *two.deliverer.flying]
            assert len(flying) == peer.in_flight <= peer.limit.value <= 10
            most = max(most, len(flying))
            for bench in (one, two):
                for sent in list(bench.deliverer.flying):
                    bench.end(sent)
            await asyncio.sleep(0.01)
        assert one.queue.figures.delivered_total == two.queue.figures.delivered_total == 100
        assert most == 10

    _together(test)


def test_breaker_that_one_partition_opened_holds_the_other_back_and_both_go_on() -> None:
    """It is the destination that failed. The probe is one of either; its success lets both send."""

    async def test(traffic: Traffic, one: Bench, two: Bench) -> None:
        _fill(one, 30)
        await asyncio.sleep(0.01)
        for _ in range(10):
            one.end(one.deliverer.flying[0], failed(failure=Failure.CONNECTION))
            await asyncio.sleep(0)
        peer = one.queue.lanes.of(destination("a")).peer
        assert peer.breaker.state is State.OPEN
        _fill(two, 10)
        await asyncio.sleep(0.5)
        assert [*one.deliverer.flying, *two.deliverer.flying] == []
        await asyncio.sleep(0.6)
        (probe,) = [*one.deliverer.flying, *two.deliverer.flying]
        _always(one)
        _always(two)
        for bench in (one, two):
            if probe in bench.deliverer.flying:
                bench.end(probe)
        await asyncio.sleep(60)
        assert one.queue.pending.index.count == two.queue.pending.index.count == 0

    _together(test)


def test_workers_are_those_of_the_process() -> None:
    """However many partitions there are, and both get some."""

    async def test(traffic: Traffic, one: Bench, two: Bench) -> None:
        for n in range(50):
            _fill(one, 2, f"one{n}")
            _fill(two, 2, f"two{n}")
        await asyncio.sleep(0.01)
        assert len(one.deliverer.flying) + len(two.deliverer.flying) == traffic.workers.busy <= 10
        for _ in range(30):
            for bench in (one, two):
                for sent in list(bench.deliverer.flying):
                    bench.end(sent)
            await asyncio.sleep(0.01)
        assert one.queue.figures.delivered_total == two.queue.figures.delivered_total == 100

    _together(test)


def test_memory_for_messages_that_wait_is_that_of_the_process() -> None:
    """What one partition keeps, the other does not have; all is delivered all the same."""

    async def test(traffic: Traffic, one: Bench, two: Bench) -> None:
        room = traffic.room
        for n in range(40):
            _fill(one, 3, f"one{n}", bytes(10_000))
            _fill(two, 3, f"two{n}", bytes(10_000))
            await asyncio.sleep(0.01)
            assert room.left_bytes >= 0
        for _ in range(400):
            for bench in (one, two):
                for sent in list(bench.deliverer.flying):
                    bench.end(sent)
            await asyncio.sleep(0.01)
            assert room.left_bytes >= 0
        assert one.queue.figures.delivered_total == two.queue.figures.delivered_total == 120

    _together(test)


def test_partition_that_ends_leaves_what_it_took_to_the_others() -> None:
    """Its attempts, quick and slow, its place in the lines and its messages in memory; how its
    attempts end afterwards is nobody's concern."""

    async def test(traffic: Traffic, one: Bench, two: Bench) -> None:
        for n in range(30):
            _fill(one, 2, f"h{n}", bytes(1000))
        await asyncio.sleep(1)
        assert traffic.workers.slow
        _fill(two, 5, "h0")
        await asyncio.sleep(0.01)
        assert not two.deliverer.flying, "the other's attempt is the only one it may have"
        left = list(one.deliverer.flying)
        await one.queue.stop()
        await asyncio.sleep(0.01)
        workers = traffic.workers
        assert len(two.deliverer.flying) == workers.busy + workers.slow == 1
        assert traffic.room.size_bytes <= 5 * 1000
        for sent in left:
            one.end(sent)
        peer = two.queue.lanes.of(destination("h0")).peer
        assert peer.in_flight == len(two.deliverer.flying)
        for _ in range(5):
            two.end(two.deliverer.flying[0])
            await asyncio.sleep(0.01)
        assert two.queue.figures.delivered_total == 5
        assert peer.in_flight == workers.busy == workers.slow == 0

    _together(test)


def test_partition_that_is_opening_gets_no_turn_from_another() -> None:
    """Its messages start when it has begun, and are lost to nobody before."""

    async def test(traffic: Traffic, one: Bench, two: Bench) -> None:
        _fill(one, 3)
        await asyncio.sleep(0.01)
        await one.stop()
        one.deliverer.started.clear()
        await one.open()
        _fill(two, 5)
        for _ in range(5):
            await asyncio.sleep(0.01)
            two.end(two.deliverer.flying[0])
        await asyncio.sleep(0.01)
        assert one.deliverer.started == []
        assert one.queue.pending.index.count == one.queue.lanes.of(destination("a")).ready == 3
        _always(one)
        one.queue.start(one.deliverer)
        await asyncio.sleep(1)
        assert one.queue.figures.delivered_total == 3

    _together(test)


def test_partition_joins_its_destinations_on_the_loop_when_its_log_is_read_elsewhere() -> None:
    """A log may be read on a thread, and others use what is known of destinations meanwhile."""

    async def test(traffic: Traffic, one: Bench, two: Bench) -> None:
        _fill(one, 3)
        await asyncio.sleep(0.01)
        await one.stop()
        read, seen = one.log.open, []

        async def open_log(owner: str, epoch: int, visit: Visit | None = None) -> Bounds:
            bounds = await read(owner, epoch, visit)
            seen.append(len(traffic.peers))
            return bounds

        one.log.open = open_log  # type: ignore[method-assign]  # to look in between
        await one.start()
        assert seen == [0]
        assert len(traffic.peers) == 1

    _together(test)


def test_partition_that_stops_forgets_its_destinations_and_may_open_again() -> None:
    """What nobody else uses is gone, and what another uses counts one partition less; also when it
    was the last, and the process goes on without any for a while."""

    async def test(traffic: Traffic, one: Bench, two: Bench) -> None:
        _fill(one, 1, "only-one")
        _fill(one, 1, "both")
        _fill(two, 1, "both")
        await asyncio.sleep(0.01)
        peer = two.queue.lanes.of(destination("both")).peer
        assert (len(traffic.peers), peer.lanes) == (2, 2)
        await one.stop()
        await one.queue.stop()
        assert (len(traffic.peers), peer.lanes) == (1, 1)
        await two.stop()
        assert len(traffic.peers) == traffic.turns.waiting == traffic.workers.busy == 0
        await one.start()
        await asyncio.sleep(0.01)
        one.end(one.deliverer.flying[0], failed(429, retry_after=b"1"))
        await asyncio.sleep(0.01)
        _always(one)
        one.end(one.deliverer.flying[0])
        await asyncio.sleep(10)
        assert one.queue.figures.delivered_total == 2, "pauses end by themselves again"

    _together(test)


def test_others_have_their_turn_when_many_lanes_begin() -> None:
    """A start that reads back a hundred thousand destinations holds up no caller."""

    async def test(bench: Bench) -> None:
        for number in range(3000):
            bench.accept(message(destination(f"d{number}")))
        await asyncio.sleep(0.1)
        await bench.crash()
        await bench.open()
        turns = bench.queue.traffic.turns
        bench.queue.start(bench.deliverer)
        waiting = [turns.waiting]
        while turns.waiting != waiting[-1] or len(waiting) < 2:
            await asyncio.sleep(0)
            waiting.append(turns.waiting)
        steps = [after - before for before, after in itertools.pairwise([0, *waiting])]
        assert max(steps) <= 500
        bench.deliverer.answer = lambda sent: bench.queue.settling.delivered(sent, 200)
        for sent in list(bench.deliverer.flying):
            bench.end(sent)
        await asyncio.sleep(10)
        assert bench.queue.pending.index.count == 0

    simulate(test)


def test_backlog_is_bounded_for_all_partitions_together() -> None:
    """What waits in one leaves less for the other, until it is delivered, or that one ends."""

    async def test(traffic: Traffic, one: Bench, two: Bench) -> None:
        while one.queue.intake.refusal() is None:
            one.accept(message(destination("a"), b"x" * 1000))
            await asyncio.sleep(0.01)
        assert two.queue.intake.refusal() is BACKLOG_FULL
        assert 10_000 <= traffic.backlog.size_bytes < 12_000
        _always(one)
        for sent in list(one.deliverer.flying):
            one.end(sent)
        await asyncio.sleep(1)
        assert two.queue.intake.refusal() is None
        while two.queue.intake.refusal() is None:
            two.accept(message(destination("b"), b"x" * 1000))
            await asyncio.sleep(0.01)
        assert one.queue.intake.refusal() is BACKLOG_FULL
        await two.queue.stop()
        assert one.queue.intake.refusal() is None

    _together(test, max_backlog_bytes=10_000)
