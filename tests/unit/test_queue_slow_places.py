"""Workers and slow places: who has which, and who waits when they are full."""

from __future__ import annotations

import asyncio

from dispatcher.core.message import Message
from dispatcher.core.outcome import Failure
from dispatcher.queue.lanes.lanes import FAILING, GOOD, HANGING, RISK, SLOW, UNTRIED, WORKER, Lane
from dispatcher.queue.lanes.turns import Turns, place_of
from dispatcher.queue.lanes.workers import SLOW_BYTES, Workers
from dispatcher.queue.pending.index import Index
from dispatcher.testing.lanes import lanes_and_turns, lanes_of
from dispatcher.testing.queue import Bench, destination, failed, message, simulate


def _accept(bench: Bench, to: str, count: int = 1) -> None:
    for n in range(count):
        bench.accept(message(destination(to), name=f"{to}-{n}"))


def test_attempts_that_hang_give_their_workers_back() -> None:
    """With one worker: twenty destinations that never answer, and each gets its attempt within a
    quarter of a second of the one before."""

    async def test(bench: Bench) -> None:
        for n in range(20):
            _accept(bench, f"h{n}")
        await asyncio.sleep(0.01)
        assert len(bench.deliverer.flying) == 1
        await asyncio.sleep(20 * 0.26)
        assert len(bench.deliverer.flying) == 20
        workers = bench.queue.traffic.workers
        assert (workers.busy + workers.slow, workers.slow >= 19) == (20, True)

    simulate(test, workers=1)


def test_quick_attempts_are_never_more_than_workers() -> None:
    """Fresh destinations that take 200 ms: nothing about them is slow."""

    async def test(bench: Bench) -> None:
        def answer(sent: Message) -> None:
            loop = asyncio.get_running_loop()
            loop.call_later(0.2, bench.queue.settling.delivered, sent, 200)

        bench.deliverer.answer = answer
        most = 0
        for n in range(40):
            _accept(bench, f"h{n}", 2)
        for _ in range(500):
            await asyncio.sleep(0.01)
            most = max(most, bench.queue.figures.in_flight)
        assert most == 4
        assert bench.queue.figures.delivered_total == 80

    simulate(test, workers=4)


def test_destination_never_has_more_than_workers_in_flight_slow_ones_too() -> None:
    """It was well and then hangs: what is slow counts for its limit."""

    async def test(bench: Bench) -> None:
        _accept(bench, "a", 100)
        for _ in range(40):
            await asyncio.sleep(0.01)
            for sent in list(bench.deliverer.flying)[:1]:
                bench.end(sent)
        await asyncio.sleep(5)
        assert len(bench.deliverer.flying) == 5
        assert bench.queue.traffic.workers.slow == 5

    simulate(test, workers=5)


def test_untried_and_hanging_lanes_wait_when_slow_places_are_full_and_good_ones_do_not() -> None:
    """Eight places and thirty destinations that hang: a destination that answered is served at
    once, and those that were never tried get their turn as places become free."""

    async def test(bench: Bench) -> None:
        _accept(bench, "good")
        await asyncio.sleep(0.01)
        bench.end(bench.deliverer.flying[0])
        for n in range(30):
            _accept(bench, f"hangs{n}")
        await asyncio.sleep(20)
        workers = bench.queue.traffic.workers
        stuck = len(bench.deliverer.flying)
        assert workers.slow == 7, "an eighth of them is kept"
        assert stuck < 7 + 4
        for n in range(50):
            _accept(bench, "good")
            await asyncio.sleep(0.01)
            assert bench.deliverer.flying[-1].destination.host == "good", n
            bench.end(bench.deliverer.flying[-1])
        tried = {sent.destination.host for sent in bench.deliverer.flying}
        for _ in range(60):
            bench.end(bench.deliverer.flying[0], failed(failure=Failure.TIMEOUT))
            await asyncio.sleep(1)
            tried |= {sent.destination.host for sent in bench.deliverer.flying}
        assert len(tried) == 30, "nobody starves"

    simulate(test, workers=4, workers_slow=8)


def test_large_messages_of_attempts_that_hang_stay_within_their_budget() -> None:
    """200 KB each: after 64 MiB the slow places count as full."""

    async def test(bench: Bench) -> None:
        for n in range(1000):
            bench.accept(message(destination(f"h{n}"), bytes(200_000)))
            await asyncio.sleep(0.3)
        workers = bench.queue.traffic.workers
        assert SLOW_BYTES - 200_100 < workers.slow_bytes < SLOW_BYTES + 200_100
        assert len(bench.deliverer.flying) * 200_000 < SLOW_BYTES + 11 * 200_000

    simulate(test, workers=10, workers_slow=10_000)


def _lane(turns: Turns, index: Index, lanes: dict[str, Lane], name: str) -> Lane:
    lane = lanes[name]
    lane.push(index, index.add(len(index.state) + 1, 1, lane.number, 1), warm=True)
    turns.enter(lane)
    return lane


def test_lane_waits_in_the_line_that_its_destination_belongs_in() -> None:
    """Good, untried, failing quickly, hanging."""
    lane = lanes_of().of(destination())
    peer = lane.peer
    assert place_of(lane) == UNTRIED
    peer.tried = True
    assert place_of(lane) == FAILING
    peer.hangs = True
    assert place_of(lane) == HANGING
    peer.calm = True
    assert place_of(lane) == GOOD


def test_failing_lanes_are_not_behind_those_that_hang_or_were_never_tried() -> None:
    """Of a hundred untried lanes and one that failed, it is one of the first two; what hangs needs
    no worker at all."""
    made, turns = lanes_and_turns()
    names = ["failing", "hanging", *(f"untried{n}" for n in range(100))]
    lanes = {name: made.of(destination(name)) for name in names}
    lanes["failing"].peer.tried = lanes["hanging"].peer.tried = True
    lanes["hanging"].peer.hangs = True
    index = Index()
    for name in reversed(names):
        _lane(turns, index, lanes, name)
    first = [turns.next(), turns.next()]
    assert (lanes["failing"], RISK) in first
    while (found := turns.next()) is not None:
        turns.workers.reserve(found[1])
        if found == (lanes["hanging"], SLOW):
            break
    else:
        raise AssertionError("the one that hangs had no turn")


def test_good_lanes_have_the_workers_but_for_a_share() -> None:
    """A hundred good ones and a hundred that were never tried wait for ten workers: the others get
    their fifth, and no more once the good ones had to wait for a while."""
    made, turns = lanes_and_turns()
    names = [f"{kind}{n}" for n in range(100) for kind in ("good", "new")]
    lanes = {name: made.of(destination(name)) for name in names}
    index = Index()
    for name in names:
        lanes[name].peer.calm = name.startswith("good")
        _lane(turns, index, lanes, name)
    for _ in range(20):
        turns.relax()
    kinds = []
    while (found := turns.next()) is not None:
        kinds.append(found[1])
        turns.workers.reserve(found[1])
    assert (kinds.count(RISK), kinds.count(WORKER)) == (2, 8)


def test_one_worker_is_given_to_good_and_other_lanes_in_turn() -> None:
    """Nobody starves with WORKER=1."""
    made, turns = lanes_and_turns(workers=1)
    names = [f"{kind}{n}" for n in range(5) for kind in ("good", "new")]
    lanes = {name: made.of(destination(name)) for name in names}
    index = Index()
    for name in names:
        lanes[name].peer.calm = name.startswith("good")
        _lane(turns, index, lanes, name)
    kinds = []
    while (found := turns.next()) is not None:
        kinds.append(found[1])
    assert sorted(kinds[:4]) == [WORKER, WORKER, RISK, RISK]
    assert len(kinds) == 10


def test_slow_attempts_are_told_apart_by_how_long_they_ran() -> None:
    """Those of destinations of which little is known sooner than the others; never more than there
    are places."""
    lanes = lanes_of()
    workers = Workers(10, 16)
    for n in range(6):
        sent = message()
        sent.started_at = n * 100
        workers.start(lanes.of(destination(f"h{n}")), sent, RISK if n % 2 else WORKER)
    slow = workers.turn_slow(1000, 900, 400)
    assert {lane.destination.host for lane in slow} == {"h0", "h1", "h3", "h5"}
    assert (workers.slow, workers.busy, workers.risk) == (4, 2, 0)
