"""Counts the bytes of unfinished requests that all connections hold in memory together.

One connection holds at most about 1 MiB, but there may be ten thousand of them. Two things are
counted, because they were admitted before the queue could be asked about them: a body that is
arriving, from its first byte until it is durable, refused or given up; and bytes that were read
behind it and have to wait. A request that arrives whole in one read is not counted: the queue is
asked about it. Unfinished heads have a budget of their own, so that callers who have not shown a
key cannot use up the memory for bodies. When a budget is used up, `room` decides who is refused.

If bytes were counted and never released, everybody would be refused in the end. So nobody changes
the sum: whoever holds bytes has a `Held`, sets it to what it holds now, and ends it once.
"""

from __future__ import annotations

import math
from typing import Final

from dispatcher.core.message import Message
from dispatcher.errors import Refusal
from dispatcher.queue.ports import Receipt

MAX_MEMORY_BYTES: Final = 256 * 1024 * 1024
"""Enough for a thousand bodies just below the size of a chunk, or for three hundred uploads while
the disk is stalled. Fifty uploads at once need 38 MiB."""
MAX_HEADS_BYTES: Final = 32 * 1024 * 1024
"""Enough for five hundred heads of 64 KiB, or for ten thousand of the usual size."""


class Memory:
    """The sum for the listener and its forward proxy, and the most it may be.

    `looked_at_s` is when `room` last searched for connections to refuse, by the loop's clock.
    """

    __slots__ = ("held_bytes", "looked_at_s", "max_bytes")

    def __init__(self, max_bytes: int = MAX_MEMORY_BYTES) -> None:
        self.max_bytes = max_bytes
        self.held_bytes = 0
        self.looked_at_s = -math.inf


class Held:
    """What one holder has in memory: `size_bytes`, changed by the methods only.

    It is also the `Receipt` of a whole body: the bytes are released when the queue has answered,
    even if the caller is gone by then.
    """

    __slots__ = ("_is_over", "_memory", "_receipt", "size_bytes")

    _receipt: Receipt

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.size_bytes = 0
        self._is_over = False

    def grow(self, by_bytes: int) -> bool:
        """Hold so many bytes more, or return False: there is no room for them."""
        memory = self._memory
        if memory.held_bytes + by_bytes > memory.max_bytes:
            return False
        if not self._is_over:
            memory.held_bytes += by_bytes
            self.size_bytes += by_bytes
        return True

    def set(self, size_bytes: int) -> None:
        """Hold exactly this many bytes. Does nothing after `end`."""
        if not self._is_over:
            self._memory.held_bytes += size_bytes - self.size_bytes
            self.size_bytes = size_bytes

    def end(self) -> None:
        """Release everything, for good. Idempotent."""
        self._memory.held_bytes -= self.size_bytes
        self.size_bytes = 0
        self._is_over = True

    def until_answered(self, receipt: Receipt) -> Receipt:
        """Return a receipt that releases the bytes and passes the answer on to `receipt`."""
        self._receipt = receipt
        return self

    @property
    def receipt(self) -> Receipt:
        """Who is told, after `until_answered`."""
        return self._receipt

    def accepted(self, message: Message) -> None:
        """The message is durable."""
        self.end()
        self._receipt.accepted(message)

    def duplicate(self, message_id: bytes) -> None:
        """Nothing was stored."""
        self.end()
        self._receipt.duplicate(message_id)

    def refused(self, refusal: Refusal) -> None:
        """The message was not accepted."""
        self.end()
        self._receipt.refused(refusal)
