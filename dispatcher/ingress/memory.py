"""Counts the bytes of request bodies that all connections hold in memory together.

One connection is bounded by itself, to about 1 MiB, but ten thousand of them are not. Counted is
what no look at the queue can see or stop, because its head was let in before: a body on its way in,
from its first byte until it is durable (or refused, or given up), and what was read after it and
had to wait. Not counted are requests that arrived whole in one read: the queue is asked about each
of them; and heads, which are small and have to be whole within seconds.

A count that is not given back would in the end refuse everybody for ever. So nobody adds or takes
away: who holds bytes has a `Held`, which is told how many they are now, and is over once.
"""

from __future__ import annotations

from typing import Final

from dispatcher.core.message import Message
from dispatcher.errors import Refusal
from dispatcher.queue.ports import Receipt

MAX_MEMORY_BYTES: Final = 256 * 1024 * 1024
"""A thousand bodies just too small for the log's chunks, or three hundred uploads to a disk that
stands still. Fifty uploads at once need 38 MiB."""


class Memory:
    """The sum for one listener, and the most it may be."""

    __slots__ = ("held_bytes", "max_bytes")

    def __init__(self, max_bytes: int = MAX_MEMORY_BYTES) -> None:
        self.max_bytes = max_bytes
        self.held_bytes = 0


class Held:
    """What one holder has in memory.

    Of a whole body it is the `Receipt` too: what the queue was handed is over when it has answered,
    even if the caller is gone by then.
    """

    __slots__ = ("_is_over", "_memory", "_receipt", "_size_bytes")

    _receipt: Receipt

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._size_bytes = 0
        self._is_over = False

    def grow(self, by_bytes: int) -> bool:
        """Hold so many bytes more, or return False: there is no room for them."""
        memory = self._memory
        if memory.held_bytes + by_bytes > memory.max_bytes:
            return False
        if not self._is_over:
            memory.held_bytes += by_bytes
            self._size_bytes += by_bytes
        return True

    def set(self, size_bytes: int) -> None:
        """It is so many bytes now. Does nothing when it is over."""
        if not self._is_over:
            self._memory.held_bytes += size_bytes - self._size_bytes
            self._size_bytes = size_bytes

    def end(self) -> None:
        """It is nothing any more, and never will be again. Idempotent."""
        self._memory.held_bytes -= self._size_bytes
        self._size_bytes = 0
        self._is_over = True

    def until_answered(self, receipt: Receipt) -> Receipt:
        """Return what ends this and passes the answer on to `receipt`."""
        self._receipt = receipt
        return self

    def accepted(self, message: Message) -> None:
        """The message is durable."""
        self.end()
        self._receipt.accepted(message)

    def refused(self, refusal: Refusal) -> None:
        """The message was not accepted."""
        self.end()
        self._receipt.refused(refusal)
