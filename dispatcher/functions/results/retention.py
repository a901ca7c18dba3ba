"""How long results are kept: not longer than a time, and not more than so many bytes.

Age is counted from the end of the call, by the wall clock: that is when its caller was told, or
could have asked. To the second a result expires in memory; its space is given back by whole
stretches of the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_MOST_EXTENT_BYTES: Final = 4 * 1024 * 1024
_LEAST_EXTENT_BYTES: Final = 64 * 1024
_PARTS: Final = 16


@dataclass(frozen=True, slots=True)
class ResultPolicy:
    """`max_age_ms` (RESULT_RETENTION) and `max_bytes` (RESULT_MAX_BYTES); 0: no limit. Bytes are
    those of the records in the log, dead ones included."""

    max_age_ms: int = 24 * 3_600_000
    max_bytes: int = 2**30

    @property
    def extent_bytes(self) -> int:
        """How large a stretch of the log is, which expires as a whole."""
        if not self.max_bytes:
            return _MOST_EXTENT_BYTES
        return min(_MOST_EXTENT_BYTES, max(_LEAST_EXTENT_BYTES, self.max_bytes // _PARTS))

    def expired_until_s(self, now_us: int) -> int:
        """Results that ended in this second (since the epoch) or before it are expired; -1: none
        is."""
        if not self.max_age_ms:
            return -1
        return (now_us - self.max_age_ms * 1000) // 1_000_000
