"""Delivery over real sockets: the bytes that leave, and what every kind of answer comes to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random

import pytest

from dispatcher.core.clock import WallUs
from dispatcher.core.outcome import Failure
from dispatcher.core.verdict import Dead, Delivered, RetryAt, RetryPolicy, Verdict, decide
from dispatcher.delivery.config import DeliveryConfig
from dispatcher.delivery.pool import Pool
from dispatcher.testing.delivery import WIRE_ID, RecordingHome, Settled
from dispatcher.testing.destination import Close, FakeDestination, Reset, Send, Step, Wait, answer

LENIENT = {
    "lines end in LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "control byte": b"HTTP/1.1 200 OK\r\nSet-Cookie: a=\x01b\r\nContent-Length: 2\r\n\r\nok",
    "NUL": b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 2\r\n\r\nok",
    "CR within a value": b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nok",
    "blank after a size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2 \r\nok\r\n0\r\n\r\n",
    "chunks end in LF": b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\nok\n0\n\n",
    "length twice": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "length twice in one": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
    "length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "folded": b"HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "folded length": b"HTTP/1.1 200 OK\r\nContent-Length:\r\n 2\r\n\r\nok",
    "blank before a colon": b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
    "odd name": b"HTTP/1.1 200 OK\r\nf(oo: b\r\nContent-Length: 0\r\n\r\n",
    "HTTP/2": b"HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "two blanks": b"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n",
    "after an interim answer": b"HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\nContent-Length: 0\n\n",
}
"""Answers that the strict parser refuses and everybody else understands."""


@pytest.fixture
def home() -> RecordingHome:
    return RecordingHome()


@pytest.fixture
async def pool(home: RecordingHome) -> AsyncIterator[Pool]:
    pool = Pool(DeliveryConfig(default_timeout_ms=60_000))
    yield pool
    await pool.close()


@pytest.fixture
async def destination() -> AsyncIterator[FakeDestination]:
    async with FakeDestination() as destination:
        yield destination


async def deliver(
    pool: Pool,
    home: RecordingHome,
    destination: FakeDestination,
    *steps: Step,
    method: str = "POST",
) -> Settled:
    """Deliver one message to a destination that takes these steps."""
    destination.script(steps)
    pool.deliver(home.outgoing(destination.authority, b"ping", method=method))
    return (await home.settled(1))[0]


async def test_request_is_sent_byte_for_byte_with_the_two_headers_added(
    pool: Pool, home: RecordingHome, destination: FakeDestination
) -> None:
    """What leaves is the head as accepted, the id, the attempt, and the body; nothing else."""
    message = home.outgoing(
        destination.authority,
        b"\x00body\xff",
        method="PURGE",
        target="//a/%2F?",
        attempt=7,
        headers=[("x-DUP", "1"), ("X-Dup", "\xe9")],
    )
    pool.deliver(message)
    await home.settled(1)
    assert destination.requests[0].raw == (
        b"PURGE //a/%2F? HTTP/1.1\r\nHost: " + destination.authority.encode() + b"\r\n"
        b"x-DUP: 1\r\nX-Dup: \xe9\r\nContent-Length: 6\r\n"
        b"X-Dispatcher-Message-Id: " + WIRE_ID + b"\r\nX-Dispatcher-Attempt: 7\r\n\r\n"
        b"\x00body\xff"
    )


async def test_message_without_body_ends_with_the_blank_line(
    pool: Pool, home: RecordingHome, destination: FakeDestination
) -> None:
    """A GET gets no length and no body."""
    pool.deliver(home.outgoing(destination.authority, method="GET"))
    await home.settled(1)
    assert destination.requests[0].raw.endswith(b"X-Dispatcher-Attempt: 1\r\n\r\n")
    assert "content-length" not in destination.requests[0].headers


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 299])
async def test_a_2xx_is_delivered(
    pool: Pool, home: RecordingHome, destination: FakeDestination, status: int
) -> None:
    """Any 2xx counts, and its connection is kept."""
    body = b"" if status == 204 else b"fine"
    settled = await deliver(pool, home, destination, *answer(status, body, length=status != 204))
    assert (settled.status, settled.result) == (status, None)
    assert (pool.open_connections, pool.idle_connections, pool.in_flight) == (1, 1, 0)


@pytest.mark.parametrize("status", [300, 301, 304, 400, 404, 408, 425, 429, 500, 501, 503, 599])
async def test_another_status_fails_with_the_response_described(
    pool: Pool, home: RecordingHome, destination: FakeDestination, status: int
) -> None:
    """The status, the wish to be left alone and the start of the body come back; no `failure`."""
    body = b"" if status == 304 else b"x" * 2000
    steps = answer(status, body, ("Retry-After", "17"), length=status != 304)
    result = (await deliver(pool, home, destination, *steps)).result
    assert result is not None
    assert (result.status, result.failure, result.retry_after) == (status, None, b"17")
    assert result.response_start == body[:1024]
    assert result.detail == f"http_{status}"
    assert 0 <= result.duration_ms < 3000
    assert pool.idle_connections == 1


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(
            [Send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), Wait(0.01),
             Send(b"5;ext=1\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n")],
            id="chunked",
        ),
        pytest.param(
            [Send(b"HTTP/1.1 100 Continue\r\n\r\n"), Wait(0.01),
             Send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"), *answer(200, b"ok")],
            id="interim answers",
        ),
        pytest.param(
            [step for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!" for step in
             (Send(bytes([byte])), Wait(0.0005))],
            id="byte by byte",
        ),
        pytest.param([Send(b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n")], id="no reason phrase"),
        pytest.param(
            answer(200, b"ok", ("Connection", "Upgrade, Keep-Alive"), ("Upgrade", "h2c")),
            id="upgrade offered",
        ),
    ],
)  # fmt: skip
async def test_unusual_2xx_is_delivered_and_its_connection_kept(
    pool: Pool, home: RecordingHome, destination: FakeDestination, steps: list[Step]
) -> None:
    """What is valid HTTP/1.1 is understood, however it is cut into packets."""
    settled = await deliver(pool, home, destination, *steps)
    assert settled.status == 200
    assert pool.idle_connections == 1


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(answer(200, b"ok", ("Connection", "close")), id="close"),
        pytest.param([Send(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")], id="HTTP/1.0"),
        pytest.param([*answer(200, b"ok"), Send(b"HTTP/1.1 500 Ha\r\n\r\n")], id="a second answer"),
        pytest.param([Send(b"HTTP/1.1 200 OK\r\n\r\nbody"), Close()], id="until the close"),
        pytest.param([Send(b"HTTP/1.0 200 OK\r\n\r\n"), Close()], id="HTTP/1.0, empty"),
    ],
)
async def test_2xx_that_ends_its_connection_is_delivered_and_the_connection_dropped(
    pool: Pool, home: RecordingHome, destination: FakeDestination, steps: list[Step]
) -> None:
    """Only a connection that is certainly at a message boundary is used again."""
    joined: list[Step] = [Send(b"".join(step.data for step in steps if isinstance(step, Send)))]
    joined += [step for step in steps if not isinstance(step, Send)]
    settled = await deliver(pool, home, destination, *joined)
    assert settled.status == 200
    assert pool.idle_connections == 0
    pool.deliver(home.outgoing(destination.authority))
    await home.settled(2)
    assert destination.connections == 2
    assert pool.stale_retries == 0


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 10\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
async def test_answer_to_head_has_no_body_whatever_its_headers_say(
    pool: Pool, home: RecordingHome, destination: FakeDestination, data: bytes
) -> None:
    """It is complete with its head, and the next answer on the connection is read right."""
    await deliver(pool, home, destination, Send(data), method="HEAD")
    assert pool.idle_connections == 1
    destination.script(answer(200, b"body"))
    pool.deliver(home.outgoing(destination.authority, method="GET"))
    calls = await home.settled(2)
    assert calls[1].status == 200
    assert destination.connections == 1


@pytest.mark.parametrize(
    ("steps", "failure", "status"),
    [
        ([Close()], Failure.CONNECTION, None),
        ([Reset()], Failure.CONNECTION, None),
        ([Send(b"HTTP/1.1 20"), Close()], Failure.BROKEN, None),
        ([Send(b"HTTP/1.1 20"), Wait(0.2), Reset()], Failure.BROKEN, None),
        ([Send(b"HTTP/1.1 100 Continue\r\n\r\n"), Close()], Failure.BROKEN, None),
        ([Send(b"SSH-2.0-OpenSSH_9.2\r\n")], Failure.BROKEN, None),
        ([Send(b"HTTP/1.1 200 OK\nContent-Length: 1\nContent-Length: 2\n\nxx")],
         Failure.BROKEN, None),
        ([Send(b"HTTP/1.1 2000 OK\r\n\r\n")], Failure.BROKEN, None),
        ([Send(b"HTTP/1.1 099 Odd\r\n\r\n")], Failure.BROKEN, None),
        ([Send(b"HTTP/1.1 101 Sure\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")],
         Failure.BROKEN, None),
        ([Send(b"HTTP/1.1 101 Sure\r\n\r\n")], Failure.BROKEN, None),
        ([Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"), Close()],
         Failure.BROKEN, 200),
        ([Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"), Wait(0.2), Reset()],
         Failure.BROKEN, 200),
        ([Send(b"HTTP/1.1 200 OK\r\n\r\nuntil the close"), Wait(0.2), Reset()],
         Failure.BROKEN, 200),
        ([Send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"), Close()],
         Failure.BROKEN, 200),
        ([Send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxx\r\n")],
         Failure.BROKEN, 200),
        ([Send(b"HTTP/1.1 503 Busy\r\nContent-Length: 9\r\n\r\nshort"), Close()],
         Failure.BROKEN, 503),
        ([Send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx")],
         Failure.BROKEN, None),
        ([Send(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n")],
         Failure.BROKEN, None),
        ([Send(b"HTTP/1.1 103 Hint\r\n\r\n" * 5000)], Failure.BROKEN, None),
    ],
)  # fmt: skip
async def test_broken_answer_fails_and_its_connection_is_dropped(
    pool: Pool,
    home: RecordingHome,
    destination: FakeDestination,
    steps: list[Step],
    failure: Failure,
    status: int | None,
) -> None:
    """The row of each way an answer can break; the status is told where a head was read."""
    result = (await deliver(pool, home, destination, *steps)).result
    assert result is not None
    assert (result.failure, result.status) == (failure, status)
    assert result.was_sent
    assert result.detail
    assert pool.idle_connections == 0
    assert len(home.calls) == 1
    assert len(destination.requests) == 1


@pytest.mark.parametrize("upgrade", [b"", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"])
async def test_switch_of_protocols_that_nobody_asked_for_says_so(
    pool: Pool, home: RecordingHome, destination: FakeDestination, upgrade: bytes
) -> None:
    """Also when more of the other protocol follows; in words, and with nothing unforeseen."""
    unforeseen: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unforeseen.append(context))
    data = b"HTTP/1.1 101 Switching Protocols\r\n" + upgrade + b"\r\nPRI * HTTP/2.0\r\n\r\n"
    result = (await deliver(pool, home, destination, Send(data))).result
    assert result is not None
    assert (result.failure, result.status) == (Failure.BROKEN, None)
    assert result.detail == "101 Switching Protocols, which was not asked for"
    assert unforeseen == []


@pytest.mark.parametrize("data", LENIENT.values(), ids=LENIENT.keys())
async def test_2xx_in_a_spelling_of_its_own_is_delivered_once_and_its_connection_dropped(
    pool: Pool, home: RecordingHome, destination: FakeDestination, data: bytes
) -> None:
    """The destination has the message and said so."""
    settled = await deliver(pool, home, destination, Send(data), Wait(0.3))
    assert settled.status == 200
    assert pool.idle_connections == 0
    assert len(destination.requests) == 1


async def test_two_mebibytes_of_body_are_not_all_read_and_the_status_counts(
    pool: Pool, home: RecordingHome, destination: FakeDestination
) -> None:
    """After 1 MiB the connection is closed; that the rest never comes does not matter."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"
    settled = await deliver(pool, home, destination, Send(head + b"x" * (1 << 20)), Wait(600))
    assert settled.status == 200
    assert pool.idle_connections == 0


async def test_body_of_just_below_a_mebibyte_has_to_be_complete(
    pool: Pool, home: RecordingHome, destination: FakeDestination
) -> None:
    """One byte less than the limit, then the end: cut short."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"
    settled = await deliver(pool, home, destination, Send(head + b"x" * 0xFFFFF), Close())
    assert settled.result is not None
    assert settled.result.failure is Failure.BROKEN


def verdict(settled: Settled, *, ack_any: bool) -> Verdict:
    """What follows from a failure (see `core.verdict`)."""
    assert settled.result is not None
    policy = RetryPolicy(2, 1000, 60_000, ack_any_response=ack_any)
    return decide(settled.result, 1, policy, WallUs(0), Random(1))


@pytest.mark.parametrize(
    ("steps", "status", "otherwise"),
    [
        (answer(500, b"oh"), 500, RetryAt),
        (answer(404), 404, Dead),
        ([Send(b"HTTP/1.1 500 Oh\r\nContent-Length: 9\r\n\r\nshort"), Close()], 500, RetryAt),
        ([Send(b"HTTP/1.1 302 Go\r\nContent-Length: 9\r\n\r\nshort"), Wait(600)], 302, Dead),
        ([Send(b"HTTP/1.1 400 No\r\n\r\nwhy"), Wait(0.1), Reset()], 400, Dead),
        ([Send(b"HTTP/1.1 429 No\r\n\r\nwhy"), Wait(0.1), Reset()], 429, RetryAt),
        ([Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"), Close()], 200, RetryAt),
        ([Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"), Wait(600)], 200, RetryAt),
    ],
)
async def test_any_response_counts_when_asked_for(
    home: RecordingHome,
    destination: FakeDestination,
    steps: list[Step],
    status: int,
    otherwise: type[Verdict],
) -> None:
    """With ACK_ANY_RESPONSE a head is enough, however the rest ends. The pool says what came, and
    one place decides: a response that broke off is a failure where it is not asked for."""
    pool = Pool(DeliveryConfig(default_timeout_ms=1000))
    settled = await deliver(pool, home, destination, *steps)
    assert settled.result is not None
    assert settled.result.status == status
    assert isinstance(verdict(settled, ack_any=True), Delivered)
    assert isinstance(verdict(settled, ack_any=False), otherwise)
    await pool.close()


async def test_no_response_does_not_count_even_when_any_would(
    pool: Pool, home: RecordingHome, destination: FakeDestination
) -> None:
    """ACK_ANY_RESPONSE is about responses: a closed connection is none, nor is gibberish."""
    destination.script([Close()], [Send(b"gibberish\r\n\r\n")])
    pool.deliver(home.outgoing(destination.authority))
    await home.settled(1)
    pool.deliver(home.outgoing(destination.authority))
    calls = await home.settled(2)
    failures = [call.result and call.result.failure for call in calls]
    assert failures == [Failure.CONNECTION, Failure.BROKEN]
    assert all(isinstance(verdict(call, ack_any=True), RetryAt) for call in calls)
