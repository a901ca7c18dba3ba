"""What a connection has read and may not take yet."""

from __future__ import annotations

from dispatcher.ingress.memory import Held, Memory
from dispatcher.ingress.reading import Wait


class Backlog:
    """Bytes that wait, in their order: for `wait`, and since `since_s` by the loop's clock.

    They are counted in `memory` until they are taken or dropped.
    """

    __slots__ = ("_buffer", "_held", "since_s", "wait")

    def __init__(self, memory: Memory, wait: Wait, since_s: float) -> None:
        self.wait = wait
        self.since_s = since_s
        self._buffer = bytearray()
        self._held = Held(memory)

    def add(self, data: bytes) -> bool:
        """Keep more bytes, or return False: there is no memory for them."""
        if not self._held.grow(len(data)):
            return False
        self._buffer += data
        return True

    def take(self) -> bytes:
        """Hand out everything; the backlog is used up."""
        data = bytes(self._buffer)
        self.drop()
        return data

    def drop(self) -> None:
        """Forget everything. Idempotent."""
        self._buffer.clear()
        self._held.end()
