"""What delivery sends of a partition that may be another node's by now: nothing, wherever the
attempt stands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from dispatcher.core.outcome import Failure
from dispatcher.delivery.config import DeliveryConfig
from dispatcher.delivery.pool import Pool
from dispatcher.testing.delivery import MemoryBodies, RecordingHome
from dispatcher.testing.destination import Close, FakeDestination, Wait, answer


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool(DeliveryConfig(default_timeout_ms=60_000))
    yield pool
    await pool.close()


@pytest.fixture
async def destination() -> AsyncIterator[FakeDestination]:
    async with FakeDestination() as destination:
        yield destination


async def _is_held_back(home: RecordingHome, count: int) -> bool:
    """Whether the attempt that ends next was held back: not spent, and not the destination's."""
    result = (await home.settled(count))[count - 1].result
    assert result is not None
    assert "no other node" in result.detail
    return result.ours and result.failure is Failure.CONNECTION


async def test_nothing_is_written_to_an_idle_connection_after_the_tenure(
    pool: Pool, destination: FakeDestination
) -> None:
    """The connection stays for others; the home hears of it later, never within `deliver`."""
    home, other = RecordingHome(), RecordingHome()
    pool.deliver(home.outgoing(destination.authority))
    await home.settled(1)
    home.tenure.bound(time.monotonic() - 1)
    pool.deliver(home.outgoing(destination.authority))
    assert len(home.calls) == 1
    assert await _is_held_back(home, 2)
    pool.deliver(other.outgoing(destination.authority))
    assert (await other.settled(1))[0].status == 200
    assert (destination.connections, len(destination.requests)) == (1, 2)


async def test_nothing_is_written_when_the_connection_was_slow_to_open(
    pool: Pool, destination: FakeDestination
) -> None:
    """It was asked before it was opened, and is asked again after."""
    home = RecordingHome()
    pool.deliver(home.outgoing(destination.authority))
    home.tenure.bound(time.monotonic() - 1)  # while it connects
    assert await _is_held_back(home, 1)
    assert (pool.connects, pool.in_flight, len(destination.requests)) == (1, 0, 0)


async def test_nothing_is_written_again_after_a_stale_connection(
    pool: Pool, destination: FakeDestination
) -> None:
    """The destination closed the connection under the request: it is not sent once more."""
    home = RecordingHome()
    pool.deliver(home.outgoing(destination.authority))
    await home.settled(1)
    destination.script([Wait(0.05), Close()])
    pool.deliver(home.outgoing(destination.authority))
    await destination.received(2)
    home.tenure.end()
    assert await _is_held_back(home, 2)
    assert pool.stale_retries == 1
    assert len(destination.requests) == 2


async def test_large_body_stops_at_its_next_chunk(pool: Pool, destination: FakeDestination) -> None:
    """The connection ends with half a request, which no destination takes for a whole one."""
    bodies = MemoryBodies()
    home = RecordingHome(bodies)
    bodies.delay_s = 0.01
    chunks = tuple(range(400))
    size = len(chunks) * bodies.chunk_bytes
    pool.deliver(home.outgoing(destination.authority, chunks=chunks, body_size=size))
    while bodies.reads < 3:  # noqa: ASYNC110  # a plain counter
        await asyncio.sleep(0.002)
    home.tenure.bound(time.monotonic() - 1)
    reads = bodies.reads
    assert await _is_held_back(home, 1)
    assert bodies.reads <= reads + 1
    assert (pool.in_flight, pool.idle_connections) == (0, 0)


async def test_attempts_of_a_lost_partition_end_and_nobody_is_told(
    pool: Pool, destination: FakeDestination
) -> None:
    """One that hangs and one that still connects; those of other partitions go on."""
    lost, other = RecordingHome(), RecordingHome()
    destination.script([Wait(60)], [Wait(0.2), *answer()])
    pool.deliver(lost.outgoing(destination.authority))
    await destination.received(1)
    pool.deliver(other.outgoing(destination.authority))
    await destination.received(2)
    pool.deliver(lost.outgoing(destination.authority))
    pool.abandon_all_of(lost)
    assert pool.in_flight == 1
    assert (await other.settled(1))[0].status == 200
    assert not lost.calls
    assert len(destination.requests) == 2
