"""The bytes of bodies that all connections hold are bounded, and every one is given back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random

import pytest

from dispatcher.core.keys import Keyring
from dispatcher.ingress.connection import Connection
from dispatcher.ingress.memory import MAX_MEMORY_BYTES, Held, Memory
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.testing.ingress import MemoryTransport
from tests.unit.test_ingress_connection import BUSY, CONFIG, STOPPING, Caller, chunked, request

MAX_BODY = 5 * CHUNK_BYTES


class Crowd(Caller):
    """Many callers of one listener, with memory for `max_bytes`."""

    def __init__(
        self, max_bytes: int, *, upload_at_once: bool = True, keys: tuple[bytes, ...] = ()
    ) -> None:
        config = replace(CONFIG, max_body=MAX_BODY, keys=Keyring.of_secrets(*keys))
        super().__init__(config=config, upload_at_once=upload_at_once)
        self.memory = self.shared.memory
        self.memory.max_bytes = max_bytes
        self.turns: list[Callable[[], None]] = []
        self.shared.call_soon = self.turns.append

    def connect(self) -> tuple[Connection, MemoryTransport]:
        connection, transport = Connection(self.shared), MemoryTransport()
        connection.connection_made(transport)
        return connection, transport

    def go_on(self) -> None:
        while self.turns:
            self.turns.pop(0)()

    def catch_up(self) -> None:
        """Let the log and the loop do all that is to be done."""
        before = -1
        while before != len(self.queue.messages):
            before = len(self.queue.messages)
            for upload in self.queue.uploads:
                upload.store()
            self.queue.settle()
            self.go_on()


def test_bound_leaves_room_for_fifty_uploads() -> None:
    """256 MiB; an upload has at most two chunks on their way and one that is not whole."""
    assert Memory().max_bytes == MAX_MEMORY_BYTES == 256 * 2**20
    assert 50 * 3 * CHUNK_BYTES < MAX_MEMORY_BYTES / 4


@pytest.mark.parametrize("make", [lambda size: request(b"", length=size), lambda size: chunked()])
def test_body_that_would_grow_is_refused_when_there_is_no_room(
    make: Callable[[int], bytes],
) -> None:
    """503 `overloaded` with Retry-After and the end of the connection; others keep what they have,
    and when there is room again they go on."""
    crowd = Crowd(100_000)
    is_chunked = b"chunked" in make(1)
    first, _ = crowd.connect()
    start = b"15f90\r\n" if is_chunked else b""
    first.data_received(make(90_001).removesuffix(b"0\r\n\r\n") + start + b"x" * 90_000)
    assert crowd.memory.held_bytes == 90_000
    refused, transport = crowd.connect()
    start = b"2711\r\n" if is_chunked else b""
    refused.data_received(make(10_001).removesuffix(b"0\r\n\r\n") + start + b"y" * 10_000)
    assert transport.written == b""
    refused.data_received(b"y")
    head, _, body = bytes(transport.written).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: 1\r\n" in head
    assert b"\r\nConnection: close\r\n" in head
    assert json.loads(body)["error"] == "overloaded"
    assert transport.is_eof_written
    assert crowd.shared.refused == {"overloaded": 1}
    assert crowd.memory.held_bytes == 90_000
    first.data_received(b"\r\n1\r\nx\r\n0\r\n\r\n" if is_chunked else b"x")
    assert crowd.queue.bodies == [b"x" * 90_001]


def test_requests_in_one_piece_need_no_memory() -> None:
    """The queue is asked about each of them; so are health checks answered when memory is full."""
    crowd = Crowd(0)
    crowd.send(request(b"x" * 1000))
    crowd.send(request() + b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    crowd.queue.settle()
    assert crowd.statuses() == [202, 202, 200]
    crowd.send(request(b"x", length=2))
    assert crowd.statuses() == [503]


def test_ten_thousand_unfinished_bodies_are_bounded_together() -> None:
    """Each below what is streamed, so that nothing else counts them."""
    crowd = Crowd(50 * 100_000)
    callers = [crowd.connect() for _ in range(100)]
    for connection, _ in callers:
        connection.data_received(request(b"x" * 100_000, length=200_000))
        assert crowd.memory.held_bytes <= crowd.memory.max_bytes
    assert crowd.shared.refused == {"overloaded": 50}
    assert crowd.memory.held_bytes == 50 * 100_000
    for connection, _ in callers:
        connection.connection_lost(None)
    assert crowd.memory.held_bytes == 0


def test_uploads_count_what_is_not_durable() -> None:
    """And stop counting it when it is; so fifty of any length are never refused."""
    crowd = Crowd(50 * 3 * CHUNK_BYTES, upload_at_once=False)
    callers = [crowd.connect() for _ in range(50)]
    for connection, _ in callers:
        connection.data_received(request(b"", length=MAX_BODY))
    for _ in range(MAX_BODY // (CHUNK_BYTES // 4)):
        for at, (connection, transport) in enumerate(callers):
            if transport.is_reading_paused:
                upload = crowd.queue.uploads[at]
                assert upload.unstored_bytes == 2 * CHUNK_BYTES
                upload.store()
            connection.data_received(b"x" * (CHUNK_BYTES // 4))
    assert len(crowd.queue.messages) == 50
    assert crowd.shared.refused == {}
    crowd.queue.settle()
    assert crowd.memory.held_bytes == 0


@pytest.mark.parametrize("upload_at_once", [False, True])
def test_uploads_count_exactly_what_is_held(*, upload_at_once: bool) -> None:
    """Chunks until they are durable, then what is not a chunk yet; all that is left of it while
    the message itself is stored."""
    crowd = Crowd(10 * CHUNK_BYTES, upload_at_once=upload_at_once)
    crowd.connection.data_received(UPLOAD)
    (upload,) = crowd.queue.uploads
    assert crowd.memory.held_bytes == 5 + upload.unstored_bytes
    upload.store()
    assert crowd.memory.held_bytes == 5
    crowd.connection.data_received(b"x" * 4)
    assert crowd.queue.messages
    assert crowd.memory.held_bytes == upload.unstored_bytes == (0 if upload_at_once else 9)
    crowd.queue.settle()
    assert crowd.memory.held_bytes == 0


def test_body_counts_until_it_is_durable_even_if_the_caller_is_gone() -> None:
    """Bodies that are whole are in memory too, until the log has them: those of callers who were
    let in before the disk became slow are not more than the others."""
    crowd = Crowd(10_000)
    for refusal in (None, BUSY):
        connection, _ = crowd.connect()
        connection.data_received(request(b"x" * 9000, length=9001))
        connection.data_received(b"x")
        assert crowd.queue.bodies[-1] == b"x" * 9001
        connection.connection_lost(None)
        assert crowd.memory.held_bytes == 9001
        crowd.queue.settle(refusal=refusal)
        assert crowd.memory.held_bytes == 0


def test_pipelined_bytes_that_wait_count() -> None:
    """They are bodies of requests that nobody has looked at; above the bound the next request is
    refused, after the answers that are owed."""
    crowd = Crowd(1000)
    one = request(b"x" * 10)
    crowd.send(one * 64 + one * (1000 // len(one)))
    assert crowd.memory.held_bytes == len(one) * (1000 // len(one))
    crowd.queue.settle(64)
    assert crowd.memory.held_bytes == 0
    crowd.queue.settle()
    assert set(crowd.statuses()) == {202}
    crowd.send(one * 64 + one * (1000 // len(one) + 1))
    assert crowd.memory.held_bytes == 0
    crowd.queue.settle()
    assert crowd.statuses() == [202] * 64 + [503]
    assert crowd.is_over


def test_chunks_that_wait_for_their_turn_count() -> None:
    """Their sizes and line ends too: they are in memory."""
    stream = chunked(*[b"x"] * 2000)
    crowd = Crowd(20_000)
    crowd.send(stream)
    assert 5000 < crowd.memory.held_bytes < len(stream)
    crowd.go_on()
    assert crowd.memory.held_bytes == 2000
    crowd.queue.settle()
    assert crowd.memory.held_bytes == 0
    crowd.memory.max_bytes = 5000
    crowd.send(stream)
    assert crowd.statuses() == [202, 503]
    crowd.go_on()
    assert crowd.memory.held_bytes == 0


def test_slowest_body_gives_way_when_memory_is_short() -> None:
    """Those who came first and send next to nothing do not keep others out: 503, the slowest
    first, and no more of them than it takes."""
    crowd = Crowd(160_000)
    slow = [crowd.connect() for _ in range(16)]
    for number, (connection, _) in enumerate(slow):
        connection.data_received(request(b"x" * (9_000 + 10 * number), length=20_000))
    crowd.later(20)
    honest, transport = crowd.connect()
    honest.data_received(request(b"y" * 19_999, length=20_000))
    given_way = [bool(other.written) for _, other in slow]
    assert given_way == [True] * 2 + [False] * 14
    assert b"503 Service Unavailable" in slow[0][1].written
    assert crowd.shared.refused == {"overloaded": 2}
    assert transport.written == b""
    honest.data_received(b"y")
    assert crowd.queue.bodies == [b"y" * 20_000]


def test_body_that_waits_for_the_log_does_not_give_way() -> None:
    """It is not slow, we are; then who comes is refused, as there is nothing else to be done."""
    crowd = Crowd(3 * CHUNK_BYTES, upload_at_once=False)
    waiting, transport = crowd.connect()
    waiting.data_received(request(b"x" * 2 * CHUNK_BYTES, length=MAX_BODY))
    assert transport.is_reading_paused
    crowd.later(60)
    late, refused = crowd.connect()
    late.data_received(request(b"y" * CHUNK_BYTES, length=CHUNK_BYTES + 1))
    assert transport.written == b""
    one_more, _ = crowd.connect()
    one_more.data_received(request(b"z" * CHUNK_BYTES, length=CHUNK_BYTES + 1))
    assert transport.written == b""
    assert crowd.shared.refused == {"overloaded": 1}
    assert refused.written == b""


class Counted:
    """A connection that counts how often it is looked at."""

    def __init__(self) -> None:
        self.looked_at = 0

    def rate_in(self, memory: Memory, now_s: float) -> float | None:
        self.looked_at += 1
        return None

    def give_way(self) -> None:
        """There is nothing to refuse."""

    forget_heads = end_soon = retire = close = abort = give_way

    def check(self, now_s: float) -> None:
        """Nothing takes long."""


def test_nobody_is_looked_for_again_and_again() -> None:
    """Ten thousand connections take time to look at, and a refused caller may ask often."""
    crowd = Crowd(10_000)
    other = Counted()
    crowd.shared.connections.add(other)
    for _ in range(10):
        connection, _ = crowd.connect()
        connection.data_received(request(b"x" * 10_001, length=20_000))
    assert other.looked_at == 1
    crowd.later(1)
    connection, _ = crowd.connect()
    connection.data_received(request(b"x" * 10_001, length=20_000))
    assert other.looked_at == 2


def test_unfinished_heads_are_counted() -> None:
    """Apart from bodies, so that neither keeps the other out; what is whole or gone is no more."""
    crowd = Crowd(0)
    heads = crowd.shared.head_memory
    head = request(b"", b"X-Long: " + b"x" * 20_000)
    crowd.send(head[:1000], head[1000:15_000])
    assert heads.held_bytes == 15_000
    crowd.send(head[15_000:])
    assert (heads.held_bytes, len(crowd.queue.messages)) == (0, 1)
    for end in (_lose, lambda crowd: crowd.later(11), lambda crowd: _send(b"\n")(crowd)):
        other = Crowd(0)
        other.send(head[:1000])
        end(other)
        assert other.shared.head_memory.held_bytes == 0


def test_slowest_head_gives_way_when_memory_is_short() -> None:
    """And it is refused when it is the slowest itself: 503, with the end of the connection."""
    crowd = Crowd(0)
    heads = crowd.shared.head_memory
    heads.max_bytes = 10_000
    slow, transport = crowd.connect()
    slow.data_received(request(b"", b"X: " + b"x" * 9000)[:9000])
    slower, refused = crowd.connect()
    slower.data_received(request(b"", b"X: " + b"x" * 5000)[:1001])
    assert refused.written.startswith(b"HTTP/1.1 503 ")
    assert transport.written == b""
    crowd.later(5)
    fast, answered = crowd.connect()
    fast.data_received(b"G")
    fast.data_received(request(b"", b"X: " + b"x" * 5000, start=b"GET / HTTP/1.1")[1:5000])
    assert transport.written.startswith(b"HTTP/1.1 503 ")
    assert answered.written == b""
    assert heads.held_bytes == 5000


def test_head_of_a_stranger_gives_way_first() -> None:
    """Where keys are needed, who has not shown one yet is nobody, however fast."""
    crowd = Crowd(0, keys=(b"k",))
    crowd.shared.head_memory.max_bytes = 10_000
    known, kept = crowd.connect()
    known.data_received(request(b"", b"X-Dispatcher-Key: k", b"X: " + b"x" * 9000)[:3000])
    stranger, refused = crowd.connect()
    stranger.data_received(request(b"", b"X: " + b"x" * 9000)[:6000])
    crowd.later(5)
    known.data_received(b"x" * 3000)
    assert refused.written.startswith(b"HTTP/1.1 503 ")
    assert kept.written == b""


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_wrong_key_is_refused_as_soon_as_its_line_is_there(piece: int) -> None:
    """A stranger does not get to fill memory with the rest of its head."""
    crowd = Crowd(0, keys=(b"k",))
    start = request(b"", b"X-Before: 1", b"x-dispatcher-KEY:\twrong ", b"X-Long: ")
    start = start[: start.index(b"X-Long")]
    for at in range(0, len(start) - 1, piece):
        crowd.send(start[at : min(at + piece, len(start) - 1)])
    assert crowd.received() == b""
    crowd.send(start[-1:])
    assert crowd.statuses() == [401]
    assert crowd.is_over
    assert crowd.shared.head_memory.held_bytes == 0


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_right_key_is_taken_in_pieces(piece: int) -> None:
    """Each head has to show it anew."""
    crowd = Crowd(0, keys=(b"j", b"k"))
    good = request(b"", b"X-Dispatcher-Key: k", b"X-Dispatcher-Kez: 1")
    for stream, status in ((good.replace(b"Kez", b"Attempt"), 202), (request(), 401)):
        for at in range(0, len(stream), piece):
            crowd.send(stream[at : at + piece])
        crowd.queue.settle()
        assert crowd.statuses() == [status]


HALF = request(b"x" * 1000, length=2000)
UPLOAD = request(b"x" * (2 * CHUNK_BYTES + 5), length=2 * CHUNK_BYTES + 9)
CHUNKS = chunked(b"x" * 1000)[:-5]


def _lose(crowd: Crowd) -> None:
    crowd.connection.connection_lost(None)


def _settle(crowd: Crowd) -> None:
    crowd.queue.settle()


def _refuse(crowd: Crowd) -> None:
    crowd.queue.settle(refusal=BUSY)


def _stop(crowd: Crowd) -> None:
    crowd.shared.stopping = True
    crowd.connection.end_soon()
    crowd.queue.refusing = STOPPING
    crowd.connection.retire()


def _send(data: bytes) -> Callable[[Crowd], None]:
    return lambda crowd: crowd.connection.data_received(data)


ENDINGS: dict[str, tuple[bytes, tuple[Callable[[Crowd], object], ...]]] = {
    "accepted": (HALF, (_send(b"x" * 1000), _settle)),
    "refused by the queue": (HALF, (_send(b"x" * 1000), _refuse)),
    "chunked and accepted": (CHUNKS, (_send(b"0\r\n\r\n"), _settle)),
    "upload accepted": (UPLOAD, (_send(b"x" * 4), _settle)),
    "upload refused by the queue": (UPLOAD, (_send(b"x" * 4), _refuse)),
    "upload refused while it arrives": (UPLOAD, (lambda c: c.queue.uploads[0].refuse(BUSY),)),
    "upload refused at its end": (
        UPLOAD,
        (lambda c: setattr(c.queue.uploads[0], "refusal", BUSY), _send(b"x" * 4)),
    ),
    "malformed": (CHUNKS, (_send(b"zz\r\n"),)),
    "too large": (CHUNKS, (_send(b"%x\r\n" % MAX_BODY),)),
    "no room": (HALF, (lambda c: setattr(c.memory, "max_bytes", 0), _send(b"x"))),
    "half, and the end of the input": (HALF, (lambda c: c.connection.eof_received(),)),
    "late": (HALF, (lambda c: c.later(31),)),
    "lost": (HALF, (_lose,)),
    "upload lost": (UPLOAD, (_lose,)),
    "lost, then durable": (HALF, (_send(b"x" * 1000), _lose, _settle)),
    "lost, then refused": (UPLOAD, (_send(b"x" * 4), _lose, _refuse)),
    "closed": (HALF, (lambda c: c.connection.close(), _lose)),
    "aborted": (UPLOAD, (lambda c: c.connection.abort(), _lose)),
    "stopped and closed": (HALF, (_stop, lambda c: c.connection.close())),
    "stopped, then whole": (HALF, (_stop, _send(b"x" * 1000))),
    "upload stopped, then whole": (UPLOAD, (_stop, _send(b"x" * 4))),
    "stopped after another was answered": (request() + HALF, (_stop, _settle)),
}


@pytest.mark.parametrize(("stream", "steps"), ENDINGS.values(), ids=ENDINGS.keys())
@pytest.mark.parametrize("upload_at_once", [True, False])
def test_count_is_nothing_again_however_a_body_ends(
    stream: bytes, steps: tuple[Callable[[Crowd], object], ...], *, upload_at_once: bool
) -> None:
    """A leak would in the end refuse everybody for ever."""
    crowd = Crowd(10 * CHUNK_BYTES, upload_at_once=upload_at_once)
    crowd.send(stream)
    assert crowd.memory.held_bytes > 0
    for step in steps:
        step(crowd)
    assert crowd.memory.held_bytes == 0
    for late in crowd.queue.uploads:
        late.store()
    _lose(crowd)
    _settle(crowd)
    assert crowd.memory.held_bytes == 0


def _requests(random: Random) -> bytes:
    """Some requests of one kind, good or bad."""
    body = b"x" * random.choice([0, 1, 100, 5000, CHUNK_BYTES, 2 * CHUNK_BYTES + 7])
    match random.randrange(7):
        case 0:
            return request(body)
        case 1:
            return chunked(body or b"x")
        case 2:
            return chunked(body or b"x", *[b"x"] * random.choice([5, 2000]))
        case 3:
            return request() * random.choice([1, 100])
        case 4:
            return request(b"", b"X-Dispatcher-Timeout: 0") * random.choice([1, 300])
        case 5:
            return chunked(b"xy").replace(b"y", b"yz")
        case _:
            return request(b"1", b"Connection: close")


def _pieces(random: Random) -> Iterator[bytes]:
    """What one caller sends."""
    while True:
        stream = _requests(random)
        cut = random.randint(0, len(stream)) if random.random() < 0.7 else 0
        yield from (piece for piece in (stream[:cut], stream[cut:]) if piece)


@pytest.mark.parametrize("seed", range(30))
def test_count_is_what_is_held_whatever_happens(seed: int) -> None:
    """Never below nothing, never above the bound, and nothing in the end: callers send, stop and
    go, the log stores and refuses, in any order. And nobody is left unread."""
    random = Random(seed)
    crowd = Crowd(random.choice([3, 12]) * CHUNK_BYTES, upload_at_once=random.random() < 0.5)
    callers: list[tuple[Connection, MemoryTransport, Iterator[bytes]]] = []
    for _ in range(400):
        if len(callers) < 8:
            callers.append((*crowd.connect(), _pieces(random)))
        at = random.randrange(len(callers))
        connection, transport, stream = callers[at]
        event = random.random()
        if event < 0.6:
            if not transport.is_reading_paused and not transport.is_closing():
                connection.data_received(next(stream))
        elif event < 0.7:
            crowd.queue.settle(random.randint(1, 100), refusal=random.choice([None, None, BUSY]))
        elif event < 0.8:
            for _ in range(min(len(crowd.turns), 2)):
                crowd.turns.pop(0)()
        elif event < 0.9:
            for upload in crowd.queue.uploads[-5:]:
                if not upload.is_aborted:
                    upload.store() if random.random() < 0.9 else upload.refuse(BUSY)
        else:
            del callers[at]
            match random.randrange(4):
                case 0:
                    connection.eof_received()
                case 1:
                    connection.close()
                case 2:
                    connection.abort()
            for _ in range(min(len(crowd.turns), 1)):
                crowd.turns.pop(0)()
            connection.connection_lost(None)
        assert 0 <= crowd.memory.held_bytes <= crowd.memory.max_bytes
    crowd.catch_up()
    for connection, transport, _ in callers:
        assert not transport.is_reading_paused, "everything it waited for has happened"
        connection.connection_lost(None)
    crowd.queue.settle()
    assert crowd.memory.held_bytes == 0


def test_held_is_absolute_and_over_once() -> None:
    """Told twice it counts once, and what is over is not counted any more."""
    memory = Memory(10)
    one, other = Held(memory), Held(memory)
    assert one.grow(6)
    assert not other.grow(5)
    assert other.grow(4)
    one.set(3)
    one.set(3)
    assert memory.held_bytes == 7
    one.end()
    one.end()
    one.set(5)
    assert one.grow(5)
    assert memory.held_bytes == 4
    other.set(0)
    assert memory.held_bytes == 0
