"""Records that were written a moment ago, in memory.

Most calls are run right after they were stored, and most results delivered or moved: then the bytes
are here, and nobody has to wait for a thread that reads the log.
"""

from __future__ import annotations

from typing import Final

MOST_BYTES: Final = 8 * 1024 * 1024
_EACH_BYTES: Final = 160
"""What an entry takes beside its bytes."""


class Recent:
    """Payloads by position, up to a budget: the oldest go first."""

    __slots__ = ("_left_bytes", "_most_bytes", "_payloads")

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = self._left_bytes = most_bytes
        self._payloads: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._payloads)

    def put(self, position: int, payload: bytes) -> None:
        """Keep the payload of a record that is durable now."""
        self._payloads[position] = payload
        self._left_bytes -= len(payload) + _EACH_BYTES
        while self._left_bytes < 0:
            oldest = next(iter(self._payloads))
            self._left_bytes += len(self._payloads.pop(oldest)) + _EACH_BYTES

    def get(self, position: int) -> bytes | None:
        """The payload of a record, if it is still here."""
        return self._payloads.get(position)
