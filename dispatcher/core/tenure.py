"""For how long this process may act for a partition: start attempts of its messages, and send bytes
to where they go.

With logs in files that is for good: they are locked. Where another process may take a partition
over, it is until an instant on this process's own clock, which is moved on again and again. Whoever
hung, or was cut off, finds it passed, and does nothing more until it knows that the partition is
still its own. What is stored meanwhile is stored all the same: the log itself refuses who is not
its owner any more.

    FOR GOOD ── bound ──▶ BOUND ── time passes ──▶ LAPSED ── bound ──▶ BOUND
    any of them ── end ──▶ ENDED
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable


class Tenure:
    """One partition's, asked at the last moment: where an attempt begins, and where bytes leave.

    `is_for_good` saves those who ask the look at the clock: it stands for `holds`.
    """

    __slots__ = ("_now_s", "_until_s", "is_for_good")

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        """`now_s` is a monotonic clock that was not read before: an event loop's shows the instant
        at which a process that was stopped went to sleep."""
        self._now_s = now_s
        self._until_s = math.inf
        self.is_for_good = True

    def __repr__(self) -> str:
        what = "for good" if self.is_for_good else "holds" if self.holds() else "over"
        return f"<Tenure {what}>"

    def holds(self) -> bool:
        """Whether this process may act now."""
        return self.is_for_good or self._now_s() < self._until_s

    def bound(self, until_s: float) -> None:
        """It may act until this instant of its clock, in seconds, infinity being for good, and no
        more after it ended."""
        if self._until_s != -math.inf:
            self._until_s = until_s
            self.is_for_good = until_s == math.inf

    def end(self) -> None:
        """The partition is another one's now. Idempotent."""
        self._until_s = -math.inf
        self.is_for_good = False
