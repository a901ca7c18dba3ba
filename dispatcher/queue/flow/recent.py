"""The last delivered messages, so that an operator can still ask for them by id.

A few dictionaries of tuples of numbers and bytes, which the garbage collector does not look into:
some 230 bytes a message, and its request line where that is not the one before; its terms, where it
has any, as they are stored. Writing one is what
every message pays, so it is as little as can be. The oldest dictionary goes as a whole; it is
small, so that freeing it does not hold anybody up.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from dispatcher.core.message import Message
from dispatcher.core.terms import Terms
from dispatcher.queue.records.terms import decode_terms, encode_terms

MOST = 100_000
MOST_LINE_BYTES = 64 * 1024 * 1024
"""Of all request lines and terms together: one may have 64 KiB. Where they are so long fewer are
kept."""
_DICTIONARIES: Final = 10


@dataclass(frozen=True, slots=True)
class Past:
    """A message that was delivered. `request_line` has no line end."""

    destination: bytes
    request_line: bytes
    accepted_at: int
    attempts: int
    terms: Terms | None


class Recent:
    """At least the last `most` messages that were delivered, and a tenth more at most; fewer where
    their request lines take more than `most_line_bytes`."""

    __slots__ = (
        "_full",
        "_full_at",
        "_line",
        "_line_bytes",
        "_line_end",
        "_most_line_bytes",
        "_newest",
        "_newest_terms",
    )

    def __init__(self, most: int = MOST, *, most_line_bytes: int = MOST_LINE_BYTES) -> None:
        self._full_at = -(-most // _DICTIONARIES)
        self._line, self._line_end = b"", b"\r"
        self._line_bytes = 0
        self._most_line_bytes = most_line_bytes // _DICTIONARIES
        self._newest: dict[int, tuple[int, bytes, bytes, int, int]] = {}
        self._newest_terms: dict[int, bytes] = {}
        self._full: deque[
            tuple[dict[int, tuple[int, bytes, bytes, int, int]], dict[int, bytes]]
        ] = deque(maxlen=_DICTIONARIES)

    def add(self, message: Message, destination: bytes) -> None:
        """Remember a message; `destination` is the key of its lane, which is shared."""
        head = message.head
        if not head.startswith(self._line_end):
            end = head.find(b"\r")
            self._line = head[:end]
            self._line_end = self._line + b"\r"
            self._line_bytes += end
        newest = self._newest
        newest[message.position] = (
            message.incarnation,
            destination,
            self._line,  # one object for requests that repeat
            message.accepted_at,
            message.attempt,
        )
        if message.terms is not None:
            self._add_terms(message.position, message.terms)
        if len(newest) >= self._full_at or self._line_bytes > self._most_line_bytes:
            self._full.append((newest, self._newest_terms))
            self._newest = {}
            self._newest_terms = {}
            self._line_bytes = 0

    def _add_terms(self, position: int, terms: Terms) -> None:
        stored = encode_terms(terms)
        self._newest_terms[position] = stored
        self._line_bytes += len(stored)

    def find(self, position: int, incarnation: int) -> Past | None:
        """The message with this id, None when it is not among the last ones."""
        for some, terms in ((self._newest, self._newest_terms), *reversed(self._full)):
            past = some.get(position)
            if past is not None and past[0] == incarnation:
                stored = terms.get(position)
                return Past(*past[1:], None if stored is None else decode_terms(stored, 0))
        return None
