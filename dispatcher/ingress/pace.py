"""How fast the body of a request arrives, and whether that is too slow.

A caller who sends one byte every few seconds is never silent for long, but holds memory for days.
So each body has a credit of seconds, a leaky bucket: it starts full, with the grace; passing time
drains it, and every byte puts back the time it would take at `MIN_BYTES_A_SECOND`. A body is late
when the credit is used up: after the grace if nothing arrives, later if bytes arrive too slowly.

Time in which we do not read, because the log is behind, does not count.
"""

from __future__ import annotations

from typing import Final

MIN_BYTES_A_SECOND: Final = 1024
_SHORTEST_S: Final = 1.0
"""A rate is measured over at least this long: bytes that arrive at once have none."""


class Pace:
    """The pace of one body. Instants are the loop's clock, in seconds."""

    __slots__ = ("_began_s", "_grace_s", "_late_at_s", "_resting_since_s", "_size_bytes")

    def __init__(self, grace_s: float, now_s: float) -> None:
        self._grace_s = grace_s
        self._began_s = now_s
        self._late_at_s = now_s + grace_s
        self._size_bytes = 0
        self._resting_since_s: float | None = None

    def took(self, size_bytes: int, now_s: float) -> None:
        """Count bytes that arrived."""
        self._size_bytes += size_bytes
        late_at_s = self._late_at_s + size_bytes / MIN_BYTES_A_SECOND
        self._late_at_s = min(late_at_s, now_s + self._grace_s)

    def excuse(self, seconds: float) -> None:
        """We kept what arrived waiting for so long: that does not make it late."""
        self._late_at_s += seconds

    def rest(self, now_s: float) -> None:
        """We stop reading. Idempotent."""
        if self._resting_since_s is None:
            self._resting_since_s = now_s

    def go_on(self, now_s: float) -> None:
        """We read again. Idempotent."""
        if self._resting_since_s is not None:
            rested_s = now_s - self._resting_since_s
            self._began_s += rested_s
            self._late_at_s += rested_s
            self._resting_since_s = None

    @property
    def is_resting(self) -> bool:
        """Whether we are not reading it."""
        return self._resting_since_s is not None

    def is_late(self, now_s: float) -> bool:
        """Whether it has been too slow for too long."""
        return self._resting_since_s is None and now_s > self._late_at_s

    def bytes_a_second(self, now_s: float, more_bytes: int = 0) -> float:
        """Return the rate since the start. `more_bytes` have arrived and are not counted yet."""
        return (self._size_bytes + more_bytes) / max(now_s - self._began_s, _SHORTEST_S)
