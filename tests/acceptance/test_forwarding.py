"""What arrives at the destination, byte for byte."""

from __future__ import annotations

import gzip
import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.acceptance.receiver import Receiver, Receivers, eventually
from tests.acceptance.running import forwarded, lines_of, metrics, quick
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import ORIGIN, Caller, ask, chunked, post, request

SETTINGS = {"DEFAULT_TIMEOUT": "10000"}


# The target


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/?",
        "/a?",
        "/a??b",
        "/a?b=2&a=1&b=2&&",
        "/%2F",
        "/%2f%41%7e",
        "/%zz",
        "/%",
        "/%00",
        "//",
        "//host/path",
        "/a//b///",
        "/..",
        "/../../etc/passwd",
        "/./a/../b/.",
        "/a;p=1;q",
        "/a\\b",
        "/\"<>{}|^`'",
        "/a?x=/../y?z",
        "/a:80@b",
        "/http://other/x",
        "/" + "long" * 2000,
    ],
)
def test_target_is_forwarded_byte_for_byte(
    server: ServerProcess, receiver: Receiver, target: str
) -> None:
    """Nothing is decoded, encoded, merged, resolved or sorted; below a base path neither."""
    one = forwarded(server, receiver, post(receiver.authority, path=target))
    assert one.head.split(b"\r\n")[0] == f"POST {target} HTTP/1.1".encode()
    one = forwarded(server, receiver, post(receiver.authority + "/base/", path=target))
    assert one.head.split(b"\r\n")[0] == f"POST /base{target} HTTP/1.1".encode()


@pytest.mark.parametrize(
    "target",
    ["/a b", "/a\tb", "/a\x01", "/a\x7f", "/\xe4", "/\x80", "/?q=\xff", "/a?b c", "/a\x00b"],
)
def test_target_with_blanks_controls_or_8_bit_bytes_is_400(
    server: ServerProcess, receiver: Receiver, target: str
) -> None:
    """They must be percent-encoded."""
    data = request(f"GET {target} HTTP/1.1", "Host: x", ORIGIN + receiver.authority)
    assert ask(server.listen, data).status == 400


@pytest.mark.parametrize("target", ["", "a", "?x", "host:80", "a/b", "*"])
def test_target_that_is_no_path_is_400(
    server: ServerProcess, receiver: Receiver, target: str
) -> None:
    """`*` is only for OPTIONS."""
    data = request(f"GET {target} HTTP/1.1", "Host: x", ORIGIN + receiver.authority)
    assert ask(server.listen, data).status == 400


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("http://other.example/p%2F?q", "/p%2F?q"),
        ("http://other.example", "/"),
        ("http://other.example?q=1", "/?q=1"),
        ("http://other.example/?", "/?"),
        ("https://user@other.example:8443//a/..", "//a/.."),
        ("HTTP://OTHER/x", "/x"),
    ],
)
def test_absolute_target_is_only_path_and_query(
    server: ServerProcess, receiver: Receiver, target: str, path: str
) -> None:
    """The origin header decides the destination, as for a proxy's clients."""
    data = request(f"GET {target} HTTP/1.1", "Host: other.example", ORIGIN + receiver.authority)
    one = forwarded(server, receiver, data)
    assert one.head.startswith(f"GET {path} HTTP/1.1\r\n".encode())
    assert one.headers["host"] == receiver.authority


# Headers


def test_request_is_forwarded_as_it_is(server: ServerProcess, receiver: Receiver) -> None:
    """The whole of it, each byte: order, spelling, duplicates, blanks, bytes that are no text."""
    data = request(
        "PUT /a?b HTTP/1.1",
        "aCCept: text/*;q=0.3, text/html",
        b"X-Bytes: \xff\xfe\x80\x81 caf\xe9",
        "x-dup: 2",
        "hOsT: dispatcher.example",
        "X-Dup: 1",
        "Content-Encoding: gzip",
        "content-LENGTH: 3",
        "X-DUP: 2",
        "X-Empty:",
        "X-No-Blank:value",
        "X-Blanks:   two  blanks\t ",
        ORIGIN + receiver.authority,
        "Authorization: Basic Og==",
        "Cookie: a=1; b=2",
        "Cookie: c=3",
        'Content-Type: text/plain; charset="x,y"',
        "!#$%&'*+-.^_`|~1a: token",
        body=b"\x1f\x8b\x00",
    )
    number = ask(server.listen, data).id
    (one,) = receiver.received()
    assert one.raw == request(
        "PUT /a?b HTTP/1.1",
        "aCCept: text/*;q=0.3, text/html",
        b"X-Bytes: \xff\xfe\x80\x81 caf\xe9",
        "x-dup: 2",
        f"Host: {receiver.authority}",
        "X-Dup: 1",
        "Content-Encoding: gzip",
        "content-LENGTH: 3",
        "X-DUP: 2",
        "X-Empty:",
        "X-No-Blank:value",
        "X-Blanks:   two  blanks\t ",
        "Authorization: Basic Og==",
        "Cookie: a=1; b=2",
        "Cookie: c=3",
        'Content-Type: text/plain; charset="x,y"',
        "!#$%&'*+-.^_`|~1a: token",
        f"X-Dispatcher-Message-Id: {number}",
        "X-Dispatcher-Attempt: 1",
        body=b"\x1f\x8b\x00",
    )


def test_nothing_is_added_but_two_headers(server: ServerProcess, receiver: Receiver) -> None:
    """No `User-Agent`, `Accept`, `Accept-Encoding` or `Connection` of our own."""
    one = forwarded(
        server, receiver, request("GET / HTTP/1.1", "Host: x", ORIGIN + receiver.authority)
    )
    assert lines_of(one) == [f"Host: {receiver.authority}".encode()]


@pytest.mark.parametrize(
    "header",
    [
        "Connection: keep-alive",
        "CONNECTION: Close",
        "Connection:",
        "Keep-Alive: timeout=5",
        "keep-alive: x",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: Basic Og==",
        "TE: trailers",
        "te: gzip",
        "Trailer: X-Sum",
        "Upgrade: websocket",
        "Expect: 100-continue",
        "X-Dispatcher-Message-Id: 0123",
        "X-Dispatcher-Attempt: 7",
        "x-dispatcher-callback-of: x",
        "X-Dispatcher-Outcome: delivered",
        "X-Dispatcher-Duplicate: true",
        "X-Dispatcher-Features: x",
        "X-DISPATCHER-KEY: secret",
        "X-Dispatcher-Timeout: 5000",
    ],
)
def test_headers_for_this_hop_and_for_the_dispatcher_are_taken_out(
    server: ServerProcess, receiver: Receiver, header: str
) -> None:
    """In any case of letters, and nothing else with them."""
    once = "Timeout" in header or "Expect" in header
    headers = [header] if once else [header, header.swapcase()]
    data = post(receiver.authority, "X-A: 1", *headers, "X-B: 2", body=b"x")
    one = forwarded(server, receiver, data)
    host = f"Host: {receiver.authority}".encode()
    assert lines_of(one) == [host, b"X-A: 1", b"X-B: 2", b"Content-Length: 1"]


@pytest.mark.parametrize(
    "connection",
    [
        ["X-Foo, x-bar"],
        ["X-Foo", "X-Bar"],
        ["close, X-FOO ,x-bar"],
        [",, x-foo,\tX-Bar,"],
    ],
)
def test_headers_named_by_connection_are_taken_out(
    server: ServerProcess, receiver: Receiver, connection: list[str]
) -> None:
    """Every one of them, wherever it stands and however often."""
    headers = ["X-Foo: 1", *(f"Connection: {one}" for one in connection), "x-bar: 2", "X-FOO: 3"]
    one = forwarded(server, receiver, post(receiver.authority, *headers, "X-Fool: 4", body=b"x"))
    host = f"Host: {receiver.authority}".encode()
    assert lines_of(one) == [host, b"X-Fool: 4", b"Content-Length: 1"]


@pytest.mark.parametrize(
    "named", ["Host", "Content-Length", "X-Dispatcher-Origin-Host", "Transfer-Encoding"]
)
def test_connection_cannot_name_away_what_is_needed(
    server: ServerProcess, receiver: Receiver, named: str
) -> None:
    """The destination still gets its name and the end of the body."""
    data = post(receiver.authority, f"Connection: {named}", body=b"body")
    one = forwarded(server, receiver, data)
    assert one.headers["host"] == receiver.authority
    assert bytes(one.body) == b"body"
    assert one.headers["x-dispatcher-attempt"] == "1"


def test_headers_that_look_similar_stay(server: ServerProcess, receiver: Receiver) -> None:
    """Only what has the whole prefix is the dispatcher's."""
    kept = ("X-Dispatcher: 1", "X-Dispatchers-Id: 2", "Keep: 3", "TEE: 4", "Via: 1.1 proxy")
    one = forwarded(server, receiver, post(receiver.authority, *kept))
    assert lines_of(one)[1:-1] == [header.encode() for header in kept]


# The length


def test_length_stays_at_its_place(server: ServerProcess, receiver: Receiver) -> None:
    """And so does a length of 0, for any method."""
    for method in ("GET", "DELETE", "POST"):
        headers = ("Content-Length: 0", "Host: x", "X-A: 1", ORIGIN + receiver.authority)
        one = forwarded(server, receiver, request(f"{method} / HTTP/1.1", *headers))
        host = f"Host: {receiver.authority}".encode()
        assert lines_of(one) == [b"Content-Length: 0", host, b"X-A: 1"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS", "PURGE"])
def test_body_is_forwarded_whatever_the_method(
    server: ServerProcess, receiver: Receiver, method: str
) -> None:
    """A body is a body."""
    one = forwarded(server, receiver, post(receiver.authority, body=b"b", method=method))
    assert bytes(one.body) == b"b"
    assert one.headers["content-length"] == "1"


@pytest.mark.parametrize(
    "body",
    [
        chunked(),
        chunked(b"a"),
        chunked(b"hello ", b"world", b"!"),
        chunked(b"\r\n0\r\n\r\n"),
        chunked(b"x", trailers=b"X-Sum: 1\r\nX-More: 2\r\n"),
        b"5;name=value\r\nhello\r\n0;last\r\n\r\n",
        b"00005\r\nhello\r\n000\r\n\r\n",
        b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_chunked_request_is_forwarded_with_a_length(
    server: ServerProcess, receiver: Receiver, body: bytes, method: str
) -> None:
    """Extensions and trailers were for this hop. The connection goes on with the next request."""
    origin = ORIGIN + receiver.authority
    first = ("Host: x", origin, "Transfer-Encoding: CHUNKED", "X-Z: 1")
    with Caller(server.listen) as caller:
        caller.send(request(f"{method} /1 HTTP/1.1", *first, body=body))
        caller.send(request("GET /2 HTTP/1.1", "Host: x", origin))
        assert caller.answer().id
        assert caller.answer().id
    one, two = sorted(receiver.received(2), key=lambda each: each.head.split()[1])
    content = bytes(one.body)
    assert one.headers["content-length"] == str(len(content))
    assert "transfer-encoding" not in one.headers
    assert content == _plain(body)
    assert two.head.startswith(b"GET /2 ")


def _plain(body: bytes) -> bytes:
    content = b""
    while True:
        line, _, body = body.partition(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        if not size:
            return content
        content, body = content + body[:size], body[size + 2 :]


# The body


@pytest.mark.parametrize("size", [1, 1024, 65_536, 262_143, 262_144, 262_145, 1_000_003])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_body_arrives_byte_for_byte(
    server: ServerProcess, receiver: Receiver, size: int, framing: str
) -> None:
    """Small or larger than what the log takes at once, in whatever pieces it comes; the connection
    goes on after it."""
    body = random.Random(size).randbytes(size)
    origin = ORIGIN + receiver.authority
    with Caller(server.listen) as caller:
        if framing == "length":
            caller.send(post(receiver.authority, body=body))
        else:
            step = max(size // 7, 1)
            pieces = [body[at : at + step] for at in range(0, size, step)]
            headers = ("Host: x", origin, "Transfer-Encoding: chunked")
            caller.send(request("POST / HTTP/1.1", *headers, body=chunked(*pieces)))
        number = caller.answer().id
        caller.send(request("GET /next HTTP/1.1", "Host: x", origin))
        assert caller.answer().id
    found = {one.headers["x-dispatcher-message-id"]: one for one in receiver.received(2)}
    assert bytes(found[number].body) == body
    assert found[number].headers["content-length"] == str(size)


def test_compressed_body_is_left_compressed(server: ServerProcess, receiver: Receiver) -> None:
    """Also one that is not what it says."""
    for body in (gzip.compress(b"x" * 10_000), b"not gzip at all"):
        data = post(receiver.authority, "Content-Encoding: gzip", body=body)
        one = forwarded(server, receiver, data)
        assert bytes(one.body) == body
        assert one.headers["content-encoding"] == "gzip"


def test_memory_does_not_grow_with_the_size_of_a_body(
    server: ServerProcess, receivers: Receivers
) -> None:
    """48 MiB in and out again, and the process stays small."""
    piece = bytes(range(256)) * 4096
    with receivers.open(keep_bodies=False) as receiver, Caller(server.listen) as caller:
        caller.send(post(receiver.authority, body=piece[: 1 << 19]))
        assert caller.answer().id
        receiver.received()
        before = _peak_kib(server)
        size = 48 * len(piece)
        headers = ("Host: x", ORIGIN + receiver.authority, f"Content-Length: {size}")
        caller.send(request("POST / HTTP/1.1", *headers))
        for _ in range(48):
            caller.send(piece)
        assert caller.answer().id
        assert receiver.received(2, timeout_s=60)[1].body_bytes == size
        assert _peak_kib(server) - before < 12 * 1024


def test_memory_does_not_grow_with_the_number_of_large_bodies(
    tmp_path: Path, receivers: Receivers
) -> None:
    """16 of 24 MiB come in at once, and then go out at once, each to a destination that begins to
    read late: the process stays below 200 MiB, half of what they are."""
    count, pieces, piece = 16, 96, bytes(range(256)) * 1024

    def upload(receiver: Receiver) -> str:
        headers = ("Host: x", ORIGIN + receiver.authority, f"Content-Length: {pieces * len(piece)}")
        with Caller(server.listen, timeout_s=60) as caller:
            caller.send(request("POST / HTTP/1.1", *headers))
            for _ in range(pieces):
                caller.send(piece)
            return caller.answer().id

    async def read(receiver: Receiver) -> None:
        receiver.fake.reading.set()

    settings = quick(WORKER=str(count), DEFAULT_TIMEOUT="60000")
    with ServerProcess(tmp_path, **settings) as server, ExitStack() as stack:
        late = [stack.enter_context(receivers.open(keep_bodies=False)) for _ in range(count)]
        for receiver in late:
            receiver.fake.reading.clear()
        with ThreadPoolExecutor(count) as pool:
            assert len(set(pool.map(upload, late))) == count
        eventually(lambda: metrics(server)['dispatcher_messages{state="in_flight"}'] == count)
        for receiver in late:
            receiver.run(read(receiver))
        for receiver in late:
            (one,) = receiver.received(timeout_s=60)
            assert one.body_bytes == pieces * len(piece)
            assert one.headers["x-dispatcher-attempt"] == "1"
        assert _peak_kib(server) < 200 * 1024


def _peak_kib(server: ServerProcess) -> int:
    with open(f"/proc/{server.pid}/status", encoding="ascii") as file:
        (line,) = [line for line in file if line.startswith("VmHWM:")]
    return int(line.split()[1])
