"""One connection without a network: states, order of answers, and when reading stops."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from dispatcher.core.clock import Random
from dispatcher.core.keys import Keyring
from dispatcher.errors import Refusal
from dispatcher.ingress.config import IngressConfig
from dispatcher.ingress.connection import Connection
from dispatcher.ingress.outbox import MAX_WAITING
from dispatcher.ingress.shared import Shared
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.records.messages import encode_message
from dispatcher.queue.refusals import NO_VERDICT
from dispatcher.testing.ingress import MemoryAcceptor, MemoryTransport

BUSY = Refusal(503, "backlog_full", "Later.", retry_after_s=3)
STOPPING = Refusal(503, "shutting_down", "Later.", retry_after_s=3)
CONFIG = IngressConfig("", 0)


@dataclass(frozen=True, slots=True)
class Ready:
    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Fixed:
    """Draws this number (`Random`)."""

    drawn: float

    def uniform(self, a: float, b: float, /) -> float:
        assert a <= self.drawn <= b
        return self.drawn


class Caller:
    """A connection, what is behind it, and a clock to turn."""

    def __init__(
        self,
        *,
        config: IngressConfig = CONFIG,
        upload_at_once: bool = True,
        random: Random | None = None,
    ) -> None:
        self.now_s = 1000.0
        self.queue = MemoryAcceptor(at_once=False, upload_at_once=upload_at_once)
        ready = Ready(503, b'{"status": "disk_full"}')
        self.shared = Shared(self.queue, config, lambda: ready, lambda: self.now_s, random=random)
        self.connection = Connection(self.shared)
        self.transport = MemoryTransport()
        self.connection.connection_made(self.transport)

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            assert not self.transport.is_reading_paused
            self.connection.data_received(piece)

    def received(self) -> bytes:
        data = bytes(self.transport.written)
        self.transport.written.clear()
        return data

    def statuses(self) -> list[int]:
        """The statuses of the answers received since the last look, in order."""
        statuses = []
        data = self.received()
        while data:
            head, _, data = data.partition(b"\r\n\r\n")
            statuses.append(int(head.split(b" ")[1]))
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            data = data[int(length or 0) :]
        return statuses

    def later(self, seconds: float) -> None:
        self.shared.tick()
        self.connection.check(self.now_s)
        self.now_s += seconds
        self.shared.tick()
        self.connection.check(self.now_s)

    @property
    def is_over(self) -> bool:
        return self.transport.is_closing() or self.transport.is_eof_written


def request(
    body: bytes = b"", *lines: bytes, start: bytes = b"POST /x HTTP/1.1", length: int | None = None
) -> bytes:
    size = len(body) if length is None else length
    head = (start, b"Host: a", b"X-Dispatcher-Origin-Host: b", *lines, b"Content-Length: %d" % size)
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def chunked(*chunks: bytes) -> bytes:
    head = (
        b"POST /x HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: b\r\nTransfer-Encoding: chunked"
    )
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head + b"\r\n\r\n" + body + b"0\r\n\r\n"


def test_nothing_is_answered_before_the_message_is_durable() -> None:
    """The 202 is the queue's word, and carries the id."""
    caller = Caller()
    caller.send(request(b"body"))
    assert caller.queue.bodies == [b"body"]
    assert caller.received() == b""
    caller.queue.settle()
    assert b"X-Dispatcher-Message-Id: %028x\r\n" % 1 in caller.received()


@pytest.mark.parametrize("piece", [1, 2, 5, 50])
@pytest.mark.parametrize(
    "make", [lambda: request(b"one\r\n\r\ntwo"), lambda: chunked(b"one", b"two")]
)
def test_requests_arrive_in_pieces_of_any_size(make: Callable[[], bytes], piece: int) -> None:
    """How the network cuts a stream changes nothing."""
    whole, cut = Caller(), Caller()
    stream = make() * 3
    whole.send(stream)
    cut.send(*(stream[at : at + piece] for at in range(0, len(stream), piece)))
    assert len(cut.queue.bodies) == 3
    assert cut.queue.bodies == whole.queue.bodies
    assert [one.head for one in cut.queue.messages] == [one.head for one in whole.queue.messages]


def test_message_carries_what_the_queue_needs() -> None:
    """Destination, timeout, incarnation, sizes and time of acceptance."""
    caller = Caller()
    caller.send(request(b"body", b"X-Dispatcher-Timeout: 250"))
    (message,) = caller.queue.messages
    assert (message.timeout_ms, message.body_size) == (250, 4)
    assert str(message.destination) == "http://b"
    assert message.accepted_at > 1_600_000_000_000_000


def test_answers_keep_the_order_of_the_requests() -> None:
    """A refusal that is known at once waits for the 202s before it."""
    caller = Caller()
    bad = request(b"", b"X-Dispatcher-Timeout: 0")
    health = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    caller.send(request(b"1") + bad + health + request(b"2") + bad)
    assert caller.received() == b""
    caller.queue.settle(1)
    assert caller.statuses() == [202, 400, 200]
    caller.queue.settle(1)
    assert caller.statuses() == [202, 400]


def test_refusal_of_the_queue_is_passed_on() -> None:
    """Known before the body or after it: 503 with Retry-After, and the connection goes on."""
    caller = Caller()
    caller.queue.refusing = BUSY
    caller.send(request(b"body"))
    assert b"Retry-After: 3\r\n" in caller.received()
    assert caller.queue.messages == []
    caller.queue.refusing = None
    caller.send(request(b"body"))
    caller.queue.settle(refusal=BUSY)
    assert caller.statuses() == [503]
    caller.send(request(b"body"))
    caller.queue.settle()
    assert caller.statuses() == [202]
    assert caller.shared.refused == {"backlog_full": 2}


def test_small_body_of_a_refused_request_is_skipped() -> None:
    """The answer comes at once, the rest of the body is dropped, the next request is read."""
    caller = Caller()
    caller.send(request(b"abc", b"X-Dispatcher-Timeout: 0", length=10))
    assert caller.statuses() == [400]
    caller.send(b"defg", b"hij" + request(b"next"))
    assert caller.queue.bodies == [b"next"]
    assert not caller.is_over


@pytest.mark.parametrize(
    "stream",
    [
        request(b"abc", b"X-Dispatcher-Timeout: 0", length=300_000),
        chunked(b"abc").replace(b"-Host: b", b"-Host: b:0"),
        request(b"", b"Expect: 100-continue", b"X-Dispatcher-Timeout: 0", length=5),
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_connection_ends_when_the_end_of_a_refused_request_is_far_or_unknown(stream: bytes) -> None:
    """The answer says so, what still comes is dropped, and the socket lingers until it is read."""
    caller = Caller()
    caller.send(stream)
    answer = caller.received()
    assert b"\r\nConnection: close\r\n" in answer
    assert caller.transport.is_eof_written
    assert not caller.transport.is_closing()
    caller.send(request(b"not read"))
    assert caller.queue.messages == []
    caller.later(1.0)
    assert not caller.transport.is_closing()
    caller.later(1.5)
    assert caller.transport.is_closing()


def test_lingering_ends_even_when_bytes_keep_coming() -> None:
    """Ten seconds are enough for any caller that wants to see its answer."""
    caller = Caller()
    caller.send(b"bad\r\n\r\n")
    for _ in range(11):
        assert not caller.transport.is_closing()
        caller.send(b"x")
        caller.later(1.0)
    assert caller.transport.is_closing()


def test_continue_is_sent_when_the_body_is_wanted() -> None:
    """100 once the head is fine; then the answer as usual."""
    caller = Caller()
    caller.send(request(b"", b"Expect: 100-continue", length=4))
    assert caller.received() == b"HTTP/1.1 100 Continue\r\n\r\n"
    caller.send(b"body")
    assert caller.queue.bodies == [b"body"]
    caller.queue.settle()
    assert caller.statuses() == [202]


@pytest.mark.parametrize(
    "stream",
    [
        request(b"bo", b"Expect: 100-continue", length=4),
        request(b"", b"Expect: 100-continue"),
        request(b"", b"Expect: 100-continue", start=b"POST / HTTP/1.0", length=4),
    ],
)
def test_continue_is_not_sent_when_nobody_waits_for_it(stream: bytes) -> None:
    """Not when the body is coming already, when there is none, or to HTTP/1.0."""
    caller = Caller()
    caller.send(stream)
    assert caller.received() == b""


def test_continue_waits_for_the_answers_before_it() -> None:
    """A 100 in front of an earlier 202 would be taken for that request's."""
    caller = Caller()
    caller.send(request(b"1") + request(b"", b"Expect: 100-continue", length=4))
    assert caller.received() == b""
    caller.queue.settle()
    assert caller.statuses() == [202, 100]


@pytest.mark.parametrize("last", [b"\r\n", request(b"not read"), b""])
@pytest.mark.parametrize("start", [b"POST / HTTP/1.1", b"POST / HTTP/1.0"])
def test_connection_lingers_after_its_last_202(start: bytes, last: bytes) -> None:
    """What a caller still sends does not take the answer away from it: the sending side is closed
    first, and the socket when the caller has closed its own or was quiet for two seconds."""
    caller = Caller()
    caller.send(request(b"1", b"Connection: close", start=start))
    caller.queue.settle()
    assert caller.statuses() == [202]
    assert caller.transport.is_eof_written
    assert not caller.transport.is_closing()
    if last:
        caller.send(last)
        caller.later(1.9)
        assert not caller.transport.is_closing()
        caller.later(0.2)
        assert caller.transport.is_closing()
    else:
        assert caller.connection.eof_received() is False


@pytest.mark.parametrize("start", [b"POST / HTTP/1.1", b"GET / HTTP/1.0"])
def test_connection_lingers_after_its_last_refusal(start: bytes) -> None:
    """Also when the request is there to its end: an empty line after it, or another request, would
    reset the socket and take the refusal away."""
    caller = Caller()
    caller.queue.refusing = BUSY
    caller.send(request(b"1", b"Connection: close", start=start))
    assert caller.statuses() == [503]
    assert caller.transport.is_eof_written
    assert not caller.transport.is_closing()
    caller.send(b"\r\n")
    assert caller.connection.eof_received() is False


def test_connection_that_the_stop_ends_lingers_too() -> None:
    """The caller may have sent its next request before it read that there is no next."""
    caller = Caller()
    caller.send(request(b"1"))
    caller.shared.stopping = True
    caller.connection.end_soon()
    caller.queue.refusing = STOPPING
    caller.queue.settle()
    caller.send(request(b"too late"))
    assert caller.statuses() == [202]
    assert caller.transport.is_eof_written
    assert not caller.transport.is_closing()


@pytest.mark.parametrize("refusal", [None, STOPPING])
def test_answer_that_comes_after_the_end_does_no_harm(refusal: Refusal | None) -> None:
    """The connection was closed while the answer was owed: there is nothing left to close."""
    for stream in (request(b"1"), request(b"1", b"Connection: close")):
        caller = Caller()
        caller.send(stream)
        caller.shared.stopping = True
        caller.connection.end_soon()
        caller.connection.close()
        assert caller.transport.is_closing()
        caller.queue.settle(refusal=refusal)
        caller.connection.connection_lost(None)
        assert caller.shared.connections == set()


@pytest.mark.parametrize("start", [b"POST / HTTP/1.1", b"POST / HTTP/1.0"])
def test_connection_ends_after_its_last_request(start: bytes) -> None:
    """`Connection: close`, and HTTP/1.0 without keep-alive."""
    caller = Caller()
    caller.send(request(b"1", b"Connection: close", start=start) + request(b"not read"))
    assert not caller.is_over
    caller.queue.settle()
    assert b"\r\nConnection: close\r\n" in caller.received()
    assert caller.is_over
    assert caller.queue.bodies == [b"1"]


def test_connection_goes_on_when_an_http_1_0_caller_asks_for_it() -> None:
    """And the answer says so."""
    caller = Caller()
    for _ in range(2):
        caller.send(request(b"1", b"Connection: keep-alive", start=b"POST / HTTP/1.0"))
        caller.queue.settle()
        assert b"\r\nConnection: keep-alive\r\n" in caller.received()


def test_empty_lines_before_a_request_are_skipped_but_not_for_ever() -> None:
    """RFC 9112 section 2.2: some callers send CR LF after a body."""
    caller = Caller()
    for _ in range(3):
        caller.send(b"\r\n\r", b"\n" + request(b"1"))
    assert len(caller.queue.bodies) == 3
    caller.send(b"\r\n" * 5)
    caller.queue.settle()
    assert caller.statuses() == [202, 202, 202, 400]


def test_health_is_answered_without_an_origin() -> None:
    """`/healthz` says 200 while the process lives, `/readyz` what it was told; both only to GET and
    HEAD."""
    caller = Caller(config=replace(CONFIG, keys=Keyring.of_secrets(b"k")))
    for line in (
        b"GET /healthz",
        b"GET /readyz?probe=1",
        b"HEAD /healthz",
        b"POST /readyz",
        b"GET /x",
    ):
        caller.send(line + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b'{"status": "disk_full"}' in caller.transport.written
    assert bytes(caller.transport.written).count(b"405 Method Not Allowed") == 2
    assert caller.shared.refused == {"origin_missing": 2}


@pytest.mark.parametrize(
    ("path", "status", "length"), [(b"/healthz", b"200 OK", 17), (b"/readyz?x", b"503 ", 24)]
)
def test_health_is_answered_to_head_without_a_body(path: bytes, status: bytes, length: int) -> None:
    """As the API answers it: some load balancers ask so."""
    caller = Caller()
    caller.send(b"HEAD %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
    answer = caller.received()
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert answer.endswith(b"\r\nContent-Length: %d\r\n\r\n" % length)
    assert not caller.is_over


def test_answer_to_head_has_no_body() -> None:
    """Not even a refusal; its length is told nevertheless."""
    caller = Caller()
    caller.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", b"HEAD / HTTP/1.1\r\n\r\n")
    answers = caller.received().split(b"\r\n\r\n")
    assert [one[:12] for one in answers] == [b"HTTP/1.1 405", b"HTTP/1.1 400", b""]


@pytest.mark.parametrize("extra", [0, 1, 100_000])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_large_body_goes_into_the_log_in_chunks(extra: int, *, is_chunked: bool) -> None:
    """Pieces of exactly CHUNK_BYTES and a last one; up to CHUNK_BYTES it stays in memory."""
    caller = Caller()
    body = bytes(range(256)) * 3072 + b"x" * extra
    stream = chunked(body[:500_000], body[500_000:]) if is_chunked else request(body)
    caller.send(*(stream[at : at + 60_000] for at in range(0, len(stream), 60_000)))
    (upload,) = caller.queue.uploads
    assert caller.queue.bodies == [body]
    assert [len(chunk) for chunk in upload.chunks[:3]] == [CHUNK_BYTES] * 3
    assert len(upload.chunks) == 3 + (extra > 0)
    (message,) = caller.queue.messages
    assert (message.body, message.body_size) == (b"", len(body))
    assert b"Content-Length: %d\r\n" % len(body) in message.head
    for small in (request(body[:CHUNK_BYTES]), chunked(body[:CHUNK_BYTES])):
        caller.queue.settle()
        caller.send(small)
        assert caller.queue.bodies[-1] == body[:CHUNK_BYTES]
    assert len(caller.queue.uploads) == 1


def test_reading_stops_while_the_log_is_behind() -> None:
    """At most two chunks wait to be stored, so memory does not grow with the body."""
    caller = Caller(upload_at_once=False)
    caller.send(request(b"", length=10 * CHUNK_BYTES))
    sent = 0
    while sent < 10 * CHUNK_BYTES:
        if caller.transport.is_reading_paused:
            (upload,) = caller.queue.uploads
            assert upload.unstored_bytes == 2 * CHUNK_BYTES
            upload.store()
            continue
        sent += CHUNK_BYTES // 4
        caller.send(b"x" * (CHUNK_BYTES // 4))
    assert caller.queue.uploads[0].peak_unstored_bytes <= 2 * CHUNK_BYTES
    assert len(caller.queue.messages) == 1


@pytest.mark.parametrize("when", ["early", "last"])
def test_upload_that_cannot_be_stored_is_refused(when: str) -> None:
    """503, the upload is given up, the connection ends, and there is no message."""
    caller = Caller(upload_at_once=False)
    caller.send(request(b"x" * CHUNK_BYTES * 2, length=2 * CHUNK_BYTES + 5))
    (upload,) = caller.queue.uploads
    if when == "early":
        upload.refuse(BUSY)
    else:
        upload.store()
        upload.refusal = BUSY
        caller.send(b"x" * 5)
    assert caller.statuses() == [503]
    assert upload.is_aborted
    assert caller.is_over
    assert caller.queue.messages == []


@pytest.mark.parametrize("end", ["eof", "lost"])
def test_upload_is_given_up_when_the_caller_goes_away(end: str) -> None:
    """Half a request is nothing."""
    caller = Caller()
    caller.send(request(b"x" * 600_000, length=600_001))
    if end == "eof":
        assert caller.connection.eof_received() is False
    else:
        caller.connection.connection_lost(None)
    assert caller.queue.uploads[0].is_aborted
    assert caller.queue.messages == []


def test_chunked_body_is_refused_as_soon_as_it_is_too_large() -> None:
    """The size line of the chunk is enough; at the limit it is taken."""
    caller = Caller(config=replace(CONFIG, max_body=300_000))
    stream = chunked(b"x" * 150_000, b"y" * 150_000)
    caller.send(stream)
    assert len(caller.queue.messages) == 1
    caller.queue.settle()
    assert caller.statuses() == [202]
    caller.send(stream.removesuffix(b"0\r\n\r\n"), b"1\r\n")
    assert caller.statuses() == [413]
    assert len(caller.queue.uploads) == 2
    assert caller.queue.uploads[-1].is_aborted
    assert caller.is_over


def test_bad_chunk_is_refused_and_ends_the_connection() -> None:
    """400, whatever came before it."""
    caller = Caller()
    caller.send(chunked(b"abc").replace(b"3\r\n", b"3 \r\n"))
    assert caller.statuses() == [400]
    assert caller.is_over
    assert caller.queue.messages == []


def test_reading_stops_while_too_many_answers_are_owed() -> None:
    """The rest waits, and is taken when they were answered; nothing is lost or out of order."""
    caller = Caller()
    caller.send(b"".join(request(b"%d" % number) for number in range(3 * MAX_WAITING)))
    assert len(caller.queue.bodies) == MAX_WAITING
    assert caller.transport.is_reading_paused
    caller.queue.settle(MAX_WAITING - 1)
    assert len(caller.queue.bodies) == MAX_WAITING
    caller.queue.settle()
    assert len(caller.queue.bodies) == 3 * MAX_WAITING
    assert not caller.transport.is_reading_paused
    assert caller.queue.bodies == [b"%d" % number for number in range(3 * MAX_WAITING)]
    assert caller.statuses() == [202] * 3 * MAX_WAITING


def test_reading_stops_while_large_bodies_wait() -> None:
    """Few large requests are as many as many small ones."""
    caller = Caller()
    caller.send(request(b"x" * 200_000) * 3 + request(b"last")[:-1])
    assert len(caller.queue.bodies) == 2
    caller.queue.settle()
    assert len(caller.queue.bodies) == 3
    assert not caller.transport.is_reading_paused
    caller.send(b"t")
    assert caller.queue.bodies[3] == b"last"


def test_reading_stops_while_the_caller_does_not_read() -> None:
    """A caller that only asks makes no heap of answers; what it sent is taken when it reads."""
    caller = Caller()
    caller.connection.pause_writing()
    assert caller.transport.is_reading_paused
    caller.connection.data_received(request(b"1") + request(b"2"))
    assert caller.queue.bodies == []
    caller.connection.resume_writing()
    assert caller.queue.bodies == [b"1", b"2"]
    assert not caller.transport.is_reading_paused


def test_caller_that_closed_its_sending_side_still_gets_its_answers() -> None:
    """And the connection ends after the last."""
    caller = Caller()
    caller.send(request(b"1") + request(b"2") + request(b"half")[:-2])
    assert caller.connection.eof_received() is True
    caller.queue.settle(1)
    assert not caller.is_over
    caller.queue.settle()
    assert caller.statuses() == [202, 202]
    assert caller.transport.is_closing()
    assert caller.queue.bodies == [b"1", b"2"]


def test_connection_does_not_linger_for_a_caller_that_closed_its_sending_side() -> None:
    """There is nothing left that it could send: it is closed after the last answer."""
    caller = Caller()
    caller.send(request(b"1") + b"bad\r\n\r\n")
    assert caller.connection.eof_received() is True
    caller.queue.settle()
    assert caller.statuses() == [202, 400]
    assert caller.transport.is_closing()


def test_caller_that_closed_and_is_owed_nothing_is_closed() -> None:
    """Nothing is waited for."""
    assert Caller().connection.eof_received() is False


def test_receipts_after_the_caller_is_gone_go_nowhere() -> None:
    """The message stays accepted."""
    caller = Caller()
    caller.send(request(b"1") * 2)
    caller.connection.connection_lost(None)
    caller.queue.settle(1)
    caller.queue.settle(refusal=BUSY)
    assert caller.received() == b""
    assert caller.shared.connections == set()


@pytest.mark.parametrize("piece", [b"P", b"HEAD / HTTP/1.1\r\nHost: a\r\nX: "])
def test_slow_head_is_408(piece: bytes) -> None:
    """Ten seconds after its first byte, however many more bytes came meanwhile."""
    caller = Caller()
    caller.later(60)
    caller.send(piece)
    for _ in range(10):
        caller.later(1.0)
        caller.send(b"x")
    assert caller.received() == b""
    caller.later(0.5)
    answer = caller.received()
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert answer.endswith(b"\r\n\r\n") is piece.startswith(b"HEAD")
    assert caller.is_over


@pytest.mark.parametrize("quiet_s", [1, 29])
def test_stalled_body_is_408_but_a_slow_one_is_not(quiet_s: int) -> None:
    """Thirty seconds without a byte; a KiB a second is fast enough, in whatever pieces."""
    caller = Caller()
    caller.send(request(b"", length=200_000))
    for _ in range(120 // quiet_s):
        caller.later(quiet_s)
        caller.send(b"x" * 1024 * quiet_s)
    caller.later(29.5)
    assert caller.received() == b""
    caller.later(1)
    assert caller.statuses() == [408]
    assert caller.queue.messages == []


@pytest.mark.parametrize("start", [b"", b"x" * 100_000])
def test_body_that_drips_is_408(start: bytes) -> None:
    """A byte every twelve seconds would hold its memory for days: it is slower than a KiB a second
    for longer than it may be, however fast it began."""
    caller = Caller()
    caller.send(request(start, length=200_000))
    for _ in range(2):
        caller.later(12)
        caller.send(b"x")
    assert caller.received() == b""
    caller.later(12)
    assert caller.statuses() == [408]
    assert caller.queue.messages == []


def test_rest_of_a_refused_body_that_drips_ends_the_connection() -> None:
    """All of it has the time of one silence: a byte now and then keeps no connection."""
    caller = Caller()
    caller.send(request(b"", b"X-Dispatcher-Timeout: 0", length=200_000))
    assert caller.statuses() == [400]
    for _ in range(3):
        assert not caller.is_over
        caller.later(12)
        if not caller.is_over:
            caller.send(b"x")
    assert caller.is_over


def test_small_slow_body_is_taken() -> None:
    """Thirty seconds are enough for a caller with next to nothing to send."""
    caller = Caller()
    caller.send(request(b"", length=5))
    for _ in range(5):
        caller.later(5)
        caller.send(b"x")
    assert caller.queue.bodies == [b"xxxxx"]


def test_body_does_not_stall_while_we_are_the_ones_not_reading() -> None:
    """The log's slowness is not the caller's."""
    caller = Caller(upload_at_once=False)
    caller.send(request(b"x" * 2 * CHUNK_BYTES, length=2 * CHUNK_BYTES + 1))
    caller.later(100)
    assert caller.received() == b""
    caller.queue.uploads[0].store()
    caller.send(b"x")
    assert len(caller.queue.messages) == 1


def test_idle_connection_is_closed_without_an_answer() -> None:
    """75 seconds after the last request, or after connecting; not while an answer is owed."""
    caller = Caller()
    caller.later(74)
    caller.send(request(b"1"))
    caller.later(200)
    assert not caller.is_over
    caller.queue.settle()
    caller.send(request(b"", b"X-Dispatcher-Timeout: 0"))
    caller.later(74)
    assert not caller.is_over
    caller.later(2)
    assert caller.statuses() == [202, 400]
    assert caller.transport.is_closing()


def test_idle_connection_is_not_closed_early() -> None:
    """When a request came is known only as well as the time between two looks at the clock, which
    may be long on a busy machine: whoever closes connections a second before us must not find one
    closed."""
    caller = Caller()
    caller.now_s += 40  # since the last look
    caller.send(request(b"1"))
    caller.queue.settle()
    caller.later(74)
    assert not caller.is_over
    caller.later(2)
    assert caller.is_over


def test_refused_body_that_stalls_ends_the_connection() -> None:
    """It was answered already, so there is nothing more to say."""
    caller = Caller()
    caller.send(request(b"", b"X-Dispatcher-Timeout: 0", length=10))
    caller.later(31)
    assert caller.statuses() == [400]
    assert caller.transport.is_closing()


@pytest.mark.parametrize("cut", [60_000, 100])
def test_head_above_64_kib_is_431(cut: int) -> None:
    """In one piece or many; 64 KiB exactly are taken, in a thousand headers or one."""
    rest = 65536 - len(request(b"", b"X: "))
    fits = request(b"", b"X: " + b"x" * rest)
    many = request(b"", *(b"X-%d: y" % number for number in range(4000)))
    for good in (fits, many):
        caller = Caller()
        caller.send(*(good[at : at + cut] for at in range(0, len(good), cut)))
        assert len(caller.queue.messages) == 1
    for bad in (request(b"", b"X: x" + b"x" * rest), b"GET /" + b"x" * 70_000):
        caller = Caller()
        for at in range(0, len(bad), cut):
            caller.send(bad[at : at + cut])
        assert caller.statuses() == [431]
        assert caller.is_over


@pytest.mark.parametrize(
    "flaw", [b"GET / HTTP/1.1\nHost: a\n\n", b"GET / HTTP/1.1\r\nX: \0", b"A\rB"]
)
def test_flaw_in_an_unfinished_head_is_refused_at_once(flaw: bytes) -> None:
    """Nobody waits for an end that cannot come."""
    caller = Caller()
    caller.send(*(flaw[at : at + 1] for at in range(len(flaw) - 1)))
    caller.send(flaw[-1:])
    assert caller.statuses() == [400]


def test_stopping_closes_idle_connections_only() -> None:
    """Those under way end with their last answer, which says so."""
    idle, waiting = Caller(), Caller()
    waiting.send(request(b"1") + request(b"2") + request(b"half")[:-2])
    for caller in (idle, waiting):
        caller.shared.stopping = True
        caller.connection.end_soon()
        caller.queue.refusing = STOPPING
        caller.connection.retire()
    assert idle.transport.is_closing()
    waiting.queue.settle()
    first, second = waiting.received().split(b"HTTP/1.1 202 ")[1:]
    assert b"Connection" not in first
    assert b"\r\nConnection: close\r\n" in second
    assert waiting.is_over
    assert waiting.queue.bodies == [b"1", b"2"]


def test_requests_that_still_arrive_while_stopping_are_refused() -> None:
    """503 `shutting_down` and the end of the connection."""
    caller = Caller()
    caller.send(request(b"1")[:-1])
    caller.shared.stopping = True
    caller.connection.end_soon()
    caller.queue.refusing = STOPPING
    caller.connection.retire()
    assert not caller.is_over
    caller.send(request(b"1")[-1:])
    caller.queue.settle(refusal=STOPPING)
    answer = caller.received()
    assert b"\r\nConnection: close\r\n" in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"] == "shutting_down"
    assert caller.is_over


@pytest.mark.parametrize("spread", [0.8, 1.2])
def test_connection_ends_with_an_answer_when_its_time_is_over(spread: float) -> None:
    """Callers connect anew now and then, where a lifetime is set; not all of them at once."""
    caller = Caller(
        config=replace(CONFIG, lifetime_s=600.0, idle_timeout_s=1e9), random=Fixed(spread)
    )
    caller.later(600.0 * spread - 1)
    caller.send(request(b"1"))
    caller.queue.settle()
    assert b"Connection" not in caller.received()
    caller.later(1)
    assert not caller.is_over
    caller.send(request(b"2") + request(b"3"))
    caller.queue.settle()
    second, third = caller.received().split(b"HTTP/1.1 202 ")[1:]
    assert b"Connection" not in second
    assert b"\r\nConnection: close\r\n" in third
    assert caller.is_over
    assert caller.queue.bodies == [b"1", b"2", b"3"]


def test_connection_whose_time_is_over_does_not_end_within_a_request() -> None:
    """What has begun to arrive is taken, and its answer says that it is the last one."""
    config = replace(CONFIG, lifetime_s=600.0, idle_timeout_s=1e9)
    caller = Caller(config=config, random=Fixed(1.2))
    caller.later(719)
    caller.send(request(b"1")[:-1])
    caller.later(2)
    caller.send(request(b"1")[-1:])
    caller.queue.settle()
    assert b"Connection" not in caller.received()
    caller.later(1)
    caller.send(request(b"2"))
    caller.queue.settle()
    assert b"\r\nConnection: close\r\n" in caller.received()


def test_connection_without_a_lifetime_stays() -> None:
    """One process alone has nobody to share its callers with."""
    caller = Caller(config=replace(CONFIG, idle_timeout_s=1e9))
    caller.later(1e6)
    caller.send(request(b"1"))
    caller.queue.settle()
    assert b"Connection" not in caller.received()


def test_connections_above_the_limit_are_refused() -> None:
    """One more than allowed is told so and closed; the others go on."""
    caller = Caller(config=replace(CONFIG, max_connections=1))
    other, transport = Connection(caller.shared), MemoryTransport()
    other.connection_made(transport)
    assert transport.written.startswith(b"HTTP/1.1 503 ")
    assert b"too_many_connections" in transport.written
    caller.send(request(b"1"))
    assert len(caller.queue.messages) == 1


def test_connections_far_above_the_limit_are_told_and_closed_at_once() -> None:
    """Each that lingers takes a descriptor, and others need those. None is left without an
    answer."""
    caller = Caller(config=replace(CONFIG, max_connections=1))
    transports = [MemoryTransport() for _ in range(20)]
    for transport in transports:
        Connection(caller.shared).connection_made(transport)
    assert all(transport.written.startswith(b"HTTP/1.1 503 ") for transport in transports)
    closed = [transport.is_closing() for transport in transports]
    assert closed == [False] * 16 + [True] * 4


def test_message_is_accepted_while_the_clock_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a clock of its own may start before 1970; records begin there."""
    monkeypatch.setattr(time, "time_ns", lambda: -86_400_000_000_000)
    caller = Caller()
    caller.send(request(b"1"))
    assert [message.accepted_at for message in caller.queue.messages] == [0]
    assert encode_message(caller.queue.messages[0])


def test_caller_whose_message_has_no_verdict_is_cut_off() -> None:
    """A 503 would say that nothing was stored. Whoever sent more on the connection hears as little,
    and what comes of it later goes nowhere."""
    caller = Caller()
    caller.send(request(b"stored"), request(b"open"), request(b"behind"))
    caller.queue.settle(1)
    assert caller.statuses() == [202]
    caller.queue.settle(1, refusal=NO_VERDICT)
    assert caller.is_over
    assert caller.queue.bodies == [b"stored", b"open", b"behind"]
    caller.queue.settle(1)
    assert caller.received() == b""
    assert caller.shared.refused == {"no_verdict": 1}
