"""A dead letter that is changed as it is redriven."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from dispatcher.core.destination import Destination
from dispatcher.core.message import Message
from dispatcher.core.readdressing import terms_elsewhere, with_host, with_length


@dataclass(frozen=True, slots=True)
class LetterEdit:
    """What is changed of a message when it is redriven; of what is None nothing is.

    `redrives` says which letter was looked at: how often its message had been redriven before.
    `lines` are all its header lines, each with its line end; `Host` and `Content-Length` are made
    right for destination and body. `body` is in pieces of at most `ports.CHUNK_BYTES`.
    """

    redrives: int
    destination: Destination | None = None
    lines: bytes | None = None
    body: Sequence[bytes] | None = None

    @property
    def is_large(self) -> bool:
        """Whether the new body is stored in records of its own."""
        return self.body is not None and len(self.body) > 1

    def applied(self, dead: Message) -> Message:
        """The message as it is to be. Of a large new body it has the size only."""
        message = dead.with_chunks(dead.chunks)
        if self.body is not None:
            message.chunks = None
            message.body_size = sum(map(len, self.body))
            message.body = b"" if self.is_large else b"".join(self.body)
        if self.lines is not None:
            request_line, _, _ = dead.head.partition(b"\r\n")
            message.head = request_line + b"\r\n" + self.lines
        if self.destination is not None and self.destination != dead.destination:
            message.destination = self.destination
            if message.terms is not None:
                message.terms = terms_elsewhere(message.terms, dead.destination)
        message.head = with_host(message.head, message.destination)
        if self.lines is not None or self.body is not None:
            message.head = with_length(message.head, message.body_size)
        return message

    async def pieces(self) -> AsyncIterator[bytes]:
        """The new body."""
        for piece in self.body or ():
            yield piece
