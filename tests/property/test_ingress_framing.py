"""Requests made by Hypothesis, cut anywhere, read by us and by h11.

h11 is the oracle: an independent reader of HTTP/1.1. Where it and we both accept, we have to agree
on every byte; and how the network cuts a stream never changes anything.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import h11
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.message import Message
from dispatcher.ingress.config import IngressConfig
from dispatcher.ingress.connection import Connection
from dispatcher.ingress.entrance import LISTENER, PROXY, Entrance
from dispatcher.ingress.pattern import MAX_MISSES
from dispatcher.ingress.shared import Shared
from dispatcher.testing.ingress import MemoryAcceptor, MemoryTransport

TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
HOP_BY_HOP = {
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"proxy-authorization",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"expect",
}


@dataclass(frozen=True, slots=True)
class Ready:
    status: int = 200
    body: bytes = b"{}"


@dataclass(frozen=True, slots=True)
class Made:
    """A request: its bytes, and the parts they were made of."""

    method: bytes
    target: bytes
    lines: list[bytes]
    is_chunked: bool
    body: bytes
    raw: bytes


token = st.text(TOKEN, min_size=1, max_size=8).map(str.encode)
target = st.binary(max_size=12).map(
    lambda raw: b"/" + bytes(byte for byte in raw if 0x21 <= byte <= 0x7E)
)
value = st.binary(max_size=12).map(
    lambda raw: bytes(byte for byte in raw if byte >= 0x20 and byte != 0x7F)
)
blank = st.sampled_from([b"", b" ", b"\t", b"  "])
plain_name = token.filter(
    lambda name: (
        name.lower() not in HOP_BY_HOP | {b"host", b"content-length", b"accept"}
        and not name.lower().startswith(b"x-dispatcher-")
    )
)
plain_line = st.tuples(plain_name, blank, value, blank).map(
    lambda parts: parts[0] + b":" + parts[1] + parts[2].strip() + parts[3]
)
special_line = st.sampled_from(
    [
        b"Connection: keep-alive",
        b"Connection: x-gone, Host ,content-length",
        b"X-Gone: 1",
        b"TE: trailers",
        b"Upgrade: h2c",
        b"keep-alive:5",
        b"Proxy-Authorization: x",
        b"X-Dispatcher-Timeout: 5",
        b"x-dispatcher-attempt:",
        b"Accept: */*",
    ]
)


@st.composite
def chunks_of(draw: st.DrawFn, body: bytes) -> bytes:
    """The body in chunks of any sizes, with extensions and trailers."""
    coded = b""
    at = 0
    while at < len(body):
        size = draw(st.integers(1, len(body) - at))
        spelled = draw(st.sampled_from([b"%x", b"%X", b"0%x", b"%x;a", b'%x;a="b"'])) % size
        coded += spelled + b"\r\n" + body[at : at + size] + b"\r\n"
        at += size
    return coded + b"0\r\n" + draw(st.sampled_from([b"", b"X-Trailer: y\r\n"])) + b"\r\n"


@st.composite
def requests(draw: st.DrawFn) -> Made:
    """A request that is not refused, and that does not end the connection."""
    method = draw(token.filter(lambda name: name != b"CONNECT"))
    path = draw(target)
    lines = draw(st.lists(plain_line | special_line, max_size=6, unique_by=bytes.lower))
    lines.insert(draw(st.integers(0, len(lines))), b"Host: caller")
    lines.insert(draw(st.integers(0, len(lines))), b"X-Dispatcher-Origin-Host: there:81")
    body = draw(st.binary(max_size=40))
    is_chunked = draw(st.booleans())
    coded = body
    if is_chunked:
        lines.insert(draw(st.integers(0, len(lines))), b"Transfer-Encoding: chunked")
        coded = draw(chunks_of(body))
    elif body or draw(st.booleans()):
        lines.insert(draw(st.integers(0, len(lines))), b"Content-Length: %d" % len(body))
    head = method + b" " + path + b" HTTP/1.1\r\n" + b"".join(line + b"\r\n" for line in lines)
    return Made(method, path, lines, is_chunked, body, head + b"\r\n" + coded)


def cut(stream: bytes, cuts: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(at % (len(stream) + 1) for at in cuts), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(edges) if start < end]


def take(
    pieces: Sequence[bytes], *, misses: int = 0, entrance: Entrance = LISTENER
) -> tuple[MemoryAcceptor, bytes]:
    """Send pieces to a connection, as if so many heads had differed from the one before: what the
    queue got, and what the caller was answered."""
    queue = MemoryAcceptor(at_once=False)
    shared = Shared(queue, IngressConfig("", 0), Ready, lambda: 0.0)
    shared.date = b""
    shared.accepted_start = b"HTTP/1.1 202 Accepted\r\nX-Dispatcher-Message-Id: "
    connection, transport = Connection(shared, entrance), MemoryTransport()
    connection.connection_made(transport)
    connection.exchange.heads.misses = misses
    for piece in pieces:
        connection.data_received(piece)
    queue.settle()
    return queue, bytes(transport.written)


def seen_by_h11(stream: bytes) -> list[tuple[h11.Request, bytes]]:
    """The whole requests that h11 reads, until it refuses one or wants more."""
    seen = []
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(stream)
    try:
        while isinstance(request := reader.next_event(), h11.Request):
            body = b""
            while isinstance(event := reader.next_event(), h11.Data):
                body += bytes(event.data)
            if not isinstance(event, h11.EndOfMessage):
                break
            seen.append((request, body))
            reader.send(h11.Response(status_code=202, headers=[(b"content-length", b"0")]))
            reader.send(h11.EndOfMessage())
            reader.start_next_cycle()
    except (h11.RemoteProtocolError, h11.LocalProtocolError):
        pass
    return seen


def expected_lines(made: Made) -> list[bytes]:
    """The rules for headers once more, in the plainest way."""
    named = {b"x-gone"} if any(b"x-gone," in line for line in made.lines) else set()
    expected = []
    has_length = False
    for line in made.lines:
        name = line.partition(b":")[0].lower()
        if name == b"host":
            expected.append(b"Host: there:81")
        elif name == b"transfer-encoding":
            expected.append(b"Content-Length: %d" % len(made.body))
            has_length = True
        elif name not in HOP_BY_HOP | named and not name.startswith(b"x-dispatcher-"):
            expected.append(line)
            has_length |= name == b"content-length"
    if not has_length and made.method in {b"POST", b"PUT", b"PATCH"}:
        expected.append(b"Content-Length: 0")
    return expected


@given(st.lists(requests(), min_size=1, max_size=4), st.lists(st.integers(0, 2000), max_size=8))
def test_requests_arrive_byte_for_byte_however_they_are_cut(
    made: list[Made], cuts: list[int]
) -> None:
    """What was made is what h11 reads, and what the queue gets."""
    stream = b"".join(one.raw for one in made)
    queue, answered = take(cut(stream, cuts))
    assert answered.count(b"HTTP/1.1 202 Accepted\r\n") == len(made)
    assert queue.bodies == [one.body for one in made]
    for one, message in zip(made, queue.messages, strict=True):
        start = one.method + b" " + one.target + b" HTTP/1.1"
        assert message.head == b"".join(line + b"\r\n" for line in (start, *expected_lines(one)))
    seen = seen_by_h11(stream)
    assert [body for _, body in seen] == queue.bodies[: len(seen)]
    for (request, _), message in zip(seen, queue.messages, strict=False):
        assert_same_request(request, message)


@given(st.lists(requests(), min_size=1, max_size=4), st.lists(st.integers(0, 2000), max_size=8))
def test_a_proxy_makes_the_same_messages_of_requests_that_name_their_host_in_the_target(
    made: list[Made], cuts: list[int]
) -> None:
    """However they are cut; that others came before on the connection changes nothing."""
    queue, answered = take([b"".join(one.raw for one in made)])
    stream = b"".join(to_proxy(one) for one in made)
    through, answered_there = take(cut(stream, cuts), entrance=PROXY)
    assert through.bodies == queue.bodies
    sent, sent_directly = (
        [(one.destination, one.head, one.timeout_ms) for one in found.messages]
        for found in (through, queue)
    )
    assert sent == sent_directly
    assert answered_there == answered


def to_proxy(made: Made) -> bytes:
    """The same request with its host in the target."""
    raw = made.raw.replace(b"X-Dispatcher-Origin-Host: there:81\r\n", b"", 1)
    start = made.method + b" "
    return start + b"http://there:81" + raw.removeprefix(start)


def assert_same_request(request: h11.Request, message: Message) -> None:
    """Method, target, and every header that is passed on are what h11 read."""
    start, *lines = message.head.split(b"\r\n")[:-1]
    assert start == bytes(request.method) + b" " + bytes(request.target) + b" HTTP/1.1"
    read = [(bytes(name), bytes(content)) for name, content in request.headers.raw_items()]
    for line in lines:
        name, _, content = line.partition(b":")
        if name.lower() not in {b"host", b"content-length"}:
            assert (name, content.strip(b" \t")) in read


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A stream of requests with some of its bytes changed, put in, or taken out."""
    stream = bytearray(
        b"".join(one.raw for one in draw(st.lists(requests(), min_size=1, max_size=3)))
    )
    bad = st.sampled_from(
        [b"\r", b"\n", b"\0", b" ", b"\t", b":", b"\r\n", b"0", b"1", b";", b"\xff", b""]
    )
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(stream)))
        stream[at : at + draw(st.integers(0, 2))] = draw(bad)
    return bytes(stream)


@given(damaged())
def test_damaged_requests_are_never_read_in_another_way(stream: bytes) -> None:
    """Smuggling needs two readers that disagree: what we accept, h11 reads alike or refuses."""
    queue, answered = take([stream])
    taken = iter(zip(queue.messages, queue.bodies, strict=True))
    statuses = re.findall(rb"HTTP/1\.1 (\d{3}) [A-Z]", answered)
    for status, (request, read) in zip(statuses, seen_by_h11(stream), strict=False):
        if status == b"202":
            message, body = next(taken)
            assert_same_request(request, message)
            assert body == read


@given(damaged() | st.binary(max_size=200), st.lists(st.integers(0, 2000), max_size=8))
def test_cuts_change_nothing_even_in_damaged_streams(stream: bytes, cuts: list[int]) -> None:
    """The same messages and the same answers, whatever the pieces."""
    whole, whole_answers = take([stream])
    pieces, pieces_answers = take(cut(stream, cuts))
    assert [one.head for one in pieces.messages] == [one.head for one in whole.messages]
    assert pieces.bodies == whole.bodies
    assert pieces_answers == whole_answers


@st.composite
def similar(draw: st.DrawFn) -> list[bytes]:
    """Requests of one caller: one head again and again, with other lengths, good ones and bad."""
    one = draw(requests().filter(lambda made: not made.is_chunked))
    lines = [line for line in one.lines if not line.startswith(b"Content-Length")]
    name = draw(st.sampled_from([b"Content-Length: ", b"content-length:", b"CONTENT-LENGTH:\t"]))
    at = draw(st.none() | st.integers(0, len(lines)))
    stream = []
    for _ in range(draw(st.integers(2, 5))):
        body = draw(st.binary(max_size=12))
        spelled = [b"0%d", b"%d ", b"+%d", b"%d,%d", b"%d_0", b"-%d", b" %d", b""]
        digits = draw(st.just(b"%d") | st.sampled_from(spelled)).replace(b"%d", b"%d" % len(body))
        here = list(lines)
        if at is not None:
            here.insert(at, name + digits)
        elif body:
            body = b""
        if draw(st.integers(0, 4)) == 0:
            here.append(draw(plain_line | special_line | st.just(b"Content-Length: 3")))
        path = draw(st.just(one.target) | target)
        head = one.method + b" " + path + b" HTTP/1.1\r\n" + b"".join(x + b"\r\n" for x in here)
        stream.append(head + b"\r\n" + body)
    return stream


@given(similar(), st.lists(st.integers(0, 2000), max_size=4))
def test_a_head_like_the_last_one_is_read_as_if_it_were_the_first(
    stream: list[bytes], cuts: list[int]
) -> None:
    """Comparing with the last head of a connection changes nothing but the time it takes."""
    for pieces in (stream, [b"".join(stream)], cut(b"".join(stream), cuts)):
        compared, compared_answers = take(pieces)
        read, read_answers = take(pieces, misses=MAX_MISSES)  # each head is read anew
        assert [one.head for one in compared.messages] == [one.head for one in read.messages]
        assert [one.timeout_ms for one in compared.messages] == [
            one.timeout_ms for one in read.messages
        ]
        assert compared.bodies == read.bodies
        assert compared_answers == read_answers
