"""One caller's connection: bytes in, messages to the queue, answers out.

Theory of operation
-------------------
Bytes come in through `data_received`, in whatever pieces the network makes. The usual request
arrives whole in one piece and goes from there to `Acceptor.accept` in one call chain: no buffer, no
task, no future, no timer. Everything else takes the long way through the states of `states`. Here
are the transport's callbacks, and the decision which part is next: `requests` takes a request whose
head is there, `pieces` what is not whole, and `slow` ends what takes too long. What they have in
common is the `Exchange`, which also ends the connection.

Refused requests whose end is known and near are read to their end, and the connection goes on.
After all others it ends, and it lingers.

Answers are the outbox's: a receipt may come before `accept` returns, or long after this connection
is gone.

Reading stops while too many answers are owed, while the log is behind with a large body, and
while the caller does not read its answers; so the memory for one connection is bounded without any
look at the sizes of things. `Memory` bounds that of all of them.

One callback does as much as a `Turn` allows. What is left then, or has to wait until answers were
written, is the backlog: nothing more is read meanwhile, and `_go_on` takes it up. There is one only
in IDLE and BODY. Until it is taken the caller is not late, and has not ended its input: an end that
is heard of before is acted on after it.

Time is looked at by the listener's sweep, which calls `check`.
"""

from __future__ import annotations

import asyncio
from typing import Final, cast

from dispatcher.ingress import refusals
from dispatcher.ingress.entrance import LISTENER, Entrance
from dispatcher.ingress.exchange import LATELY, Exchange
from dispatcher.ingress.heads import HEAD_END
from dispatcher.ingress.memory import Memory
from dispatcher.ingress.pieces import take_body, take_head
from dispatcher.ingress.reading import Wait
from dispatcher.ingress.refusals import MalformedError
from dispatcher.ingress.requests import drop, take_alike, take_request
from dispatcher.ingress.shared import Shared
from dispatcher.ingress.slow import end_if_slow, rate_in
from dispatcher.ingress.states import BODY, DROP, ENDING, HEAD, IDLE, LINGER
from dispatcher.ingress.turn import Turn

_CR: Final = 13
_MOST_LINGERING: Final = 16
"""Connections too many that linger at once, each with its descriptor. The others are told why too,
but one that has sent something already may see a reset before it reads that."""


class Connection:
    """One caller. Made by the listener, owned by its transport, listed in `Shared.connections`.

    It has the methods of `asyncio.Protocol` and not that class as its base: the event loop only
    looks for the methods, and a base class from outside could not be compiled.
    """

    __slots__ = ("_is_going_on", "_shared", "_turn", "exchange")

    def __init__(self, shared: Shared, entrance: Entrance = LISTENER) -> None:
        self._shared = shared
        self.exchange = Exchange(shared, entrance, self._on_answered)
        self._turn = Turn(shared.turn_steps)
        self._is_going_on = False

    def __repr__(self) -> str:
        return f"<Connection {self.exchange!r}>"

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A caller connected."""
        exchange = self.exchange
        exchange.connect(cast(asyncio.Transport, transport))
        connections = self._shared.connections
        connections.add(self)
        most = self._shared.config.max_connections
        if 0 < most < len(connections):
            exchange.fail(refusals.TOO_MANY_CONNECTIONS)
            if len(connections) > most + _MOST_LINGERING:
                transport.close()

    def data_received(self, data: bytes) -> None:
        """Take the next bytes."""
        exchange = self.exchange
        state = exchange.state
        if exchange.backlog is not None:  # transports may deliver once more after a pause
            exchange.keep(exchange.backlog, data)
        elif state is IDLE:
            self._take(data)
        elif state is BODY:
            self._take(data, 0, self._turn.begin())
        elif state is HEAD:
            self._take_head(data)
        elif state is DROP:
            self._take(data, drop(exchange, data))
        else:
            exchange.discard(len(data))

    def eof_received(self) -> bool:
        """The caller sends nothing more. It still gets its answers; half a request is nothing."""
        exchange = self.exchange
        exchange.at_eof = True
        return exchange.backlog is not None or exchange.end_input()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone. Messages that were handed to the queue stay handed over."""
        self.exchange.lose()
        self._shared.leave(self)

    def pause_writing(self) -> None:
        """The caller does not read its answers: make no more of them."""
        exchange = self.exchange
        exchange.outbox.is_blocked = True
        exchange.reading.pause(Wait.WRITING)

    def resume_writing(self) -> None:
        """The caller reads again."""
        exchange = self.exchange
        exchange.outbox.is_blocked = False
        exchange.reading.resume(Wait.WRITING)
        if exchange.awaiting is not None and exchange.outbox.is_empty:
            exchange.let_go()
        if exchange.waits_for(Wait.FULL):
            self._go_on()

    # What the listener calls.

    def forget_heads(self) -> None:
        """Decide anew about the next head: the keys, or rules, have changed."""
        self.exchange.heads.pattern = None

    def end_soon(self) -> None:
        """End with the next answer after which none is owed, which says so. Idempotent."""
        self.exchange.outbox.ends = True

    def retire(self) -> None:
        """Close if nothing is under way; the listener is stopping."""
        exchange = self.exchange
        if exchange.awaiting is not None:
            exchange.awaiting.stop()
        if exchange.is_idle and exchange.outbox.is_empty:
            exchange.transport.close()

    def close(self) -> None:
        """Close now, writing what was answered. Half a body is refused first, and the caller has
        until `abort` to read that."""
        exchange = self.exchange
        refusal = self._shared.acceptor.refusal()
        if exchange.state is BODY and refusal is not None:
            exchange.abandon(refusal)
        elif exchange.state is not LINGER:
            exchange.transport.close()

    def abort(self) -> None:
        """Close now, dropping what was not written."""
        self.exchange.transport.abort()

    def check(self, now_s: float) -> None:
        """End what has taken too long. `now_s` is the loop's clock."""
        if now_s >= self.exchange.ends_at_s and self.exchange.is_idle:
            self.end_soon()
        if not self.exchange.waits_for(Wait.TURN):  # for which we are the slow ones
            end_if_slow(self.exchange, now_s)

    def rate_in(self, memory: Memory, now_s: float) -> float | None:
        """Bytes a second at which the request under way arrives, if it takes of this memory and
        waits for its caller; 0 for the head of a stranger."""
        return rate_in(self.exchange, memory, now_s)

    def give_way(self) -> None:
        """Refuse the request under way: its memory is needed."""
        self.exchange.abandon(refusals.MEMORY)

    # Who is next.

    def _take(self, data: bytes, start: int = 0, turn: Turn | None = None) -> None:
        """Take every whole request off `data[start:]`, and start with the one that is not whole.

        A turn is begun for the first head that is read. Requests like the last one take nothing off
        it: their answers are owed until their messages are durable, so there are few.
        """
        end = len(data)
        exchange = self.exchange
        heads = exchange.heads
        outbox = exchange.outbox
        while start < end:
            state = exchange.state
            if state is not IDLE:
                if state is not BODY:
                    exchange.discard(end - start)
                    return
                start = take_body(exchange, data, start, self._turn, self)
                if start < end and exchange.state is BODY:
                    self._set_aside(data[start:], Wait.TURN)
                    return
                continue
            if outbox.is_full:
                self._set_aside(data[start:], Wait.FULL)
                return
            if data[start] == _CR and data.startswith(b"\r\n", start):
                start += 2
                self._skip_empty_line()
                continue
            pattern = heads.pattern
            if pattern is not None:
                next_start = take_alike(exchange, pattern, data, start)
                if next_start:
                    start = next_start
                    continue
            head_end = data.find(HEAD_END, start)
            if head_end < 0:
                exchange.enter(HEAD)
                exchange.since_s = self._shared.clock()
                self._take_head(data[start:])
                return
            turn = turn or self._turn.begin()
            if not turn.spend_request(head_end - start):
                self._set_aside(data[start:], Wait.TURN)
                return
            start = take_request(exchange, data, start, head_end)

    def _take_head(self, data: bytes) -> None:
        whole = take_head(self.exchange, data, self)
        if whole:
            self._take(whole)

    def _skip_empty_line(self) -> None:
        try:
            self.exchange.heads.skip_empty_line()
        except MalformedError as malformed:
            self.exchange.fail(malformed.refusal)

    def _set_aside(self, data: bytes, wait: Wait) -> None:
        """Keep what was read, and read no more, until `_go_on` is called."""
        self.exchange.set_aside(data, wait)
        if wait is Wait.TURN:
            self._shared.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        """The others had theirs. What waited may be gone by now."""
        if self.exchange.waits_for(Wait.TURN):
            self._go_on()

    def _go_on(self) -> None:
        """Take the backlog, or as much of it as can be taken now."""
        exchange = self.exchange
        if exchange.transport.is_closing():
            return
        backlog = exchange.backlog
        assert backlog is not None
        data = backlog.take()
        exchange.drop_backlog()
        if exchange.receiving is not None:
            exchange.receiving.pace.excuse(self._shared.clock() - backlog.since_s)
        self._is_going_on = True
        self._take(data, 0, self._turn.begin())
        self._is_going_on = False
        if not exchange.waits_for(backlog.wait):
            exchange.reading.resume(backlog.wait)
        if exchange.at_eof and exchange.backlog is None and not exchange.end_input():
            exchange.transport.close()

    def _on_answered(self) -> None:
        """Every request so far was answered."""
        exchange = self.exchange
        if exchange.awaiting is not None:
            exchange.since_s = LATELY
            exchange.let_go()
        if exchange.state is ENDING:
            exchange.finish()
        elif exchange.outbox.has_said_end or self._shared.stopping:
            # What has begun to arrive is not looked at.
            exchange.end(lingers=True)
        elif exchange.backlog is not None:
            if exchange.backlog.wait is Wait.FULL:
                self._go_on()
        elif exchange.at_eof and not self._is_going_on:
            exchange.transport.close()
