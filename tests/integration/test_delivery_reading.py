"""A large body that cannot be read back from the log: what is lacking passes, damage does not, and
neither is the destination's fault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.delivery.config import DeliveryConfig
from dispatcher.delivery.pool import Pool
from dispatcher.queue.ports import BodyUnavailable
from dispatcher.testing.delivery import MemoryBodies, RecordingHome
from dispatcher.testing.destination import FakeDestination, Reset, Wait, answer

CHUNKS = (0, 1, 2)


@pytest.fixture
def bodies() -> MemoryBodies:
    return MemoryBodies()


@pytest.fixture
def home(bodies: MemoryBodies) -> RecordingHome:
    return RecordingHome(bodies)


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool(DeliveryConfig(default_timeout_ms=60_000))
    yield pool
    await pool.close()


@pytest.fixture
async def destination() -> AsyncIterator[FakeDestination]:
    async with FakeDestination() as destination:
        yield destination


def lacking() -> BodyUnavailable:
    return BodyUnavailable("too many open files", passing=True)


def large(
    home: RecordingHome, destination: FakeDestination, bodies: MemoryBodies, timeout_ms: int = 0
) -> Message:
    return home.outgoing(
        destination.authority,
        chunks=CHUNKS,
        body_size=len(CHUNKS) * bodies.chunk_bytes,
        timeout_ms=timeout_ms,
    )


async def failure_of(home: RecordingHome) -> AttemptResult:
    """Wait for the first call of the home, a failure."""
    result = (await home.settled(1))[0].result
    assert result is not None
    return result


@pytest.mark.parametrize("chunk", [0, 1])
async def test_body_is_read_again_when_what_was_lacking_is_there(
    pool: Pool,
    home: RecordingHome,
    destination: FakeDestination,
    bodies: MemoryBodies,
    chunk: int,
) -> None:
    """On the same connection, within the same attempt: the destination sees one whole request."""
    bodies.failing[chunk] = lacking()
    pool.deliver(large(home, destination, bodies))
    await asyncio.sleep(0.25)
    assert home.calls == []
    bodies.failing.clear()
    assert (await home.settled(1))[0].status == 200
    assert destination.requests[0].body == b"".join(bodies.chunk(n) for n in CHUNKS)
    assert (pool.connects, len(destination.requests)) == (1, 1)


async def test_attempt_times_out_when_the_lack_does_not_pass(
    pool: Pool, home: RecordingHome, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """It says why, and that it was not the destination; the half of a request goes with its
    connection."""
    bodies.failing[1] = lacking()
    pool.deliver(large(home, destination, bodies, timeout_ms=800))
    result = await failure_of(home)
    assert (result.failure, result.status, result.ours) == (Failure.TIMEOUT, None, True)
    assert (
        result.detail == "800 ms passed while the body could not be read back: too many open files"
    )
    assert result.duration_ms >= 795
    await asyncio.sleep(0.05)
    assert (pool.in_flight, pool.open_connections) == (0, 0)


async def test_timeout_after_a_lack_that_passed_is_ours(
    pool: Pool, home: RecordingHome, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """The time that the destination had was not what the message says; the detail is about the end
    of it."""
    bodies.failing[0] = lacking()
    destination.default = [Wait(600)]
    pool.deliver(large(home, destination, bodies, timeout_ms=800))
    await asyncio.sleep(0.15)
    bodies.failing.clear()
    result = await failure_of(home)
    assert (result.failure, result.ours) == (Failure.TIMEOUT, True)
    assert result.detail.endswith("waiting for the response")


async def test_timeout_while_the_log_is_read_is_ours(
    pool: Pool, home: RecordingHome, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """The disk stands still, or the reader has others to serve: it is not the destination."""
    bodies.delay_s = 600.0
    pool.deliver(large(home, destination, bodies, timeout_ms=800))
    result = await failure_of(home)
    assert (result.failure, result.ours) == (Failure.TIMEOUT, True)
    assert result.detail == "800 ms passed while the body was read back from the log"


async def test_timeout_after_many_slow_reads_is_ours(
    pool: Pool, home: RecordingHome, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """None of them takes long, all of them together do."""
    bodies.delay_s = 0.1
    destination.default = [Wait(600)]
    pool.deliver(large(home, destination, bodies, timeout_ms=800))
    result = await failure_of(home)
    assert (result.failure, result.ours) == (Failure.TIMEOUT, True)
    assert result.detail.endswith("waiting for the response")


@pytest.mark.parametrize("is_lacking", [True, False])
async def test_reset_after_a_slow_read_of_the_body_is_not_ours(
    pool: Pool,
    home: RecordingHome,
    destination: FakeDestination,
    bodies: MemoryBodies,
    is_lacking: bool,
) -> None:
    """It had the whole request, if late: on a slow disk a destination that resets is given up."""
    destination.default = [Wait(0.1), Reset()]
    if is_lacking:
        bodies.failing[1] = lacking()
    else:
        bodies.delay_s = 0.1
    pool.deliver(large(home, destination, bodies, timeout_ms=60_000))
    await asyncio.sleep(0.05)
    bodies.failing.clear()
    result = await failure_of(home)
    assert (result.failure, result.ours) == (Failure.CONNECTION, False)


async def test_timeout_without_a_lack_is_not_ours(
    pool: Pool, home: RecordingHome, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """A slow destination is a slow destination."""
    destination.script([Wait(600)])
    pool.deliver(large(home, destination, bodies, timeout_ms=800))
    result = await failure_of(home)
    assert (result.failure, result.ours) == (Failure.TIMEOUT, False)


async def test_destination_that_hangs_up_on_half_a_request_is_not_to_blame(
    pool: Pool, home: RecordingHome, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """It waited long enough for us."""
    bodies.failing[1] = lacking()
    destination.at_head = True
    destination.script([Wait(0.1), Reset()])
    pool.deliver(large(home, destination, bodies))
    result = await failure_of(home)
    assert (result.failure, result.ours) == (Failure.CONNECTION, True)


async def test_answer_to_half_a_request_counts(
    pool: Pool, home: RecordingHome, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """It is the destination's, and says what it says."""
    bodies.failing[1] = lacking()
    destination.at_head = True
    destination.script(answer(503))
    pool.deliver(large(home, destination, bodies))
    result = await failure_of(home)
    assert (result.failure, result.status, result.ours) == (None, 503, False)
    assert pool.in_flight == 0


async def test_damage_ends_the_attempt(
    pool: Pool, home: RecordingHome, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """At once and as ours; the message's home knows already."""
    bodies.failing[1] = BodyUnavailable("the checksum does not fit", passing=False)
    pool.deliver(large(home, destination, bodies))
    result = await failure_of(home)
    assert (result.failure, result.status, result.ours) == (Failure.BROKEN, None, True)
    assert "cannot be read back" in result.detail
    pool.deliver(home.outgoing(destination.authority))
    assert (await home.settled(2))[1].status == 200


async def test_closing_ends_the_waiting(
    pool: Pool, home: RecordingHome, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """And nobody is told."""
    bodies.failing[1] = lacking()
    pool.deliver(large(home, destination, bodies))
    await asyncio.sleep(0.05)
    await pool.close()
    assert home.calls == []
    assert pool.in_flight == 0


async def test_answer_is_counted_and_not_the_reading(
    pool: Pool, home: RecordingHome, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """An attempt that was held up and then went well is delivered like any other."""
    bodies.failing[2] = lacking()
    destination.script(answer(204))
    pool.deliver(large(home, destination, bodies))
    await asyncio.sleep(0.15)
    bodies.failing.clear()
    assert (await home.settled(1))[0].status == 204
