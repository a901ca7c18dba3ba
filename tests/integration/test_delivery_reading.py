"""A large body that cannot be read back from the log: what is lacking passes, damage does not, and
neither is the destination's fault."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator

import pytest

from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.delivery.config import DeliveryConfig
from dispatcher.delivery.pool import Pool
from dispatcher.errors import LogCorrupt, LogTrimmed
from dispatcher.queue.records import RecordError
from dispatcher.testing.delivery import MemoryBodies, RecordingSettler, outgoing
from dispatcher.testing.destination import FakeDestination, Reset, Wait, answer

CHUNKS = (0, 1, 2)


@pytest.fixture
def settler() -> RecordingSettler:
    return RecordingSettler()


@pytest.fixture
def bodies() -> MemoryBodies:
    return MemoryBodies()


@pytest.fixture
def errors() -> list[Exception]:
    """What the pool found wrong with the log."""
    return []


@pytest.fixture
async def pool(
    settler: RecordingSettler, bodies: MemoryBodies, errors: list[Exception]
) -> AsyncIterator[Pool]:
    pool = Pool(DeliveryConfig(default_timeout_ms=4000), bodies, failed=errors.append)
    pool.settler = settler
    yield pool
    await pool.close()


@pytest.fixture
async def destination() -> AsyncIterator[FakeDestination]:
    async with FakeDestination() as destination:
        yield destination


def lacking(number: int = errno.EMFILE) -> OSError:
    return OSError(number, os.strerror(number))


def large(destination: FakeDestination, bodies: MemoryBodies, timeout_ms: int = 0) -> Message:
    return outgoing(
        destination.authority,
        chunks=CHUNKS,
        body_size=len(CHUNKS) * bodies.chunk_bytes,
        timeout_ms=timeout_ms,
    )


async def failure_of(settler: RecordingSettler) -> AttemptResult:
    """Wait for the first call of the settler, a failure."""
    result = (await settler.settled(1))[0].result
    assert result is not None
    return result


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
@pytest.mark.parametrize("chunk", [0, 1])
async def test_body_is_read_again_when_what_was_lacking_is_there(
    pool: Pool,
    settler: RecordingSettler,
    destination: FakeDestination,
    bodies: MemoryBodies,
    errors: list[Exception],
    number: int,
    chunk: int,
) -> None:
    """On the same connection, within the same attempt: the destination sees one whole request."""
    bodies.failing[chunk] = lacking(number)
    pool.deliver(large(destination, bodies))
    await asyncio.sleep(0.25)
    assert settler.calls == []
    bodies.failing.clear()
    assert (await settler.settled(1))[0].status == 200
    assert destination.requests[0].body == b"".join(bodies.chunk(n) for n in CHUNKS)
    assert (pool.connects, len(destination.requests), errors) == (1, 1, [])


async def test_attempt_times_out_when_the_lack_does_not_pass(
    pool: Pool, settler: RecordingSettler, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """It says why, and that it was not the destination; the half of a request goes with its
    connection."""
    bodies.failing[1] = lacking()
    pool.deliver(large(destination, bodies, timeout_ms=300))
    result = await failure_of(settler)
    assert (result.failure, result.status, result.ours) == (Failure.TIMEOUT, None, True)
    assert (
        result.detail == "300 ms passed while the body could not be read back: too many open files"
    )
    assert 295 <= result.duration_ms < 1000
    await asyncio.sleep(0.05)
    assert (pool.in_flight, pool.open_connections) == (0, 0)


async def test_timeout_after_a_lack_that_passed_is_ours(
    pool: Pool, settler: RecordingSettler, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """The time that the destination had was not what the message says; the detail is about the end
    of it."""
    bodies.failing[0] = lacking()
    destination.default = [Wait(5)]
    pool.deliver(large(destination, bodies, timeout_ms=400))
    await asyncio.sleep(0.15)
    bodies.failing.clear()
    result = await failure_of(settler)
    assert (result.failure, result.ours) == (Failure.TIMEOUT, True)
    assert result.detail.endswith("waiting for the response")


async def test_timeout_without_a_lack_is_not_ours(
    pool: Pool, settler: RecordingSettler, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """A slow destination is a slow destination."""
    destination.script([Wait(5)])
    pool.deliver(large(destination, bodies, timeout_ms=200))
    result = await failure_of(settler)
    assert (result.failure, result.ours) == (Failure.TIMEOUT, False)


async def test_destination_that_hangs_up_on_half_a_request_is_not_to_blame(
    pool: Pool, settler: RecordingSettler, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """It waited long enough for us."""
    bodies.failing[1] = lacking()
    destination.at_head = True
    destination.script([Wait(0.1), Reset()])
    pool.deliver(large(destination, bodies))
    result = await failure_of(settler)
    assert (result.failure, result.ours) == (Failure.CONNECTION, True)


async def test_answer_to_half_a_request_counts(
    pool: Pool, settler: RecordingSettler, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """It is the destination's, and says what it says."""
    bodies.failing[1] = lacking()
    destination.at_head = True
    destination.script(answer(503))
    pool.deliver(large(destination, bodies))
    result = await failure_of(settler)
    assert (result.failure, result.status, result.ours) == (None, 503, False)
    assert pool.in_flight == 0


DAMAGE = [
    LogCorrupt("00000001.seg", 4096, "the checksum does not fit"),
    LogTrimmed("position 1 was trimmed away"),
    RecordError("a message where a chunk should be"),
    OSError(errno.EIO, os.strerror(errno.EIO)),
    FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)),
]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda error: type(error).__name__)
async def test_damage_is_reported_and_ends_the_attempt(
    pool: Pool,
    settler: RecordingSettler,
    destination: FakeDestination,
    bodies: MemoryBodies,
    errors: list[Exception],
    damage: Exception,
) -> None:
    """First reported, so that nothing is written down of it; then ended, at once and as ours."""
    told: list[int] = []
    settled = settler.failed

    def failed(message: Message, result: AttemptResult) -> None:
        told.append(len(errors))
        settled(message, result)

    settler.failed = failed  # type: ignore[method-assign]  # to see the order
    bodies.failing[1] = damage
    pool.deliver(large(destination, bodies))
    result = await failure_of(settler)
    assert (result.failure, result.status, result.ours) == (Failure.BROKEN, None, True)
    assert "cannot be read back" in result.detail
    assert result.duration_ms < 1000
    assert errors == [damage]
    assert told == [1]
    pool.deliver(outgoing(destination.authority))
    assert (await settler.settled(2))[1].status == 200


async def test_damage_ends_the_attempt_when_nobody_wants_to_know(
    settler: RecordingSettler, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """A pool without a log to protect."""
    pool = Pool(DeliveryConfig(), bodies)
    pool.settler = settler
    bodies.failing[1] = RecordError("a message where a chunk should be")
    pool.deliver(large(destination, bodies))
    assert (await failure_of(settler)).failure is Failure.BROKEN
    await pool.close()


async def test_closing_ends_the_waiting(
    pool: Pool, settler: RecordingSettler, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """And nobody is told."""
    bodies.failing[1] = lacking()
    pool.deliver(large(destination, bodies))
    await asyncio.sleep(0.05)
    await pool.close()
    assert settler.calls == []
    assert pool.in_flight == 0


async def test_answer_is_counted_and_not_the_reading(
    pool: Pool, settler: RecordingSettler, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """An attempt that was held up and then went well is delivered like any other."""
    bodies.failing[2] = lacking()
    destination.script(answer(204))
    pool.deliver(large(destination, bodies))
    await asyncio.sleep(0.15)
    bodies.failing.clear()
    assert (await settler.settled(1))[0].status == 204
