"""A message: one accepted HTTP request on its way to its destination.

Made by ingress from a caller's request, or by the queue from a record of the log. It holds the
outgoing request almost as it will be written: `head` is the request line and the header block
without the two headers that differ by attempt and without the blank line that ends it; `body`
follows as it came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from dispatcher.core.answer import Answer
    from dispatcher.core.destination import Destination
    from dispatcher.core.outcome import AttemptResult
    from dispatcher.core.tenure import Tenure
    from dispatcher.core.terms import Terms

NOT_STORED: Final = -1
PLAIN: Final = 0
RUN: Final = -1
"""The kind of what is of no queue: a run of a function call."""


class Home(Protocol):
    """The partition that a message is of, as delivery knows it. Of `delivered` and `failed` exactly
    one is called for every attempt that was started."""

    @property
    def tenure(self) -> Tenure:
        """Says whether anything may be sent for it now."""

    def delivered(self, message: Message, status: int) -> None:
        """A complete 2xx was read."""

    def failed(self, message: Message, result: AttemptResult) -> None:
        """Anything else."""

    async def read_body(self, positions: list[int]) -> list[bytes]:
        """The data of these chunk records, in order, without their record framing.

        Raises:
            BodyUnavailable: see `queue.ports`.
        """


class Message:
    """One message while it is in memory. Mutable and slotted: one is made for every request.

    `destination`    where it goes.
    `head`           bytes `METHOD SP target SP HTTP/1.1 CRLF (name: value CRLF)*`, ready to be
    written.
    `body`           the whole body, or b"" when `chunks` is not None.
    `chunks`         log positions of the body's chunk records, in order, for a body too large to
    hold.
    `body_size`      bytes of the whole body.
    `timeout_ms`     for one attempt; 0 means the server's default.
    `accepted_at`    microseconds since the epoch.
    `incarnation`, `position`   with the partition, the message's id; `position` is NOT_STORED
                     before the message is durable.
    `wire_id`        the id as text, in ASCII bytes; b"" before the message is durable.
    `attempt`        number of the attempt under way or last made; 0 before the first.
    `home`           the partition that it is of: set before its first attempt, and not there
                     before.
    `slot`           its place in the index, -1 when it has none.
    `started_at`     when the attempt under way started, by the queue's clock (`SteadyClock`),
                     not by the wall clock.
    `takes`, `hung`  what its attempt under way takes up, see `queue.lanes.workers`.
    `history`        the finished attempts, encoded by `queue.records`.
    `kind`           the number of its kind: what an outcome means for it. PLAIN is the only one.
                     It is not stored as such: the kind of its record says which it is.
    `redrives`       how often it was brought back from the dead letters.
    `terms`          what its caller asked for beyond `timeout_ms`; None: nothing.
    `answer_limit`   bytes of the response's body that are wanted, 0: none; below 0 so many of them
                     that it starts with.
    `answer`         the response to the attempt last made, for its home; None when there was none,
                     or it broke off. Only there after `want_answer` or `want_start`.
    """

    __slots__ = (
        "accepted_at",
        "answer",
        "answer_limit",
        "attempt",
        "body",
        "body_size",
        "chunks",
        "destination",
        "head",
        "history",
        "home",
        "hung",
        "incarnation",
        "kind",
        "position",
        "redrives",
        "slot",
        "started_at",
        "takes",
        "terms",
        "timeout_ms",
        "wire_id",
    )

    home: Home
    answer: Answer | None

    def __init__(
        self,
        destination: Destination,
        head: bytes,
        body: bytes,
        *,
        timeout_ms: int,
        accepted_at: int,
        incarnation: int = 0,
        chunks: tuple[int, ...] | None = None,
        body_size: int | None = None,
    ) -> None:
        self.destination = destination
        self.head = head
        self.body = body
        self.chunks = chunks
        self.body_size = len(body) if body_size is None else body_size
        self.timeout_ms = timeout_ms
        self.accepted_at = accepted_at
        self.incarnation = incarnation
        self.position = NOT_STORED
        self.wire_id = b""
        self.attempt = 0
        self.slot = -1
        self.started_at = 0
        self.history = b""
        self.redrives = 0
        self.terms: Terms | None = None
        self.kind = PLAIN
        self.takes = 0
        self.hung = False
        self.answer_limit = 0

    def __repr__(self) -> str:
        name = self.wire_id.decode("ascii") or "not stored"
        return f"<Message {name} {self.method} to {self.destination}, attempt {self.attempt}>"

    def with_chunks(self, chunks: tuple[int, ...] | None) -> Message:
        """The same message with its body in other chunk records."""
        copy = Message(
            self.destination,
            self.head,
            self.body,
            timeout_ms=self.timeout_ms,
            accepted_at=self.accepted_at,
            incarnation=self.incarnation,
            chunks=chunks,
            body_size=self.body_size,
        )
        copy.position = self.position
        copy.wire_id = self.wire_id
        copy.attempt = self.attempt
        copy.history = self.history
        copy.redrives = self.redrives
        copy.terms = self.terms
        copy.kind = self.kind
        copy.answer_limit = self.answer_limit
        copy.answer = None
        return copy

    def want_answer(self, limit: int) -> None:
        """Have delivery keep responses, up to so many bytes of a body: above that a response counts
        as broken."""
        self.answer_limit = limit
        self.answer = None

    def want_start(self, most: int) -> None:
        """Have delivery keep the heads of responses, and of their bodies this much at least: of a
        longer one the rest is dropped, and it counts as any other. Where it is less than what is
        wanted already, nothing changes."""
        self.answer_limit = min(self.answer_limit, -most)
        self.answer = None

    @property
    def method(self) -> str:
        """The method, as the caller spelled it."""
        return self.head[: self.head.index(b" ")].decode("ascii")

    @property
    def label(self) -> str:
        """What it is shown with and found by; "" when it has none."""
        return "" if self.terms is None else self.terms.label

    @property
    def target(self) -> str:
        """The request target as it is sent, base path included."""
        return self.head.split(b" ", 2)[1].decode("ascii")
