"""Callers that wait for what becomes of their messages: what they get, when, and in which order."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.answer import MOST_WAITED_BYTES, Answer
from dispatcher.errors import Refusal
from dispatcher.ingress.answers import CLOSE, KEEP_ALIVE, NO_BODY, PLAIN
from dispatcher.ingress.connection import Connection
from dispatcher.ingress.relayed import relayed
from dispatcher.ingress.shared import Shared
from dispatcher.testing.ingress import MemoryAcceptor, MemoryTransport
from tests.unit.test_ingress_connection import CONFIG, STOPPING, Caller, Ready, request

WAIT = b"X-Dispatcher-Wait: 10s"
FIRST = b"%028x" % 1


class Timer:
    def __init__(self, at_s: float, callback: Callable[[], None]) -> None:
        self.at_s = at_s
        self.callback = callback
        self.is_over = False

    def cancel(self) -> None:
        self.is_over = True


class Waiting(Caller):
    """A caller whose timers the test turns."""

    def __init__(self, *, is_at_once: bool = False) -> None:
        self.now_s = 1000.0
        self.timers: list[Timer] = []
        self.queue = MemoryAcceptor(at_once=False)
        ready = Ready(200, b"{}")

        def call_later(after_s: float, callback: Callable[[], None]) -> Timer:
            self.timers.append(Timer(self.now_s + after_s, callback))
            return self.timers[-1]

        self.shared = Shared(
            self.queue, CONFIG, lambda: ready, lambda: self.now_s, call_later=call_later
        )
        self.connection = Connection(self.shared)
        self.transport = MemoryTransport()
        self.connection.connection_made(self.transport)

    def later(self, seconds: float) -> None:
        super().later(seconds)
        for timer in self.timers:
            if not timer.is_over and timer.at_s <= self.now_s:
                timer.is_over = True
                timer.callback()

    def end(self, answer: Answer | None, error: str | None = None, number: int = 1) -> None:
        """The message with this number ends."""
        self.queue.awaited.pop(b"%028x" % number).ended(answer, error)


class Counted:
    """An answer, and how often its memory was given back."""

    def __init__(self, status: int = 200, body: bytes = b"said", *, is_whole: bool = True) -> None:
        self.released = 0
        self.answer = Answer(
            status, b"", None, body, is_whole, self._release, ((b"X-One", b"1"), (b"x-ONE", b"2"))
        )

    def _release(self) -> None:
        self.released += 1


def head_of(data: bytes) -> list[bytes]:
    return data.partition(b"\r\n\r\n")[0].split(b"\r\n")


def test_caller_gets_the_answer_of_the_destination() -> None:
    """Its status, its headers and its body; with the id, and what became of the message. It is
    durable before, and wants its answer."""
    caller = Waiting()
    caller.send(request(b"body", WAIT))
    assert caller.queue.messages[0].answer_limit == -MOST_WAITED_BYTES
    assert caller.queue.messages[0].terms is None
    assert not caller.queue.awaited
    caller.queue.settle()
    assert caller.received() == b""
    made = Counted(201)
    caller.end(made.answer)
    data = caller.received()
    assert head_of(data)[0] == b"HTTP/1.1 201 Created"
    assert head_of(data)[-5:] == [
        b"X-One: 1",
        b"x-ONE: 2",
        b"X-Dispatcher-Message-Id: " + FIRST,
        b"X-Dispatcher-Outcome: delivered",
        b"Content-Length: 4",
    ]
    assert data.endswith(b"\r\n\r\nsaid")
    assert made.released == 1
    assert all(timer.is_over for timer in caller.timers)
    caller.send(request(b"next"))
    caller.queue.settle()
    assert caller.statuses() == [202]


def test_caller_is_told_of_a_message_that_was_given_up() -> None:
    """With the destination's answer where there is one, else 502 with the slug of the error."""
    caller = Waiting()
    caller.send(request(b"", WAIT))
    caller.queue.settle()
    caller.end(Counted(404).answer, "http_404")
    data = caller.received()
    assert data.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert b"\r\nX-Dispatcher-Outcome: dead\r\n" in data
    caller.send(request(b"", WAIT))
    caller.queue.settle()
    caller.end(None, "dns_failed", 2)
    data = caller.received()
    assert data.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert b"\r\nX-Dispatcher-Outcome: dead\r\n" in data
    assert b"\r\nX-Dispatcher-Message-Id: %028x\r\n" % 2 in data
    told = json.loads(data.partition(b"\r\n\r\n")[2])
    assert told["error"] == "dns_failed"
    assert "redrive" in told["message"]


def test_answer_that_is_not_whole_is_202_with_the_outcome() -> None:
    """It was too large, or there was no memory for it."""
    caller = Waiting()
    large = Counted(200, b"x" * 100, is_whole=False)
    caller.send(request(b"", WAIT))
    caller.queue.settle()
    caller.end(large.answer)
    data = caller.received()
    assert data.startswith(b"HTTP/1.1 202 Accepted\r\n")
    assert b"\r\nX-Dispatcher-Outcome: delivered\r\n" in data
    assert data.endswith(b"\r\nContent-Length: 0\r\n\r\n")
    assert large.released == 1


@pytest.mark.parametrize("how", ["time", "retry", "stop"])
def test_message_that_has_not_ended_is_202_as_always(how: str) -> None:
    """After its time, when there will be another attempt, and when the server stops, at once."""
    caller = Waiting()
    caller.send(request(b"", WAIT))
    caller.queue.settle()
    caller.later(9)
    assert caller.received() == b""
    if how == "time":
        caller.later(1)
        assert not caller.queue.awaited
    elif how == "retry":
        caller.queue.awaited.pop(FIRST).undecided()
    else:
        caller.shared.stopping = True
        caller.connection.end_soon()
        caller.connection.retire()
        assert not caller.queue.awaited
        assert caller.is_over
    data = caller.received()
    assert data.startswith(b"HTTP/1.1 202 Accepted\r\n")
    assert b"X-Dispatcher-Message-Id: " + FIRST in data
    assert b"Outcome" not in data
    assert all(timer.is_over for timer in caller.timers)


def test_time_counts_from_the_request_on() -> None:
    """A slow disk takes of it; a message that becomes durable after it is answered then."""
    caller = Waiting()
    caller.send(request(b"", WAIT))
    caller.later(9)
    caller.queue.settle()
    caller.later(1)
    assert caller.statuses() == [202]
    caller.send(request(b"", WAIT))
    caller.later(11)
    caller.queue.settle()
    assert caller.statuses() == [202]
    assert not caller.queue.awaited


def test_stop_before_the_message_is_durable_answers_when_it_is() -> None:
    """Not earlier: the 202 is the queue's word."""
    caller = Waiting()
    caller.send(request(b"", WAIT))
    caller.shared.stopping = True
    caller.connection.end_soon()
    caller.connection.retire()
    assert caller.received() == b""
    caller.queue.settle()
    assert caller.statuses() == [202]


def test_nothing_is_read_behind_a_request_that_waits() -> None:
    """So answers keep their order, and a connection waits for one message at most: what was
    pipelined is taken up when it was answered."""
    caller = Waiting()
    caller.send(request(b"a") + request(b"b", WAIT) + request(b"c") + request(b"d", WAIT))
    assert caller.queue.bodies == [b"a", b"b"]
    assert caller.transport.is_reading_paused
    caller.queue.settle()
    assert caller.statuses() == [202]
    caller.end(Counted(201).answer, number=2)
    assert caller.statuses() == [201]
    assert caller.queue.bodies == [b"a", b"b", b"c", b"d"]
    caller.queue.settle()
    caller.later(10)
    assert caller.statuses() == [202, 202]
    assert not caller.transport.is_reading_paused


def test_caller_that_is_gone_waits_for_nothing() -> None:
    """Whenever that is: the message stays, nobody is told, and no memory is kept."""
    for durable in (False, True):
        caller = Waiting()
        caller.send(request(b"", WAIT))
        if durable:
            caller.queue.settle()
        caller.connection.connection_lost(None)
        caller.queue.settle()
        assert not caller.queue.awaited
        assert all(timer.is_over for timer in caller.timers)
        assert caller.received() == b""


def test_memory_is_kept_until_the_answer_has_left() -> None:
    """A caller who does not read keeps what it takes; and gives it back when it reads, or goes."""
    for goes in (False, True):
        caller = Waiting()
        caller.send(request(b"", WAIT))
        caller.queue.settle()
        caller.connection.pause_writing()
        large = Counted(200, b"x" * 100_000)
        caller.end(large.answer)
        assert large.released == 0
        if goes:
            caller.connection.connection_lost(None)
        else:
            caller.connection.resume_writing()
        assert large.released == 1


def test_refused_message_is_not_waited_for() -> None:
    """The refusal is the answer, and the connection goes on."""
    caller = Waiting()
    caller.send(request(b"", WAIT))
    caller.queue.settle(refusal=Refusal(503, "disk_full", "Later."))
    assert caller.statuses() == [503]
    caller.queue.refusing = STOPPING
    caller.send(request(b"", WAIT))
    assert caller.statuses() == [503]
    assert not caller.queue.awaited


def test_duplicate_is_answered_at_once() -> None:
    """What becomes of the first message is not waited for."""
    caller = Waiting()
    caller.send(request(b"", WAIT, b"X-Dispatcher-Idempotency-Key: k"))
    _, receipt = caller.queue._pending.popleft()
    receipt.duplicate(FIRST)
    data = caller.received()
    assert data.startswith(b"HTTP/1.1 202 ")
    assert b"X-Dispatcher-Duplicate: true" in data
    assert not caller.queue.awaited


def test_idle_time_counts_from_the_answer() -> None:
    """Not from the request, which may have waited for a minute."""
    caller = Waiting()
    caller.send(request(b"", b"X-Dispatcher-Wait: 1m"))
    caller.queue.settle()
    caller.later(60)
    assert caller.statuses() == [202]
    caller.later(CONFIG.idle_timeout_s - 1)
    assert not caller.is_over
    caller.later(2)
    assert caller.is_over


def test_last_request_of_a_connection_may_wait() -> None:
    """HTTP/1.0, and whoever says that it is the last one: the connection ends with the answer."""
    old = request(b"", WAIT, start=b"POST /x HTTP/1.0")
    for sent in (old, request(b"", WAIT, b"Connection: close")):
        caller = Waiting()
        caller.send(sent)
        caller.queue.settle()
        assert not caller.is_over
        caller.end(Counted().answer)
        assert b"\r\nConnection: close\r\n" in caller.received()
        assert caller.is_over


def test_caller_that_sends_nothing_more_still_gets_the_answer() -> None:
    """It closed its side only."""
    caller = Waiting()
    caller.send(request(b"", WAIT))
    caller.queue.settle()
    assert caller.connection.eof_received()
    caller.end(Counted().answer)
    assert caller.statuses() == [200]
    assert caller.transport.is_closing()


def test_bad_value_is_refused() -> None:
    """More than a minute, nothing, or no duration."""
    for value in (b"61s", b"0", b"soon", b""):
        caller = Waiting()
        caller.send(request(b"", b"X-Dispatcher-Wait: " + value))
        assert b"wait_invalid" in caller.received()


# What is passed on.


def passed_on(
    *fields: tuple[bytes, bytes], status: int = 200, body: bytes = b"said", style: int = PLAIN
) -> bytes:
    answer = Answer(status, b"", None, body, fields=fields)
    return relayed(answer, FIRST, outcome=b"delivered", style=style, date=b"Date: now\r\n")


def test_headers_of_the_other_connection_are_dropped() -> None:
    """Those that always are, those that `Connection` names, lengths and ours; nothing else."""
    data = passed_on(
        (b"Date", b"then"),
        (b"Connection", b"X-Hop, close"),
        (b"x-hop", b"1"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Trailer", b"X"),
        (b"Upgrade", b"h2c"),
        (b"Proxy-Authenticate", b"Basic"),
        (b"Content-Length", b"99"),
        (b"X-Dispatcher-Message-Id", b"another"),
        (b"x-dispatcher-outcome", b"dead"),
        (b"Set-Cookie", b"a"),
        (b"Set-Cookie", b"b"),
        (b"Content-Encoding", b"gzip"),
    )
    assert head_of(data) == [
        b"HTTP/1.1 200 OK",
        b"Date: then",
        b"Set-Cookie: a",
        b"Set-Cookie: b",
        b"Content-Encoding: gzip",
        b"X-Dispatcher-Message-Id: " + FIRST,
        b"X-Dispatcher-Outcome: delivered",
        b"Content-Length: 4",
    ]


@pytest.mark.parametrize(
    ("status", "style", "said", "line", "body"),
    [
        (200, PLAIN, b"", b"Content-Length: 4", b"said"),
        (204, PLAIN, b"0", None, b""),
        (304, PLAIN, b"77", b"Content-Length: 77", b""),
        (304, PLAIN, b"", None, b""),
        (200, NO_BODY, b"77", b"Content-Length: 77", b""),
        (200, NO_BODY, b"", None, b""),
        (200, NO_BODY, b"1,2", None, b""),
    ],
)
def test_length_is_that_of_what_follows(
    status: int, style: int, said: bytes, line: bytes | None, body: bytes
) -> None:
    """Where no body follows, it is what the destination said, if it said anything."""
    fields = ((b"Content-Length", said),) if said else ()
    data = passed_on(*fields, status=status, style=style)
    lengths = [one for one in head_of(data) if one.startswith(b"Content-Length")]
    assert lengths == ([] if line is None else [line])
    assert data.partition(b"\r\n\r\n")[2] == body


def test_status_that_nobody_knows_has_no_phrase() -> None:
    """And whether the connection goes on is ours to say."""
    assert passed_on(status=599).startswith(b"HTTP/1.1 599 \r\n")
    assert b"\r\nConnection: close\r\n" in passed_on(style=CLOSE)
    assert b"\r\nConnection: keep-alive\r\n" in passed_on(style=KEEP_ALIVE)


@given(
    st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=40)), max_size=10),
    st.binary(max_size=50),
)
def test_no_field_is_read_as_two(fields: list[tuple[bytes, bytes]], body: bytes) -> None:
    """Whatever a destination sends: what is a field to us is one to the caller, and the head ends
    where it ends."""
    data = passed_on(*fields, body=body)
    head, _, rest = data.partition(b"\r\n\r\n")
    assert rest == body
    lines = head.split(b"\r\n")
    assert b"\n" not in head.replace(b"\r\n", b"")
    assert b"\r" not in head.replace(b"\r\n", b"")
    kept = [line for line in lines[1:] if not line.startswith((b"X-Disp", b"Content-Le", b"Date"))]
    sent = [b"%b: %b" % field for field in fields]
    assert all(line in sent for line in kept)
