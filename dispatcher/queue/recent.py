"""The last delivered messages, so that an operator can still ask for them by id.

A ring of tuples of numbers and bytes, which the garbage collector does not look into: some 200
bytes a message. Writing one is what every message pays, so it is as little as can be; looking one
up goes through the ring, in a few milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.core.message import Message

MOST = 100_000


@dataclass(frozen=True, slots=True)
class Past:
    """A message that was delivered. `request_line` has no line end."""

    destination: bytes
    request_line: bytes
    accepted_at: int
    attempts: int


class Recent:
    """The last `most` messages that were delivered."""

    __slots__ = ("_line", "_most", "_next", "_ring")

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._next = 0
        self._line = b""
        self._ring: list[tuple[int, int, bytes, bytes, int, int]] = []

    def __len__(self) -> int:
        return len(self._ring)

    def add(self, message: Message, destination: bytes) -> None:
        """Remember a message; `destination` is the key of its lane, which is shared."""
        head = message.head
        line = head[: head.find(b"\r")]
        if line == self._line:
            line = self._line  # one object for requests that repeat
        else:
            self._line = line
        past = (
            message.position,
            message.incarnation,
            destination,
            line,
            message.accepted_at,
            message.attempt,
        )
        at = self._next
        if at < len(self._ring):
            self._ring[at] = past
        else:
            self._ring.append(past)
        self._next = at + 1 if at + 1 < self._most else 0

    def find(self, position: int, incarnation: int) -> Past | None:
        """The message with this id, None when it is not among the last ones."""
        for past in self._ring:
            if past[0] == position and past[1] == incarnation:
                return Past(*past[2:])
        return None
