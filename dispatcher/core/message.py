"""A message: one accepted HTTP request on its way to its destination.

Made by ingress from a caller's request, or by the queue from a record of the log. It holds the
outgoing request almost as it will be written: `head` is the request line and the header block
without the two headers that differ by attempt and without the blank line that ends it; `body`
follows as it came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dispatcher.core.destination import Destination

NOT_STORED = -1


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
    `slot`           its place in the index, -1 when it has none.
    `started_at`     when the attempt under way started, by the queue's clock (`Queue.now_us`), not
                     the wall clock.
    `doubtful`       its attempt under way started while its destination was in doubt.
    `history`        the finished attempts, encoded by `queue.records`.
    `redrives`       how often it was brought back from the dead letters.
    """

    __slots__ = (
        "accepted_at",
        "attempt",
        "body",
        "body_size",
        "chunks",
        "destination",
        "doubtful",
        "head",
        "history",
        "incarnation",
        "position",
        "redrives",
        "slot",
        "started_at",
        "timeout_ms",
        "wire_id",
    )

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
        self.doubtful = False

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
        return copy

    @property
    def method(self) -> str:
        """The method, as the caller spelled it."""
        return self.head[: self.head.index(b" ")].decode("ascii")

    @property
    def target(self) -> str:
        """The request target as it is sent, base path included."""
        return self.head.split(b" ", 2)[1].decode("ascii")
