"""Where the exchange with one caller stands, and how it ends.

`Exchange` is what the parts of a connection have in common. They change its state by `enter` and
nothing else, and whichever of them finds that nothing more is to be read ends it here. The answers
that are owed are always written first; see `closing` for what comes after them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from dispatcher.errors import Refusal
from dispatcher.ingress import answers, refusals
from dispatcher.ingress.awaiting import Awaiting
from dispatcher.ingress.backlog import Backlog
from dispatcher.ingress.closing import Closing
from dispatcher.ingress.entrance import Entrance
from dispatcher.ingress.heads import Heads
from dispatcher.ingress.outbox import Outbox
from dispatcher.ingress.reading import Reading, Wait
from dispatcher.ingress.receiving import Receiving
from dispatcher.ingress.shared import Shared
from dispatcher.ingress.states import (
    BODY,
    CLOSED,
    DROP,
    ENDING,
    HEAD,
    IDLE,
    LINGER,
    TRANSITIONS,
    State,
)

LATELY: Final = -1.0
"""In IDLE: at some time since the last sweep. The next one puts its own instant in place of it, so
that no request has to look at the clock."""


class Exchange:
    """The exchange with one caller.

    `receiving`   the request whose body is under way; in BODY only.
    `owed_bytes`  what is still to come of a refused body; in DROP only.
    `closing`     how it ends; from ENDING on.
    `backlog`     what was read and has to wait.
    `awaiting`    the request whose caller waits for what becomes of its message.
    `entrance`    where the caller came in.
    `ends_at_s`   when it ends with its next answer, by the loop's clock.
    `at_eof`      whether the caller said that it sends nothing more.
    `since_s`     from when `slow` counts, by the loop's clock: in IDLE from the last request (or
                  `LATELY`), in HEAD from its first byte, in DROP from the refusal: the rest of the
                  body may take no longer than a silence, however it drips.
    """

    __slots__ = (
        "at_eof",
        "awaiting",
        "backlog",
        "closing",
        "ends_at_s",
        "entrance",
        "heads",
        "outbox",
        "owed_bytes",
        "reading",
        "receiving",
        "shared",
        "since_s",
        "state",
        "transport",
    )

    transport: asyncio.Transport
    reading: Reading

    def __init__(self, shared: Shared, entrance: Entrance, on_answered: Callable[[], None]) -> None:
        """`on_answered` is called when every request so far was answered."""
        self.state: State = IDLE
        self.shared = shared
        self.entrance = entrance
        self.outbox = Outbox(shared, on_answered)
        self.heads = Heads(shared.head_memory, shared.config.keys, entrance)
        self.receiving: Receiving | None = None
        self.owed_bytes = 0
        self.closing: Closing | None = None
        self.backlog: Backlog | None = None
        self.awaiting: Awaiting | None = None
        self.since_s = LATELY
        self.ends_at_s = shared.ends_at_s()
        self.at_eof = False

    def __repr__(self) -> str:
        waits = "" if self.backlog is None else f", waits for {self.backlog.wait.name}"
        return f"{self.state.name}{waits}, {self.outbox!r}"

    def connect(self, transport: asyncio.Transport) -> None:
        """The caller is there: read from it and write to it."""
        self.transport = transport
        self.reading = Reading(transport)
        self.outbox.connect(transport.write, transport.abort)

    def enter(self, state: State) -> None:
        """Go over to another state, one that the table has after this one."""
        assert state in TRANSITIONS[self.state], f"{self.state} does not lead to {state}"
        self.state = state

    # What has to wait.

    @property
    def is_idle(self) -> bool:
        """Whether no request has begun to arrive."""
        return self.state is IDLE and self.backlog is None

    def waits_for(self, wait: Wait) -> bool:
        """Whether there is a backlog for this reason."""
        return self.backlog is not None and self.backlog.wait is wait

    def set_aside(self, data: bytes, wait: Wait) -> None:
        """Keep what was read, and read no more, until it is over."""
        self.backlog = Backlog(self.shared.memory, wait, self.shared.clock())
        self.reading.pause(wait)
        self.keep(self.backlog, data)

    def keep(self, backlog: Backlog, data: bytes) -> None:
        """Add to the backlog, or end if there is no memory for it."""
        if backlog.add(data):
            return
        if self.state is BODY:
            self.abandon(refusals.MEMORY)
        else:
            self.fail(refusals.MEMORY)

    def drop_backlog(self) -> None:
        """Forget what waits. Idempotent."""
        if self.backlog is not None:
            self.backlog.drop()
            self.backlog = None

    # Refusals after which nothing more can be read.

    def fail(self, refusal: Refusal, *, no_body: bool = False) -> None:
        """Refuse what arrives, and end. `no_body` says that it is a HEAD request."""
        shared = self.shared
        shared.count_refusal(refusal)
        style = answers.CLOSE | (answers.NO_BODY if no_body else 0)
        self.outbox.put(answers.refused(refusal, style=style, date=shared.date))
        self.end(lingers=True)

    def abandon(self, refusal: Refusal) -> None:
        """Refuse the request whose head or body is under way, if there is one, and end."""
        receiving = self.receiving
        if receiving is not None:
            self.fail(refusal, no_body=bool(receiving.style & answers.NO_BODY))
        elif self.state is HEAD:
            self.fail(refusal, no_body=self.heads.is_for_head)

    def drop_request(self) -> None:
        """Forget the request that is under way. Idempotent."""
        self.heads.drop()
        receiving, self.receiving = self.receiving, None
        if receiving is not None:
            receiving.body.abort()

    def let_go(self) -> None:
        """What a caller waited for is written: once it has left, its memory is needed no more."""
        if self.awaiting is not None and not self.outbox.is_blocked:
            self.awaiting.release()
            self.awaiting = None

    # The end.

    def end_input(self) -> bool:
        """The caller's last byte was looked at, and half a request is nothing; return whether
        answers are owed, for which the connection stays."""
        if self.state in {HEAD, BODY, DROP}:
            self.drop_request()
            self.begin_ending(lingers=False)
        elif self.closing is not None:
            self.closing.lingers = False
        return not self.outbox.is_empty

    def begin_ending(self, *, lingers: bool) -> None:
        """The last request is read, and its answer is still to come."""
        self.enter(ENDING)
        self.closing = Closing(lingers=lingers)

    def end(self, *, lingers: bool) -> None:
        """Read no more requests; close once every answer is written."""
        self.drop_request()
        self.drop_backlog()
        self.begin_ending(lingers=lingers and not self.at_eof)
        self.reading.resume(Wait.UPLOAD)
        self.reading.resume(Wait.FULL)
        self.reading.resume(Wait.TURN)
        if self.outbox.is_empty:
            self.finish()

    def finish(self) -> None:
        """Every answer is written: let the caller see them, then close."""
        closing = self.closing
        assert closing is not None  # there is one from ENDING on
        self.enter(LINGER)
        closing.begin_lingering(self.shared.clock())
        if self.transport.is_closing():
            return  # it was closed while answers were owed
        if closing.lingers:
            self.transport.write_eof()
        else:
            self.transport.close()

    def discard(self, size_bytes: int) -> None:
        """Bytes after the last request arrived."""
        closing = self.closing
        if closing is not None:
            closing.discard(size_bytes, self.shared.clock())
            if closing.is_flooded and self.state is LINGER:
                self.transport.abort()

    def give_up(self) -> None:
        """Close without an answer. A caller that does not read could hold up a plain close."""
        if self.reading.waits_for(Wait.WRITING):
            self.transport.abort()
        else:
            self.transport.close()

    def lose(self) -> None:
        """The caller is gone. Messages that were handed to the queue stay handed over."""
        if self.state is not CLOSED:
            self.enter(CLOSED)
        self.drop_request()
        self.drop_backlog()
        self.outbox.disconnect()
        if self.awaiting is not None:
            self.awaiting.leave()
            self.awaiting = None
