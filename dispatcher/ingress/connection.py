"""One caller's connection: bytes in, messages to the queue, answers out.

Theory of operation
-------------------
Bytes come in through `data_received`, in whatever pieces the network makes. The usual request
arrives whole in one piece and goes from there to `Acceptor.accept` in one call chain: no buffer, no
task, no future, no timer. Everything else takes the long way through these states:

    state    what arrives is                     leaves to
    IDLE     the start of a request              HEAD, BODY, DROP, ENDING; IDLE when it was whole
    HEAD     the rest of a head                  as IDLE
    BODY     the rest of a body                  IDLE; ENDING when refused, or the last one
    DROP     the rest of a refused body          IDLE
    ENDING   dropped: the last answer is known   LINGER when all answers are written
    LINGER   dropped: the last answer is out     CLOSED when the caller closes, or after a while
    CLOSED   (nothing arrives)

Refused requests whose end is known and near are read to their end, and the connection goes on.
After all others it ends, and it lingers: closing a socket with unread bytes resets it, and the
caller would see the reset instead of the answer (RFC 9112 section 9.6).

Answers are the outbox's: a receipt may come before `accept` returns, or long after this connection
is gone.

Reading stops while too many answers are owed, while the log is behind with a large body, and
while the caller does not read its answers; so the memory for one connection is bounded without any
look at the sizes of things. `Memory` bounds that of all of them.

One callback does as much as a `Turn` allows. What is left then, or has to wait until answers were
written, is the backlog: it stays in the buffer, nothing more is read meanwhile, and `_go_on` takes
it up. There is one only in IDLE and BODY. Until it is taken the caller is not late, and has not
ended its input: an end that is heard of before is acted on after it.

Time is looked at by the listener's sweep, which calls `check`.
"""

from __future__ import annotations

import asyncio
import time
from enum import Enum
from typing import Final, assert_never, cast

from dispatcher.core.message import Message
from dispatcher.errors import Refusal
from dispatcher.ingress import answers, refusals
from dispatcher.ingress.body import Body
from dispatcher.ingress.forward import Forward, forward, is_path
from dispatcher.ingress.head import CHUNKED, EXPECT, Head, is_broken, read_head
from dispatcher.ingress.memory import Held
from dispatcher.ingress.outbox import Outbox
from dispatcher.ingress.pattern import MAX_MISSES, Pattern, pattern_of
from dispatcher.ingress.reading import Reading, Wait
from dispatcher.ingress.refusals import (
    MAX_HEAD_BYTES,
    MalformedError,
    RequestError,
    UnacceptableError,
)
from dispatcher.ingress.shared import Shared
from dispatcher.ingress.turn import Turn
from dispatcher.queue.ports import Receipt, Upload

_HEAD_END: Final = b"\r\n\r\n"
_CR: Final = 13
_MOST_REFUSED: Final = 16
"""Connections too many that are told so at once: each takes a descriptor until it has read that."""
_MAX_EMPTY_LINES: Final = 4  # before a request line; RFC 9112 section 2.2 asks for one at least
_MAX_DROPPED_BODY_BYTES: Final = 256 * 1024
_MAX_LINGER_BYTES: Final = 256 * 1024 * 1024
_LINGER_QUIET_S: Final = 2.0
_LINGER_S: Final = 10.0


class State(Enum):
    """What the next byte is; the table is in the module's docstring."""

    IDLE = "idle"
    HEAD = "head"
    BODY = "body"
    DROP = "drop"
    ENDING = "ending"
    LINGER = "linger"
    CLOSED = "closed"


# A member of an enum takes ten times as long to look up as a global; these are for each request.
_IDLE: Final = State.IDLE
_ENDING: Final = State.ENDING


class Connection(asyncio.Protocol):
    """One caller. Made by the listener, owned by its transport, listed in `Shared.connections`."""

    __slots__ = (
        "_at_eof",
        "_backlog",
        "_backlog_held",
        "_body",
        "_buffer",
        "_discarded_bytes",
        "_empty_lines",
        "_forward",
        "_head",
        "_is_going_on",
        "_left",
        "_linger_until_s",
        "_lingers",
        "_misses",
        "_outbox",
        "_pattern",
        "_reading",
        "_shared",
        "_since_s",
        "_state",
        "_transport",
        "_turn",
    )

    _transport: asyncio.Transport
    _outbox: Outbox
    _reading: Reading
    _head: Head
    _forward: Forward

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._state = State.IDLE
        self._buffer = bytearray()  # the start of a head, or the backlog
        self._backlog: Wait | None = None  # what the backlog waits for; None: there is none
        self._backlog_held = Held(shared.memory)
        self._is_going_on = False
        self._turn = Turn()
        self._since_s = shared.now_s
        self._empty_lines = 0
        self._pattern: Pattern | None = None
        self._misses = 0
        self._body: Body | None = None
        self._left = 0
        self._at_eof = False
        self._lingers = False
        self._linger_until_s = 0.0
        self._discarded_bytes = 0

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A caller connected."""
        self._transport = cast(asyncio.Transport, transport)
        self._reading = Reading(self._transport)
        self._outbox = Outbox(self._shared, self._transport.write, self._on_answered)
        connections = self._shared.connections
        connections.add(self)
        most = self._shared.config.max_connections
        if 0 < most < len(connections):
            if len(connections) > most + _MOST_REFUSED:
                self._transport.abort()
            else:
                self._fail(refusals.TOO_MANY_CONNECTIONS)

    def data_received(self, data: bytes) -> None:
        """Take the next bytes."""
        state = self._state
        if state is _IDLE and not self._buffer:
            self._take_requests(data)
        elif self._backlog is not None:  # transports may deliver once more after a pause
            self._keep(data)
        elif state is State.BODY:
            turn = self._turn.begin()
            start = self._take_body(data, 0)
            if start < len(data):
                self._take_requests(data, start, turn)
        elif state is State.HEAD:
            self._take_head(data)
        elif state is State.DROP:
            self._take_requests(data, self._drop(data))
        else:
            self._discard(data)

    def eof_received(self) -> bool:
        """The caller sends nothing more. It still gets its answers; half a request is nothing."""
        self._at_eof = True
        return self._backlog is not None or self._end_input()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone. Messages that were handed to the queue stay handed over."""
        self._state = State.CLOSED
        self._abort_body()
        self._drop_backlog()
        self._backlog_held.end()
        self._outbox.disconnect()
        self._shared.leave(self)

    def pause_writing(self) -> None:
        """The caller does not read its answers: make no more of them."""
        self._outbox.is_blocked = True
        self._reading.pause(Wait.WRITING)

    def resume_writing(self) -> None:
        """The caller reads again."""
        self._outbox.is_blocked = False
        self._reading.resume(Wait.WRITING)
        if self._backlog is Wait.FULL:
            self._go_on()

    # What the listener calls.

    def retire(self) -> None:
        """Close if nothing is under way; the listener is stopping."""
        if self._state is State.IDLE and not self._buffer and self._outbox.is_empty:
            self._transport.close()

    def close(self) -> None:
        """Close now, writing what was answered. Half a body is refused first, and the caller has
        until `abort` to read that."""
        refusal = self._shared.acceptor.refusal()
        if self._state is State.BODY and refusal is not None:
            self._abandon(refusal)
        elif self._state is not State.LINGER:
            self._transport.close()

    def abort(self) -> None:
        """Close now, dropping what was not written."""
        self._transport.abort()

    def check(self, now_s: float) -> None:
        """End what has taken too long. `now_s` is the loop's clock."""
        if self._backlog is Wait.TURN:
            return  # we are the slow ones
        config = self._shared.config
        quiet_s = now_s - self._since_s
        match self._state:
            case State.IDLE:
                if quiet_s > config.idle_timeout_s and self._outbox.is_empty:
                    self._give_up()
            case State.HEAD:
                if quiet_s > config.head_timeout_s:
                    self._fail(refusals.HEAD_TIMEOUT, no_body=self._buffer.startswith(b"HEAD "))
            case State.BODY:
                if quiet_s > config.body_timeout_s and not self._reading.waits_for(Wait.UPLOAD):
                    self._abandon(refusals.BODY_TIMEOUT)
            case State.DROP:
                if quiet_s > config.body_timeout_s:
                    self._give_up()
            case State.LINGER:
                if quiet_s > _LINGER_QUIET_S or now_s > self._linger_until_s:
                    self._transport.abort()
            case State.ENDING | State.CLOSED:
                pass
            case _ as unknown:
                assert_never(unknown)

    # Requests.

    def _take_requests(self, data: bytes, start: int = 0, turn: Turn | None = None) -> None:
        """Take every whole request off `data[start:]`, and start with the one that is not whole.

        A turn is begun for the first head that is read. Requests like the last one take nothing off
        it: their answers are owed until their messages are durable, so there are few.
        """
        end = len(data)
        while start < end:
            if self._state is not _IDLE:
                self._discard(data[start:])
                return
            if self._outbox.is_full:
                self._set_aside(data[start:], Wait.FULL)
                return
            if data[start] == _CR and data.startswith(b"\r\n", start):
                start += 2
                self._count_empty_line()
                continue
            if self._pattern is not None:
                next_start = self._take_alike(self._pattern, data, start)
                if next_start:
                    start = next_start
                    continue
            head_end = data.find(_HEAD_END, start)
            if head_end < 0:
                self._begin_head(data[start:])
                return
            turn = turn or self._turn.begin()
            if not turn.spend_request(head_end - start):
                self._set_aside(data[start:], Wait.TURN)
                return
            start = self._take_request(data, start, head_end)

    def _take_alike(self, pattern: Pattern, data: bytes, start: int) -> int:
        """Take the request at `data[start:]` if it is whole, can be accepted and its head is like
        the last one; return where the next begins, or 0."""
        digits = pattern.digits(data, start)
        if digits is None:
            return 0
        start += len(pattern.before) + len(digits) + len(pattern.after)
        end = start + int(digits or b"0")
        shared = self._shared
        if (
            end > len(data)
            or end - start > shared.config.max_body
            or shared.acceptor.refusal() is not None
        ):
            return 0
        self._misses = 0
        head = pattern.sent_before + digits + pattern.sent_after
        self._accept(pattern.style, pattern, head, data[start:end])
        return end

    def _remember(self, raw: bytes, head: Head, wanted: Forward) -> None:
        """Keep a head as the pattern of the next one, unless this caller's differ each time."""
        if self._misses < MAX_MISSES:
            self._misses += 1
            self._pattern = pattern_of(raw, head, wanted)
        else:
            self._pattern = None

    def _take_request(self, data: bytes, start: int, head_end: int) -> int:
        """Take the request whose head is `data[start:head_end]`; return where the next begins."""
        shared = self._shared
        raw = data[start:head_end]
        body_start = head_end + len(_HEAD_END)
        try:
            if body_start - start > MAX_HEAD_BYTES:
                raise MalformedError(refusals.HEAD_TOO_LARGE)
            head = read_head(raw, shared.kinds)
        except MalformedError as malformed:
            self._fail(malformed.refusal, no_body=raw.startswith(b"HEAD "))
            return body_start
        try:
            wanted = forward(head, shared.config)
            refusal = shared.acceptor.refusal()
            if refusal is not None:
                raise UnacceptableError(refusal)
        except RequestError as refused:
            return body_start + self._answer(head, len(data) - body_start, refused)
        body_end = body_start + head.length
        if body_start <= body_end <= len(data):
            self._remember(raw, head, wanted)
            self._accept(head.style, wanted, wanted.head, data[body_start:body_end])
            return body_end
        return self._begin_body(head, wanted, data, body_start)

    def _accept(
        self,
        style: int,
        wanted: Forward | Pattern,
        head: bytes,
        content: bytes,
        upload: Upload | None = None,
        size: int = 0,
        receipt: Receipt | None = None,
    ) -> None:
        """Hand a whole request to the queue, which may answer before this returns.

        `head` is what will be sent; `size` is the body's in bytes where it is in `upload`;
        `receipt` passes on to the outbox.
        """
        shared = self._shared
        body_size = len(content) if upload is None else size
        message = Message(
            wanted.destination,
            head,
            content,
            timeout_ms=wanted.timeout_ms,
            accepted_at=time.time_ns() // 1000,
            incarnation=shared.incarnation,
            body_size=body_size,
        )
        outbox = self._outbox
        outbox.expect(style, body_size)
        self._empty_lines = 0
        self._since_s = shared.now_s
        if style & answers.CLOSE:
            self._state = State.ENDING
        shared.acceptor.accept(message, receipt or outbox, upload)

    def _count_empty_line(self) -> None:
        self._empty_lines += 1
        if self._empty_lines > _MAX_EMPTY_LINES:
            self._fail(refusals.REQUEST_LINE)

    # Heads that come in pieces.

    def _begin_head(self, data: bytes) -> None:
        self._state = State.HEAD
        self._since_s = self._shared.clock()
        self._buffer += data
        self._check_head(0)

    def _take_head(self, data: bytes) -> None:
        buffer = self._buffer
        seen = len(buffer)
        buffer += data
        if buffer.find(_HEAD_END, max(seen - 3, 0)) < 0:
            self._check_head(seen)
            return
        whole = bytes(buffer)
        buffer.clear()
        self._state = State.IDLE
        self._take_requests(whole)

    def _check_head(self, seen: int) -> None:
        """Refuse at once what no further byte can make right."""
        if is_broken(self._buffer, seen):
            self._fail(refusals.HEADER, no_body=self._buffer.startswith(b"HEAD "))
        elif len(self._buffer) > MAX_HEAD_BYTES:
            self._fail(refusals.HEAD_TOO_LARGE, no_body=self._buffer.startswith(b"HEAD "))

    # Bodies that come in pieces.

    def _begin_body(self, head: Head, wanted: Forward, data: bytes, start: int) -> int:
        """Start with the body at `data[start:]`; return where what follows it begins."""
        self._state = State.BODY
        self._since_s = self._shared.clock()
        self._head = head
        self._forward = wanted
        shared = self._shared
        self._body = Body(
            shared.acceptor,
            shared.memory,
            on_progress=self._on_progress,
            length=head.length,
            max_body=shared.config.max_body,
        )
        if start < len(data):
            return self._take_body(data, start)
        if EXPECT in head.found:
            self._outbox.put(answers.CONTINUE)
        return start

    def _take_body(self, data: bytes, start: int) -> int:
        """Take bytes of a body at `data[start:]`; return where what follows it begins."""
        body = self._body
        assert body is not None  # there is one in State.BODY
        try:
            end = body.take(data, start, self._turn)
        except RequestError as refused:
            self._abandon(refused.refusal)
            return len(data)
        if body.is_whole:
            self._finish_body(body)
            return end
        self._since_s = self._shared.clock()
        if body.refusal is not None:
            self._abandon(body.refusal)
        elif self._body is body:  # and was not refused while it was taken
            if body.congested:
                self._reading.pause(Wait.UPLOAD)
            if end < len(data):
                self._set_aside(data[end:], Wait.TURN)
        return len(data)

    def _finish_body(self, body: Body) -> None:
        content, upload = body.finish()
        refusal = None if upload is None else upload.refusal
        if self._shared.stopping:
            # The head came before the stop. Stored now, it would wait for the next start.
            refusal = refusal or self._shared.acceptor.refusal()
        if refusal is not None:
            if upload is not None:
                upload.abort()
            self._abandon(refusal)
        elif self._body is body:
            self._body = None
            self._reading.resume(Wait.UPLOAD)  # the backlog may have held the end of the body
            self._state = State.IDLE
            wanted = self._forward
            head = wanted.head_with_length(body.size)
            receipt = body.held.until_answered(self._outbox)
            self._accept(self._head.style, wanted, head, content, upload, body.size, receipt)

    def _on_progress(self) -> None:
        """The log took a piece of the body, or refused it."""
        body = self._body
        if body is None:
            return
        body.recount()
        if body.refusal is not None:
            self._abandon(body.refusal)
        elif not body.congested and self._reading.waits_for(Wait.UPLOAD):
            self._since_s = self._shared.clock()
            self._reading.resume(Wait.UPLOAD)

    def _abandon(self, refusal: Refusal) -> None:
        """Refuse the request whose body is under way, and end."""
        if self._body is not None:
            self._abort_body()
            self._fail(refusal, no_body=self._head.method == b"HEAD")

    def _abort_body(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.abort()

    # Requests that do not become messages.

    def _answer(self, head: Head, arrived: int, refused: RequestError) -> int:
        """Answer without the queue; return how many of the `arrived` bytes are its body."""
        shared = self._shared
        is_known = head.length != CHUNKED and not refused.fatal
        owed = max(head.length - arrived, 0)
        style = head.style
        if (
            shared.stopping
            or not is_known
            or owed > _MAX_DROPPED_BODY_BYTES
            or (owed and EXPECT in head.found)
        ):
            style |= answers.CLOSE
        answer = self._health(head, style) if refused.refusal is refusals.ORIGIN_MISSING else None
        if answer is None:
            shared.count_refusal(refused.refusal)
            answer = answers.refused(refused.refusal, style=style, date=shared.date)
        self._outbox.put(answer)
        self._empty_lines = 0
        self._since_s = shared.clock()
        if style & answers.CLOSE:
            self._end(linger=not is_known or owed > 0)
        elif owed:
            self._state = State.DROP
            self._left = owed
        return head.length - owed if is_known else 0

    def _health(self, head: Head, style: int) -> bytes | None:
        """The answer to a load balancer, or None if the request is not from one."""
        if head.method != b"GET":
            return None
        if is_path(head, b"/healthz"):
            return answers.health(200, b'{"status": "ok"}', style=style, date=self._shared.date)
        if is_path(head, b"/readyz"):
            ready = self._shared.health()
            return answers.health(ready.status, ready.body, style=style, date=self._shared.date)
        return None

    def _drop(self, data: bytes) -> int:
        """Skip bytes of a refused body; return where what follows it begins."""
        self._since_s = self._shared.clock()
        dropped = min(self._left, len(data))
        self._left -= dropped
        if not self._left:
            self._state = State.IDLE
        return dropped

    def _fail(self, refusal: Refusal, *, no_body: bool = False) -> None:
        """Refuse something after which nothing more can be read, and end."""
        shared = self._shared
        shared.count_refusal(refusal)
        style = answers.CLOSE | (answers.NO_BODY if no_body else 0)
        self._outbox.put(answers.refused(refusal, style=style, date=shared.date))
        self._end(linger=True)

    # What has to wait.

    def _set_aside(self, data: bytes, wait: Wait) -> None:
        """Keep what was read, and read no more, until it is over."""
        self._backlog = wait
        self._reading.pause(wait)
        if wait is Wait.TURN:
            self._shared.call_soon(self._take_turn)
        self._keep(data)

    def _keep(self, data: bytes) -> None:
        """Add to the backlog, if there is memory for it."""
        if self._backlog_held.grow(len(data)):
            self._buffer += data
        elif self._state is State.BODY:
            self._abandon(refusals.MEMORY)
        else:
            self._fail(refusals.MEMORY)

    def _drop_backlog(self) -> None:
        self._backlog = None
        self._backlog_held.set(0)
        self._buffer.clear()

    def _take_turn(self) -> None:
        """The others had theirs. What waited may be gone by now."""
        if self._backlog is Wait.TURN:
            self._go_on()

    def _go_on(self) -> None:
        """Take the backlog, or as much of it as can be taken now."""
        if self._transport.is_closing():
            return
        waited_for = self._backlog
        assert waited_for is not None
        data = bytes(self._buffer)
        self._drop_backlog()
        turn = self._turn.begin()
        self._is_going_on = True
        start = self._take_body(data, 0) if self._state is State.BODY else 0
        self._take_requests(data, start, turn)
        self._is_going_on = False
        if self._backlog is not waited_for:
            self._reading.resume(waited_for)
        if self._at_eof and self._backlog is None and not self._end_input():
            self._transport.close()

    # The end.

    def _end_input(self) -> bool:
        """The caller's last byte was looked at, and half a request is nothing; return whether
        answers are owed, for which the connection stays."""
        if self._state in {State.HEAD, State.BODY, State.DROP}:
            self._abort_body()
            self._state = State.ENDING
        self._lingers = False
        return not self._outbox.is_empty

    def _end(self, *, linger: bool) -> None:
        """Read no more requests; close once every answer is written."""
        self._state = State.ENDING
        self._lingers = linger and not self._at_eof
        self._drop_backlog()
        self._reading.resume(Wait.UPLOAD)
        self._reading.resume(Wait.FULL)
        self._reading.resume(Wait.TURN)
        if self._outbox.is_empty:
            self._finish()

    def _on_answered(self) -> None:
        """Every request so far was answered."""
        if self._state is _ENDING:
            self._finish()
        elif self._shared.stopping:
            self._retire_answered()
        elif self._backlog is not None:
            if self._backlog is Wait.FULL:
                self._go_on()
        elif self._at_eof and not self._is_going_on:
            self._transport.close()

    def _retire_answered(self) -> None:
        """The last answer said `Connection: close`: what has begun to arrive is not looked at."""
        if self._state is State.IDLE and not self._buffer:
            self._transport.close()
        else:
            self._abort_body()
            self._end(linger=True)

    def _finish(self) -> None:
        """Every answer is written: let the caller see them, then close."""
        self._state = State.LINGER
        self._since_s = self._shared.clock()
        self._linger_until_s = self._since_s + _LINGER_S
        if self._lingers or self._discarded_bytes:
            self._transport.write_eof()
        else:
            self._transport.close()

    def _discard(self, data: bytes) -> None:
        """Bytes after the last request."""
        self._since_s = self._shared.clock()
        self._discarded_bytes += len(data)
        if self._discarded_bytes > _MAX_LINGER_BYTES and self._state is State.LINGER:
            self._transport.abort()

    def _give_up(self) -> None:
        """Close without an answer. A caller that does not read could hold up a plain close."""
        if self._reading.waits_for(Wait.WRITING):
            self._transport.abort()
        else:
            self._transport.close()
