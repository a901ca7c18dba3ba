"""Delivery over real sockets: connections kept, gone stale, too slow, and bodies streamed."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import uvloop

from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.delivery.attempt import Attempt
from dispatcher.delivery.config import DeliveryConfig
from dispatcher.delivery.connection import Connection
from dispatcher.delivery.pool import Pool
from dispatcher.delivery.resolver import Resolver
from dispatcher.queue.ports import BodyUnavailable
from dispatcher.testing.delivery import WIRE_ID, MemoryBodies, RecordingHome
from dispatcher.testing.destination import Close, FakeDestination, Reset, Send, Step, Wait, answer


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


async def until(condition: Callable[[], bool], *, timeout_s: float = 60.0) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  # what it looks at are plain counters
            await asyncio.sleep(0.002)


async def failure_of(home: RecordingHome) -> AttemptResult:
    """Wait for the first call of the home, a failure."""
    result = (await home.settled(1))[0].result
    assert result is not None
    return result


async def test_connections_are_reused_last_in_first_out(
    pool: Pool, home: RecordingHome, destination: FakeDestination
) -> None:
    """Two at once make two connections; what follows one by one uses the one used last."""
    for _ in range(2):
        pool.deliver(home.outgoing(destination.authority))
    await home.settled(2)
    assert (pool.connects, pool.idle_connections) == (2, 2)
    for count in range(3, 8):
        pool.deliver(home.outgoing(destination.authority))
        await home.settled(count)
    assert len({request.connection for request in destination.requests[2:]}) == 1
    assert pool.connects == 2


async def test_home_of_a_message_may_deliver_the_next_message_at_once(
    pool: Pool, destination: FakeDestination
) -> None:
    """Called from within `delivered`, `deliver` finds the connection that has just become free."""

    class Chain(RecordingHome):
        def delivered(self, message: Message, status: int) -> None:
            super().delivered(message, status)
            if len(self.calls) < 20:
                pool.deliver(self.outgoing(destination.authority, b"%d" % len(self.calls)))

    chain = Chain()
    pool.deliver(chain.outgoing(destination.authority))
    await chain.settled(20)
    assert (pool.connects, destination.connections) == (1, 1)


async def test_stale_connection_is_replaced_without_spending_an_attempt(
    pool: Pool, home: RecordingHome, destination: FakeDestination
) -> None:
    """Closed as we wrote, before any byte of an answer: sent again, same number, one call."""
    endings: list[list[Step]] = [[Close()], [Reset()]]
    for round_, ending in enumerate(endings):
        pool.deliver(home.outgoing(destination.authority, b"first"))
        await home.settled(2 * round_ + 1)
        destination.script(ending)
        pool.deliver(home.outgoing(destination.authority, b"second", attempt=3))
        calls = await home.settled(2 * round_ + 2)
        assert calls[-1].status == 200
        lost, again = destination.requests[-2:]
        assert lost.raw == again.raw
        assert lost.headers["x-dispatcher-attempt"] == "3"
        assert again.connection == destination.connections - 1
    assert pool.stale_retries == 2
    assert len(home.calls) == 4


async def test_request_that_was_worked_on_is_not_sent_again_unasked(
    pool: Pool, home: RecordingHome, destination: FakeDestination
) -> None:
    """A destination that dies more than a second after the request may have acted on it: that is an
    attempt."""
    pool.deliver(home.outgoing(destination.authority))
    await home.settled(1)
    destination.script([Wait(1.2), Close()])
    pool.deliver(home.outgoing(destination.authority))
    calls = await home.settled(2)
    assert calls[1].result is not None
    assert calls[1].result.failure is Failure.CONNECTION
    assert calls[1].result.detail == "no response: closed by the destination"
    assert len(destination.requests) == 2
    assert pool.stale_retries == 0


def ports_kept_busy(port: int) -> tuple[int, int]:
    """How many connections with a destination are remembered (TIME_WAIT): by us, and by it."""
    ours = theirs = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state = line.split()[:4]
        if state == "06":
            ours += int(remote.split(":")[1], 16) == port
            theirs += int(local.split(":")[1], 16) == port
    return ours, theirs


async def test_destination_that_closes_every_connection_keeps_none_of_our_ports_busy(
    pool: Pool, home: RecordingHome, destination: FakeDestination
) -> None:
    """It said `Connection: close`, so it is waited for, and it is the one that has closed first."""
    before, _ = ports_kept_busy(destination.port)
    destination.default = [*answer(200, b"", ("Connection", "close")), Wait(0.05), Close()]
    for count in range(1, 11):
        pool.deliver(home.outgoing(destination.authority))
        await home.settled(count)
    await until(lambda: pool.open_connections == 0)
    await until(lambda: ports_kept_busy(destination.port)[1] == 10)
    assert ports_kept_busy(destination.port)[0] <= before


@pytest.mark.parametrize("data", [
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
])  # fmt: skip
async def test_connection_that_its_destination_does_not_close_is_reset(
    pool: Pool, home: RecordingHome, destination: FakeDestination, data: bytes
) -> None:
    """After a second, or at once where none was announced: nobody has to remember it."""
    before, _ = ports_kept_busy(destination.port)  # by who had the destination's port before
    destination.default = [Send(data)]
    for count in range(1, 11):
        pool.deliver(home.outgoing(destination.authority))
        await home.settled(count)
    await until(lambda: pool.open_connections == 0)
    ours, theirs = ports_kept_busy(destination.port)
    assert (max(0, ours - before), theirs) == (0, 0)


async def test_idle_connections_that_are_too_many_keep_no_ports_busy(
    home: RecordingHome, destination: FakeDestination
) -> None:
    """Where few may be kept there may be one for every message."""
    before, _ = ports_kept_busy(destination.port)
    pool = Pool(DeliveryConfig(max_idle=1))
    for count in (4, 8, 12):
        for _ in range(4):
            pool.deliver(home.outgoing(destination.authority))
        await home.settled(count)
    await until(lambda: pool.open_connections == 1)
    ours, theirs = ports_kept_busy(destination.port)
    assert (max(0, ours - before), theirs) == (0, 0)
    await pool.close()


async def test_connections_that_are_waited_for_are_bounded(
    home: RecordingHome, destination: FakeDestination
) -> None:
    """The oldest is reset when there are too many; closing waits for none."""
    pool = Pool(DeliveryConfig(max_leaving=3))
    destination.default = answer(200, b"", ("Connection", "close"))
    for count in range(1, 11):
        pool.deliver(home.outgoing(destination.authority))
        await home.settled(count)
    await until(lambda: pool.open_connections <= 3, timeout_s=0.8)
    await pool.close()
    assert pool.open_connections == 0


async def test_connection_is_not_used_longer_than_its_maximum(
    home: RecordingHome, destination: FakeDestination
) -> None:
    """However busy: the next message looks its name up anew and follows it to another address."""
    addresses = ["127.0.0.1"]

    async def lookup(_: str) -> list[str]:
        return list(addresses)

    now_s = 0.0
    resolver = Resolver(lookup, now_s=lambda: now_s)
    pool = Pool(DeliveryConfig(max_age_ms=600), resolver=resolver)
    async with FakeDestination(host="127.0.0.2", port=destination.port) as moved:
        pool.deliver(home.outgoing(f"shop.test:{destination.port}"))
        await home.settled(1)
        addresses[:] = ["127.0.0.2"]
        now_s = 31.0
        began_s = asyncio.get_running_loop().time()
        count = 1
        while not moved.requests:
            pool.deliver(home.outgoing(f"shop.test:{destination.port}"))
            count += 1
            await home.settled(count)
            await asyncio.sleep(0.01)
            assert asyncio.get_running_loop().time() - began_s < 60
        assert all(call.status == 200 for call in home.calls)
        assert destination.connections == 1
    assert pool.stale_retries == 0
    await pool.close()


async def test_answer_that_came_while_the_process_stood_still_counts(
    pool: Pool, home: RecordingHome
) -> None:
    """A stopped container, a suspended machine: the deadline is over when it goes on, and the
    answer lies in the socket. It is read first."""
    loop = asyncio.get_running_loop()
    stopped, answered = threading.Event(), threading.Event()
    stop, hear = socket.socketpair()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        conn, _ = listener.accept()
        with conn:
            for is_late in (False, True):
                conn.recv(65536)
                if is_late:
                    stop.send(b"!")
                    stopped.wait(60)
                conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            answered.set()

    def stand_still() -> None:
        """As with SIGSTOP, nothing else gets a turn; not in a timer, which others would follow."""
        loop.remove_reader(hear)
        stopped.set()
        assert answered.wait(60)
        time.sleep(max(0.0, deadline_s - loop.time()))

    loop.add_reader(hear, stand_still)
    with listener, stop, hear:
        threading.Thread(target=serve, daemon=True).start()
        authority = f"127.0.0.1:{listener.getsockname()[1]}"
        pool.deliver(home.outgoing(authority))
        await home.settled(1)
        deadline_s = loop.time() + 1.1
        pool.deliver(home.outgoing(authority, timeout_ms=1000))
        assert (await home.settled(2))[1].status == 200


async def test_what_is_met_in_a_debugger_shows_itself(
    pool: Pool, home: RecordingHome, destination: FakeDestination
) -> None:
    """The pool, its connections and the attempts on them."""
    pool.deliver(home.outgoing(destination.authority))
    await home.settled(1)
    where = f"http://{destination.authority}"
    assert repr(pool) == "<Pool: 0 in flight, 1 connections open, 1 idle>"
    assert [repr(one) for one in pool._open] == [f"<Connection to {where}, 1 carried: idle>"]
    destination.script([Wait(600)])
    pool.deliver(home.outgoing(destination.authority, attempt=2))
    await destination.received(2)
    attempt = f"<Attempt 2 of {WIRE_ID.decode()} to {where}: waiting for the response>"
    assert [repr(one) for one in pool._open] == [f"<Connection to {where}, 1 carried: {attempt}>"]


async def test_second_silent_close_in_one_attempt_fails_it(
    pool: Pool, home: RecordingHome, destination: FakeDestination
) -> None:
    """The fresh connection is the last: who always hangs up is not asked for ever."""
    pool.deliver(home.outgoing(destination.authority))
    await home.settled(1)
    destination.default = [Close()]
    pool.deliver(home.outgoing(destination.authority))
    calls = await home.settled(2)
    assert calls[1].result is not None
    assert calls[1].result.failure is Failure.CONNECTION
    assert len(destination.requests) == 3


async def test_reused_connection_that_breaks_after_a_byte_spends_the_attempt(
    pool: Pool, home: RecordingHome, destination: FakeDestination
) -> None:
    """One byte of an answer shows that the request was seen."""
    pool.deliver(home.outgoing(destination.authority))
    await home.settled(1)
    destination.script([Send(b"H"), Wait(0.2), Reset()])
    pool.deliver(home.outgoing(destination.authority))
    calls = await home.settled(2)
    assert calls[1].result is not None
    assert calls[1].result.failure is Failure.BROKEN
    assert pool.stale_retries == 0


async def test_deadline_goes_on_over_a_stale_retry(
    pool: Pool, home: RecordingHome, destination: FakeDestination
) -> None:
    """Sending again does not start the time anew: another attempt that began with it, and has a
    little more time than is left, ends after it."""
    pool.deliver(home.outgoing(destination.authority))
    await home.settled(1)
    destination.script([Wait(0.2), Close()], [Wait(600)])
    async with FakeDestination(default=[Wait(600)]) as other:
        pool.deliver(home.outgoing(destination.authority, timeout_ms=1500))
        pool.deliver(home.outgoing(other.authority, timeout_ms=1600))
        calls = await home.settled(3)
    if not pool.stale_retries:
        pytest.skip("the machine stood still for a second: then a destination may have acted")
    assert [call.message.timeout_ms for call in calls[1:]] == [1500, 1600]
    assert calls[1].result is not None
    assert calls[1].result.failure is Failure.TIMEOUT
    assert pool.stale_retries == 1


async def test_idle_connection_that_the_destination_closes_leaves_the_pool(
    pool: Pool, home: RecordingHome, destination: FakeDestination
) -> None:
    """It is dropped when its end is seen, not when it is needed."""
    pool.deliver(home.outgoing(destination.authority))
    await home.settled(1)
    await destination.disconnect()
    await until(lambda: pool.open_connections == 0)
    assert pool.idle_connections == 0
    pool.deliver(home.outgoing(destination.authority))
    await home.settled(2)
    assert pool.stale_retries == 0


async def test_idle_connection_that_says_something_leaves_the_pool(
    pool: Pool, home: RecordingHome, destination: FakeDestination
) -> None:
    """An answer nobody asked for must never be taken for the answer to the next request."""
    destination.script([*answer(), Wait(0.3), *answer(500)])
    pool.deliver(home.outgoing(destination.authority))
    await home.settled(1)
    assert pool.idle_connections == 1
    await until(lambda: pool.open_connections == 0)
    pool.deliver(home.outgoing(destination.authority))
    assert (await home.settled(2))[1].status == 200


async def test_idle_connections_are_closed_after_a_while(
    home: RecordingHome, destination: FakeDestination
) -> None:
    """And the timer that does it stops when there are none."""
    pool = Pool(DeliveryConfig(idle_timeout_ms=800))
    for _ in range(3):
        pool.deliver(home.outgoing(destination.authority))
    await home.settled(3)
    assert pool.idle_connections == 3
    await until(lambda: pool.open_connections == 0)
    assert pool.idle_connections == 0
    await pool.close()


async def test_idle_connections_are_bounded(
    home: RecordingHome, destination: FakeDestination
) -> None:
    """For one destination and for all; the one that waited longest gives way."""
    pool = Pool(DeliveryConfig(max_idle=3, max_idle_total=4))
    async with FakeDestination() as other:
        for _ in range(5):
            pool.deliver(home.outgoing(destination.authority))
            pool.deliver(home.outgoing(other.authority))
        await home.settled(10)
        assert pool.idle_connections == 4
        await until(lambda: pool.open_connections == 4)
        await pool.close()


@pytest.mark.parametrize(
    ("steps", "status", "phase"),
    [
        ([Wait(600)], None, "waiting for the response"),
        ([Send(b"HTTP/1.1 2"), Wait(600)], None, "waiting for the response"),
        ([Send(b"HTTP/1.1 100 Continue\r\n\r\n"), Wait(600)], None, "waiting for the response"),
        (
            [Send(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")]
            + [Send(b"x"), Wait(0.05)] * 90
            + [Wait(600)],
            200,
            "reading the response",
        ),
        (
            [Send(b"HTTP/1.1 503 No\r\nRetry-After: 9\r\n\r\n")]
            + [Send(b"x"), Wait(0.05)] * 90
            + [Wait(600)],
            503,
            "reading the response",
        ),
    ],
)
async def test_answer_that_is_not_complete_at_the_deadline_times_out(
    pool: Pool,
    home: RecordingHome,
    destination: FakeDestination,
    steps: list[Step],
    status: int | None,
    phase: str,
) -> None:
    """Silence and dripping alike; the message's own timeout counts; the connection is dropped."""
    destination.script(steps)
    pool.deliver(home.outgoing(destination.authority, timeout_ms=600))
    result = await failure_of(home)
    assert (result.failure, result.status) == (Failure.TIMEOUT, status)
    assert result.detail == f"600 ms passed while {phase}"
    assert result.duration_ms >= 595
    assert (pool.in_flight, pool.idle_connections) == (0, 0)
    await until(lambda: pool.open_connections == 0)


async def test_each_message_has_its_own_deadline(
    pool: Pool, home: RecordingHome, destination: FakeDestination
) -> None:
    """A nearer deadline that comes later is met in time; the others are left alone."""
    destination.default = [Wait(600)]
    async with FakeDestination(default=[Wait(1.6), *answer()]) as late:
        pool.deliver(home.outgoing(late.authority, timeout_ms=60_000))
        for timeout_ms in (2000, 400, 1000):
            pool.deliver(home.outgoing(destination.authority, timeout_ms=timeout_ms))
        calls = await home.settled(4)
    came = [(call.message.timeout_ms, call.status) for call in calls]
    assert [one for one in came if one[1] is None] == [(400, None), (1000, None), (2000, None)]
    assert (60_000, 200) in came


async def test_destination_that_does_not_accept_times_out(pool: Pool, home: RecordingHome) -> None:
    """A full backlog drops our SYN: the deadline covers connecting."""
    loop = asyncio.get_running_loop()

    async def never(_: object) -> None:
        await loop.create_future()

    slow = Pool(DeliveryConfig(default_timeout_ms=60), connector=never)  # type: ignore[arg-type]  # it never returns a socket
    slow.deliver(home.outgoing("127.0.0.1:1"))
    result = await failure_of(home)
    assert result.failure is Failure.TIMEOUT
    assert result.detail == "60 ms passed while connecting to 127.0.0.1:1"
    await slow.close()


async def test_large_body_is_streamed_as_it_was_stored(
    pool: Pool, home: RecordingHome, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """The chunks leave in order, and the connection is used again."""
    chunks = (3, 5, 8, 11)
    size = len(chunks) * bodies.chunk_bytes
    for count in (1, 2):
        pool.deliver(home.outgoing(destination.authority, chunks=chunks, body_size=size))
        assert (await home.settled(count))[-1].status == 200
    for request in destination.requests:
        assert request.body == b"".join(bodies.chunk(position) for position in chunks)
    assert destination.connections == 1


async def test_large_body_waits_for_a_slow_destination(
    pool: Pool, home: RecordingHome, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """What is read from the log stays a few chunks ahead of what the destination takes."""
    destination.keep_bodies = False
    chunks = tuple(range(160))
    size = len(chunks) * bodies.chunk_bytes
    pool.deliver(home.outgoing(destination.authority))
    await home.settled(1)
    destination.reading.clear()
    pool.deliver(home.outgoing(destination.authority, chunks=chunks, body_size=size))
    await asyncio.sleep(0.2)
    # Of 40 MiB some are in the buffers of the two sockets and of the fake, none pile up here.
    assert bodies.reads < 80
    assert len(home.calls) == 1
    destination.reading.set()
    assert (await home.settled(2))[1].status == 200
    assert destination.requests[1].body_bytes == size


async def test_deadline_covers_sending_a_large_body(
    pool: Pool, home: RecordingHome, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """A destination that does not read holds a slot until the timeout, no longer."""
    destination.on_accept = [Wait(600)]
    chunks = tuple(range(160))
    size = len(chunks) * bodies.chunk_bytes
    pool.deliver(
        home.outgoing(destination.authority, chunks=chunks, body_size=size, timeout_ms=800)
    )
    result = await failure_of(home)
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
    home: RecordingHome,
    destination: FakeDestination,
    bodies: MemoryBodies,
    status: int,
) -> None:
    """An answer before the end of the body is the answer; the connection is closed."""
    destination.at_head = True
    destination.keep_bodies = False
    chunks = tuple(range(400))
    size = len(chunks) * bodies.chunk_bytes
    pool.deliver(home.outgoing(destination.authority, chunks=chunks, body_size=size))
    destination.script(answer(status, b"enough"))
    call = (await home.settled(1))[0]
    assert (call.status or (call.result and call.result.status)) == status
    assert bodies.reads < len(chunks)
    assert pool.idle_connections == 0
    await until(lambda: pool.open_connections == 0)


async def test_early_answer_counts_when_the_destination_hangs_up_after_it(
    pool: Pool, home: RecordingHome, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """A close with our body unread becomes a reset: the answer that came before it still counts."""
    destination.at_head = True
    chunks = tuple(range(40))
    size = len(chunks) * bodies.chunk_bytes
    for count in range(1, 6):
        destination.script([*answer(413, b"too large"), Close()])
        pool.deliver(home.outgoing(destination.authority, chunks=chunks, body_size=size))
        call = (await home.settled(count))[-1]
        assert call.result is not None
        assert (call.result.status, call.result.failure) == (413, None)


async def test_stale_connection_under_a_large_body_starts_it_anew(
    pool: Pool, home: RecordingHome, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """The whole body is read and sent again from its first chunk."""
    pool.deliver(home.outgoing(destination.authority))
    await home.settled(1)
    chunks = tuple(range(12))
    size = len(chunks) * bodies.chunk_bytes
    destination.script([Close()])
    pool.deliver(home.outgoing(destination.authority, chunks=chunks, body_size=size))
    assert (await home.settled(2))[1].status == 200
    assert destination.requests[-1].body == b"".join(bodies.chunk(n) for n in chunks)
    assert pool.stale_retries == 1


async def test_body_that_cannot_be_read_back_fails_the_attempt(
    pool: Pool, home: RecordingHome, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """Damage in the log under one message does not take the others with it."""
    bodies.failing[1] = BodyUnavailable("bad checksum", passing=False)
    size = 3 * bodies.chunk_bytes
    pool.deliver(home.outgoing(destination.authority, chunks=(0, 1, 2), body_size=size))
    result = await failure_of(home)
    assert result.failure is Failure.BROKEN
    assert "cannot be read back" in result.detail
    pool.deliver(home.outgoing(destination.authority))
    assert (await home.settled(2))[1].status == 200


async def test_closing_abandons_attempts_without_a_call(
    pool: Pool, home: RecordingHome, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """Waiting, streaming, connecting, idle: all end and nobody is told; twice is harmless."""
    destination.script(answer(), [Wait(600)], [Wait(600)])
    pool.deliver(home.outgoing(destination.authority))
    await home.settled(1)
    pool.deliver(home.outgoing(destination.authority))
    await destination.received(2)
    size = 2 * bodies.chunk_bytes
    pool.deliver(home.outgoing(destination.authority, chunks=(0, 1), body_size=size))
    await destination.received(3)
    pool.deliver(home.outgoing(destination.authority))
    await pool.close()
    await pool.close()
    pool.deliver(home.outgoing(destination.authority))
    await asyncio.sleep(0.02)
    assert len(home.calls) == 1
    assert (pool.open_connections, pool.idle_connections, pool.in_flight) == (0, 0, 0)


async def test_connection_with_a_body_half_sent_is_never_kept(
    pool: Pool, home: RecordingHome, bodies: MemoryBodies
) -> None:
    """However early the answer comes: what is left of the body would be taken for a request."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                conn, _ = listener.accept()
            except OSError:
                return
            conn.recv(1000)
            conn.sendall(b"HTTP/1.1 400 No\r\nContent-Length: 3\r\n\r\nwhy")
            conn.close()

    unforeseen: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unforeseen.append(context))
    with listener:
        threading.Thread(target=serve, daemon=True).start()
        authority = f"127.0.0.1:{listener.getsockname()[1]}"
        size = 40 * bodies.chunk_bytes
        for count in range(1, 31):
            pool.deliver(home.outgoing(authority, chunks=tuple(range(40)), body_size=size))
            result = (await home.settled(count))[-1].result
            assert result is not None
            # asyncio's own loop may find that it cannot write before it finds the answer.
            assert result.status == 400 or not isinstance(asyncio.get_running_loop(), uvloop.Loop)
            assert pool.idle_connections == 0
        listener.shutdown(socket.SHUT_RDWR)
    assert unforeseen == []


class Transport(asyncio.Transport):
    """Takes what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        pass


async def test_request_with_a_large_body_is_not_written_before_its_body_is(pool: Pool) -> None:
    """From the first moment on, when the task that sends it has not begun."""
    home = RecordingHome()
    message = home.outgoing("127.0.0.1:1", chunks=(1, 2), body_size=10)
    for large, is_written in ((message, False), (home.outgoing("127.0.0.1:1", b"small"), True)):
        connection = Connection(message.destination, pool)
        connection.connection_made(Transport())
        connection.send(Attempt(large, 0.0, 1.0))
        assert connection.written is is_written


async def test_attempts_that_are_abandoned_lose_their_connections_and_nobody_is_told(
    pool: Pool, home: RecordingHome, destination: FakeDestination
) -> None:
    """One that hangs, one that is still being connected, and one that is over; others go on."""
    destination.script(answer(200, b""), [Wait(60)], [Wait(60)])
    over, hanging, other, opening = (home.outgoing(destination.authority) for _ in range(4))
    pool.deliver(over)
    await home.settled(1)
    pool.deliver(hanging)
    await destination.received(2)
    pool.deliver(other)
    await destination.received(3)
    pool.deliver(opening)
    pool.abandon({over, hanging, opening})
    assert pool.in_flight == 1
    await until(lambda: pool.open_connections == 1)
    pool.abandon({hanging})
    assert [call.message for call in home.calls] == [over]
    pool.abandon({other})
    await until(lambda: pool.open_connections == 0)
