"""The answers of one connection, in the order of its requests.

Requests are answered when they are durable, refusals at once: without this, the refusal of a
pipelined request would overtake the 202 of the one before it. Nothing is kept for an answer but how
it has to look.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from dispatcher.core.message import Message
from dispatcher.errors import Refusal
from dispatcher.ingress import answers
from dispatcher.ingress.answers import ACCEPTED_TAIL
from dispatcher.ingress.shared import Shared
from dispatcher.queue.ports import CHUNK_BYTES

MAX_WAITING: Final = 64
"""Requests of one connection that may wait for their answers."""
MAX_HELD_BYTES: Final = CHUNK_BYTES
"""Bytes of their bodies; another request is read only while there are fewer.

Not more than `CHUNK_BYTES`, or answers come out of order: the queue promises its receipts in the
order of `accept`, but a message with an upload is submitted when the last chunk is durable, and a
small one after it would overtake it. Every body with an upload is longer than `CHUNK_BYTES`, so
that nothing is read after it until it was answered."""

_READY: Final = -1


class Outbox:
    """The `Receipt` of every request of a connection: the queue tells it when a message is durable.

    `_waiting` has one entry an answer that is still owed: its style, or _READY for one that is
    rendered already and only waits for those before it. `is_blocked` is set by the connection while
    the caller does not read.
    """

    __slots__ = ("_emptied", "_held_bytes", "_ready", "_shared", "_waiting", "_write", "is_blocked")

    def __init__(self, shared: Shared, emptied: Callable[[], None]) -> None:
        self._shared = shared
        self._write: Callable[[bytes], None] = _nowhere
        self._emptied = emptied
        self._waiting: deque[int] = deque()
        self._ready: deque[bytes] = deque()
        self._held_bytes = 0
        self.is_blocked = False

    def __repr__(self) -> str:
        blocked = ", blocked" if self.is_blocked else ""
        return f"<Outbox {len(self._waiting)} answers owed{blocked}>"

    def connect(self, write: Callable[[bytes], None]) -> None:
        """From now on answers are written with `write`."""
        self._write = write

    @property
    def is_empty(self) -> bool:
        """Whether every request was answered."""
        return not self._waiting

    @property
    def is_full(self) -> bool:
        """Whether no request should be read until some were answered."""
        return (
            len(self._waiting) >= MAX_WAITING
            or self._held_bytes >= MAX_HELD_BYTES
            or self.is_blocked
        )

    def expect(self, style: int, body_size: int) -> None:
        """A message goes to the queue; one of `accepted` and `refused` follows, in order."""
        self._waiting.append(style)
        self._held_bytes += body_size

    def put(self, answer: bytes) -> None:
        """Write an answer that needs no receipt, after those that are still owed."""
        if self._waiting:
            self._waiting.append(_READY)
            self._ready.append(answer)
        else:
            self._write(answer)

    def accepted(self, message: Message) -> None:
        """The message is durable: write its 202."""
        style = self._waiting.popleft()
        shared = self._shared
        if style or shared.stopping:
            if shared.stopping and not self._waiting:
                style |= answers.CLOSE
            self._write(answers.accepted(message.wire_id, style=style, date=shared.date))
        else:
            self._write(shared.accepted_start + message.wire_id + ACCEPTED_TAIL)
        self._advance()

    def refused(self, refusal: Refusal) -> None:
        """The queue did not take the message after all: write why."""
        style = self._waiting.popleft()
        shared = self._shared
        shared.count_refusal(refusal)
        if shared.stopping and not self._waiting:
            style |= answers.CLOSE
        self._write(answers.refused(refusal, style=style, date=shared.date))
        self._advance()

    def disconnect(self) -> None:
        """The caller is gone: messages under way stay accepted, their answers go nowhere."""
        self._write = _nowhere
        self._emptied = _nothing

    def _advance(self) -> None:
        waiting = self._waiting
        while waiting and waiting[0] == _READY:
            waiting.popleft()
            self._write(self._ready.popleft())
        if not waiting:
            self._held_bytes = 0
            self._emptied()


def _nowhere(data: bytes) -> None:
    """Drop an answer: the caller is gone."""


def _nothing() -> None:
    """Do nothing: the connection is gone."""
