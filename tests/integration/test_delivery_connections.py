"""Delivery over real sockets: connections kept, gone stale, too slow, and bodies streamed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.delivery.config import DeliveryConfig
from dispatcher.delivery.pool import Pool
from dispatcher.errors import LogCorrupt
from dispatcher.testing.delivery import MemoryBodies, RecordingSettler, outgoing
from dispatcher.testing.destination import Close, FakeDestination, Reset, Send, Step, Wait, answer


@pytest.fixture
def settler() -> RecordingSettler:
    return RecordingSettler()


@pytest.fixture
def bodies() -> MemoryBodies:
    return MemoryBodies()


@pytest.fixture
async def pool(settler: RecordingSettler, bodies: MemoryBodies) -> AsyncIterator[Pool]:
    pool = Pool(DeliveryConfig(default_timeout_ms=4000), bodies)
    pool.settler = settler
    yield pool
    await pool.close()


@pytest.fixture
async def destination() -> AsyncIterator[FakeDestination]:
    async with FakeDestination() as destination:
        yield destination


async def until(condition: Callable[[], bool], *, timeout_s: float = 3.0) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  # what it looks at are plain counters
            await asyncio.sleep(0.002)


async def failure_of(settler: RecordingSettler) -> AttemptResult:
    """Wait for the first call of the settler, a failure."""
    result = (await settler.settled(1))[0].result
    assert result is not None
    return result


async def test_connections_are_reused_last_in_first_out(
    pool: Pool, settler: RecordingSettler, destination: FakeDestination
) -> None:
    """Two at once make two connections; what follows one by one uses the one used last."""
    for _ in range(2):
        pool.deliver(outgoing(destination.authority))
    await settler.settled(2)
    assert (pool.connects, pool.idle_connections) == (2, 2)
    for count in range(3, 8):
        pool.deliver(outgoing(destination.authority))
        await settler.settled(count)
    assert len({request.connection for request in destination.requests[2:]}) == 1
    assert pool.connects == 2


async def test_settler_may_deliver_the_next_message_at_once(
    pool: Pool, destination: FakeDestination
) -> None:
    """Called from within `delivered`, `deliver` finds the connection that has just become free."""

    class Chain(RecordingSettler):
        def delivered(self, message: Message, status: int) -> None:
            super().delivered(message, status)
            if len(self.calls) < 20:
                pool.deliver(outgoing(destination.authority, b"%d" % len(self.calls)))

    chain = Chain()
    pool.settler = chain
    pool.deliver(outgoing(destination.authority))
    await chain.settled(20)
    assert (pool.connects, destination.connections) == (1, 1)


async def test_stale_connection_is_replaced_without_spending_an_attempt(
    pool: Pool, settler: RecordingSettler, destination: FakeDestination
) -> None:
    """Closed as we wrote, before any byte of an answer: sent again, same number, one call."""
    endings: list[list[Step]] = [[Close()], [Reset()]]
    for round_, ending in enumerate(endings):
        pool.deliver(outgoing(destination.authority, b"first"))
        await settler.settled(2 * round_ + 1)
        destination.script(ending)
        pool.deliver(outgoing(destination.authority, b"second", attempt=3))
        calls = await settler.settled(2 * round_ + 2)
        assert calls[-1].status == 200
        lost, again = destination.requests[-2:]
        assert lost.raw == again.raw
        assert lost.headers["x-dispatcher-attempt"] == "3"
        assert again.connection == destination.connections - 1
    assert pool.stale_retries == 2
    assert len(settler.calls) == 4


async def test_second_silent_close_in_one_attempt_fails_it(
    pool: Pool, settler: RecordingSettler, destination: FakeDestination
) -> None:
    """The fresh connection is the last: who always hangs up is not asked for ever."""
    pool.deliver(outgoing(destination.authority))
    await settler.settled(1)
    destination.default = [Close()]
    pool.deliver(outgoing(destination.authority))
    calls = await settler.settled(2)
    assert calls[1].result is not None
    assert calls[1].result.failure is Failure.CONNECTION
    assert len(destination.requests) == 3


async def test_reused_connection_that_breaks_after_a_byte_spends_the_attempt(
    pool: Pool, settler: RecordingSettler, destination: FakeDestination
) -> None:
    """One byte of an answer shows that the request was seen."""
    pool.deliver(outgoing(destination.authority))
    await settler.settled(1)
    destination.script([Send(b"H"), Wait(0.2), Reset()])
    pool.deliver(outgoing(destination.authority))
    calls = await settler.settled(2)
    assert calls[1].result is not None
    assert calls[1].result.failure is Failure.BROKEN
    assert pool.stale_retries == 0


async def test_deadline_goes_on_over_a_stale_retry(
    pool: Pool, settler: RecordingSettler, destination: FakeDestination
) -> None:
    """Sending again does not start the time anew."""
    pool.deliver(outgoing(destination.authority))
    await settler.settled(1)
    destination.script([Wait(0.8), Close()], [Wait(9)])
    started = asyncio.get_running_loop().time()
    pool.deliver(outgoing(destination.authority, timeout_ms=1500))
    calls = await settler.settled(2)
    assert calls[1].result is not None
    assert calls[1].result.failure is Failure.TIMEOUT
    assert pool.stale_retries == 1
    assert asyncio.get_running_loop().time() - started < 0.8 + 1.5


async def test_idle_connection_that_the_destination_closes_leaves_the_pool(
    pool: Pool, settler: RecordingSettler, destination: FakeDestination
) -> None:
    """It is dropped when its end is seen, not when it is needed."""
    pool.deliver(outgoing(destination.authority))
    await settler.settled(1)
    await destination.disconnect()
    await until(lambda: pool.open_connections == 0)
    assert pool.idle_connections == 0
    pool.deliver(outgoing(destination.authority))
    await settler.settled(2)
    assert pool.stale_retries == 0


async def test_idle_connection_that_says_something_leaves_the_pool(
    pool: Pool, settler: RecordingSettler, destination: FakeDestination
) -> None:
    """An answer nobody asked for must never be taken for the answer to the next request."""
    destination.script([*answer(), Wait(0.3), *answer(500)])
    pool.deliver(outgoing(destination.authority))
    await settler.settled(1)
    assert pool.idle_connections == 1
    await until(lambda: pool.open_connections == 0)
    pool.deliver(outgoing(destination.authority))
    assert (await settler.settled(2))[1].status == 200


async def test_idle_connections_are_closed_after_a_while(
    settler: RecordingSettler, destination: FakeDestination
) -> None:
    """And the timer that does it stops when there are none."""
    pool = Pool(DeliveryConfig(idle_timeout_ms=800), MemoryBodies())
    pool.settler = settler
    for _ in range(3):
        pool.deliver(outgoing(destination.authority))
    await settler.settled(3)
    assert pool.idle_connections == 3
    await until(lambda: pool.open_connections == 0)
    assert pool.idle_connections == 0
    await pool.close()


async def test_idle_connections_are_bounded(
    settler: RecordingSettler, destination: FakeDestination
) -> None:
    """For one destination and for all; the one that waited longest gives way."""
    pool = Pool(DeliveryConfig(max_idle=3, max_idle_total=4), MemoryBodies())
    pool.settler = settler
    async with FakeDestination() as other:
        for _ in range(5):
            pool.deliver(outgoing(destination.authority))
            pool.deliver(outgoing(other.authority))
        await settler.settled(10)
        assert pool.idle_connections == 4
        await until(lambda: pool.open_connections == 4)
        await pool.close()


@pytest.mark.parametrize(
    ("steps", "status", "phase"),
    [
        ([Wait(5)], None, "waiting for the response"),
        ([Send(b"HTTP/1.1 2"), Wait(5)], None, "waiting for the response"),
        ([Send(b"HTTP/1.1 100 Continue\r\n\r\n"), Wait(5)], None, "waiting for the response"),
        (
            [Send(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")]
            + [Send(b"x"), Wait(0.05)] * 90,
            200,
            "reading the response",
        ),
        (
            [Send(b"HTTP/1.1 503 No\r\nRetry-After: 9\r\n\r\n")] + [Send(b"x"), Wait(0.05)] * 90,
            503,
            "reading the response",
        ),
    ],
)
async def test_answer_that_is_not_complete_at_the_deadline_times_out(
    pool: Pool,
    settler: RecordingSettler,
    destination: FakeDestination,
    steps: list[Step],
    status: int | None,
    phase: str,
) -> None:
    """Silence and dripping alike; the message's own timeout counts; the connection is dropped."""
    destination.script(steps)
    pool.deliver(outgoing(destination.authority, timeout_ms=600))
    result = await failure_of(settler)
    assert (result.failure, result.status) == (Failure.TIMEOUT, status)
    assert result.detail == f"600 ms passed while {phase}"
    assert 595 <= result.duration_ms < 3000
    assert (pool.in_flight, pool.idle_connections) == (0, 0)
    await until(lambda: pool.open_connections == 0)


async def test_each_message_has_its_own_deadline(
    pool: Pool, settler: RecordingSettler, destination: FakeDestination
) -> None:
    """A nearer deadline that comes later is met in time; the others are left alone."""
    destination.default = [Wait(1.6), *answer()]
    for timeout_ms in (5000, 400, 1000):
        pool.deliver(outgoing(destination.authority, timeout_ms=timeout_ms))
    calls = await settler.settled(3)
    assert [call.message.timeout_ms for call in calls] == [400, 1000, 5000]
    assert [call.status for call in calls] == [None, None, 200]


async def test_destination_that_does_not_accept_times_out(
    pool: Pool, settler: RecordingSettler
) -> None:
    """A full backlog drops our SYN: the deadline covers connecting."""
    loop = asyncio.get_running_loop()

    async def never(_: object) -> None:
        await loop.create_future()

    slow = Pool(DeliveryConfig(default_timeout_ms=60), MemoryBodies(), connector=never)  # type: ignore[arg-type]  # it never returns a socket
    slow.settler = settler
    slow.deliver(outgoing("127.0.0.1:1"))
    result = await failure_of(settler)
    assert result.failure is Failure.TIMEOUT
    assert result.detail == "60 ms passed while connecting to 127.0.0.1:1"
    await slow.close()


async def test_large_body_is_streamed_as_it_was_stored(
    pool: Pool, settler: RecordingSettler, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """The chunks leave in order, and the connection is used again."""
    chunks = (3, 5, 8, 11)
    size = len(chunks) * bodies.chunk_bytes
    for count in (1, 2):
        pool.deliver(outgoing(destination.authority, chunks=chunks, body_size=size))
        assert (await settler.settled(count))[-1].status == 200
    for request in destination.requests:
        assert request.body == b"".join(bodies.chunk(position) for position in chunks)
    assert destination.connections == 1


async def test_large_body_waits_for_a_slow_destination(
    pool: Pool, settler: RecordingSettler, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """What is read from the log stays a few chunks ahead of what the destination takes."""
    destination.keep_bodies = False
    chunks = tuple(range(160))
    size = len(chunks) * bodies.chunk_bytes
    pool.deliver(outgoing(destination.authority))
    await settler.settled(1)
    destination.reading.clear()
    pool.deliver(outgoing(destination.authority, chunks=chunks, body_size=size))
    await asyncio.sleep(0.2)
    # Of 40 MiB some are in the buffers of the two sockets and of the fake, none pile up here.
    assert bodies.reads < 80
    assert len(settler.calls) == 1
    destination.reading.set()
    assert (await settler.settled(2))[1].status == 200
    assert destination.requests[1].body_bytes == size


async def test_deadline_covers_sending_a_large_body(
    pool: Pool, settler: RecordingSettler, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """A destination that does not read holds a slot until the timeout, no longer."""
    destination.on_accept = [Wait(5)]
    chunks = tuple(range(160))
    size = len(chunks) * bodies.chunk_bytes
    pool.deliver(outgoing(destination.authority, chunks=chunks, body_size=size, timeout_ms=800))
    result = await failure_of(settler)
    assert (result.failure, result.detail) == (
        Failure.TIMEOUT,
        "800 ms passed while sending the body",
    )
    reads = bodies.reads
    await asyncio.sleep(0.05)
    assert bodies.reads == reads


@pytest.mark.parametrize("status", [200, 413])
async def test_early_answer_counts_and_the_rest_is_not_sent(
    pool: Pool,
    settler: RecordingSettler,
    destination: FakeDestination,
    bodies: MemoryBodies,
    status: int,
) -> None:
    """An answer before the end of the body is the answer; the connection is closed."""
    destination.at_head = True
    destination.keep_bodies = False
    chunks = tuple(range(400))
    size = len(chunks) * bodies.chunk_bytes
    pool.deliver(outgoing(destination.authority, chunks=chunks, body_size=size))
    destination.script(answer(status, b"enough"))
    call = (await settler.settled(1))[0]
    assert (call.status or (call.result and call.result.status)) == status
    assert bodies.reads < len(chunks)
    assert pool.idle_connections == 0
    await until(lambda: pool.open_connections == 0)


async def test_early_answer_counts_when_the_destination_hangs_up_after_it(
    pool: Pool, settler: RecordingSettler, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """A close with our body unread becomes a reset: the answer that came before it still counts."""
    destination.at_head = True
    chunks = tuple(range(40))
    size = len(chunks) * bodies.chunk_bytes
    for count in range(1, 6):
        destination.script([*answer(413, b"too large"), Close()])
        pool.deliver(outgoing(destination.authority, chunks=chunks, body_size=size))
        call = (await settler.settled(count))[-1]
        assert call.result is not None
        assert (call.result.status, call.result.failure) == (413, None)


async def test_stale_connection_under_a_large_body_starts_it_anew(
    pool: Pool, settler: RecordingSettler, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """The whole body is read and sent again from its first chunk."""
    pool.deliver(outgoing(destination.authority))
    await settler.settled(1)
    chunks = tuple(range(12))
    size = len(chunks) * bodies.chunk_bytes
    destination.script([Close()])
    pool.deliver(outgoing(destination.authority, chunks=chunks, body_size=size))
    assert (await settler.settled(2))[1].status == 200
    assert destination.requests[-1].body == b"".join(bodies.chunk(n) for n in chunks)
    assert pool.stale_retries == 1


async def test_body_that_cannot_be_read_back_fails_the_attempt(
    pool: Pool, settler: RecordingSettler, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """Damage in the log under one message does not take the others with it."""
    bodies.failing[1] = LogCorrupt("00000001.log", 4096, "bad checksum")
    size = 3 * bodies.chunk_bytes
    pool.deliver(outgoing(destination.authority, chunks=(0, 1, 2), body_size=size))
    result = await failure_of(settler)
    assert result.failure is Failure.BROKEN
    assert "cannot be read back" in result.detail
    pool.deliver(outgoing(destination.authority))
    assert (await settler.settled(2))[1].status == 200


async def test_closing_abandons_attempts_without_a_call(
    pool: Pool, settler: RecordingSettler, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """Waiting, streaming, connecting, idle: all end and nobody is told; twice is harmless."""
    destination.script(answer(), [Wait(5)], [Wait(5)])
    pool.deliver(outgoing(destination.authority))
    await settler.settled(1)
    pool.deliver(outgoing(destination.authority))
    await destination.received(2)
    size = 2 * bodies.chunk_bytes
    pool.deliver(outgoing(destination.authority, chunks=(0, 1), body_size=size))
    await destination.received(3)
    pool.deliver(outgoing(destination.authority))
    await pool.close()
    await pool.close()
    pool.deliver(outgoing(destination.authority))
    await asyncio.sleep(0.02)
    assert len(settler.calls) == 1
    assert (pool.open_connections, pool.idle_connections, pool.in_flight) == (0, 0, 0)
