"""Gates: what holds a message up, and when its lane has another turn."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.core.breaker import Signal
from dispatcher.queue.admin.surface import Reason
from dispatcher.queue.lanes import gates
from dispatcher.queue.lanes.gates import Closed, Gate, first_closed, is_shut, opens_at
from dispatcher.queue.lanes.peers import Peer
from dispatcher.queue.pending.pending import Pending
from dispatcher.testing.lanes import lanes_of
from dispatcher.testing.queue import Bench, destination, failed, message, simulate


def _peer() -> Peer:
    return lanes_of().of(destination("a")).peer


def test_lane_wakes_when_any_gate_said_it_would(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever gate it was: nothing else has to know of it. One that stands in for a rate closes
    for two seconds, and no message comes and no attempt ends meanwhile."""

    async def test(bench: Bench) -> None:
        opens_us = bench.queue.clock.now_us() + 2_000_000

        def rate(peer: Peer, now_us: int) -> Closed | None:
            return Closed(Gate.PAUSE, opens_us) if now_us < opens_us else None

        monkeypatch.setitem(gates.PEER_GATES, Gate.PAUSE, rate)
        bench.accept(message())
        await asyncio.sleep(1.9)
        assert not bench.deliverer.flying
        await asyncio.sleep(0.2)
        assert len(bench.deliverer.flying) == 1

    simulate(test)


def test_lane_wakes_when_a_gate_of_its_first_message_said_it_would(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A gate may hold one message up and not another, and `explain` says so."""

    async def test(bench: Bench) -> None:
        bench.accept(message(name="first"))
        await asyncio.sleep(0.01)
        first = bench.deliverer.flying[0]
        opens_us = bench.queue.clock.now_us() + 2_000_000

        def until(pending: Pending, slot: int, now_us: int) -> Closed | None:
            is_second = pending.index.id_position[slot] != first.position
            return Closed(Gate.TIME, opens_us) if is_second and now_us < opens_us else None

        monkeypatch.setitem(gates.MESSAGE_GATES, Gate.TIME, until)
        receipt = bench.accept(message(name="second"))
        bench.end(first, failed())
        await asyncio.sleep(1.9)
        assert not bench.deliverer.flying
        second = bench.receipts.accepted[1]
        assert receipt.answer is second
        why = await bench.queue.admin.explain(second.wire_id.decode())
        assert why is not None
        assert (why.reason, why.until_us) == (Reason.SCHEDULED, bench.queue.clock.to_wall(opens_us))  # type: ignore[arg-type]  # an instant of the queue
        await asyncio.sleep(0.2)
        assert [one.target for one in bench.deliverer.flying] == ["/second"]

    simulate(test)


def test_destination_is_calm_again_only_when_no_gate_shuts_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Calm destinations are not asked, so a gate that is closed must not be forgotten."""

    async def test(bench: Bench) -> None:
        bench.accept(message())
        await asyncio.sleep(0.01)
        monkeypatch.setitem(gates.PEER_GATES, Gate.PAUSE, lambda peer, now_us: Closed(Gate.PAUSE))
        peer = bench.queue.lanes.of(destination()).peer
        bench.end(bench.deliverer.flying[0])
        assert not peer.calm

    simulate(test)


def test_full_destination_is_not_shut() -> None:
    """The end of an attempt opens its gate: messages for it are kept in memory meanwhile."""
    peer = _peer()
    peer.in_flight = peer.limit.value
    pending = Pending()
    slot = pending.add(1, 1, 0, 100)
    assert first_closed(pending, slot, peer, 5) == Closed(Gate.LIMIT)
    assert not is_shut(peer, 5)
    assert opens_at(peer, 5) == 0


def test_destination_opens_when_the_last_of_its_gates_does() -> None:
    """A pause within the breaker's, and a hold, which has no end."""
    peer = _peer()
    for started_us in range(10):
        peer.breaker.finish(Signal.OVERLOAD, started_us, 10)
    peer.paused_until = 500
    assert opens_at(peer, 20) == 1_000_010
    peer.held = True
    assert opens_at(peer, 20) == 1_000_010
    assert opens_at(peer, 2_000_000) == 0
    assert is_shut(peer, 2_000_000)
