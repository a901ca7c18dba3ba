"""The garbage collector, kept from looking through everything again and again.

A full collection looks at every object that can be in a cycle, in one call that holds the loop: at
a hundred thousand destinations that is a tenth of a second, and nothing of it is garbage. What has
survived a collection that took long stays for good, so it is set aside (`gc.freeze`) and the next
one has little to look at. Right after a collection nothing of it is garbage; and what is set aside
is still given back as soon as nobody refers to it. Only cycles that it becomes a part of later are
not.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from typing import Final

THRESHOLDS: Final = (700, 5, 3)
"""For `gc.set_threshold`. A full collection comes once 17 000 objects have come to stay, and one of
the second generation once 4 200 are new; with Python's own numbers, 10 and 10, it was after 85 000
and 7 700, and looking at them took up to 10 ms."""
LONG_SECONDS: Final = 0.0015
"""What is not set aside is looked at again by the next one, and so much may be added to it."""
_FULL: Final = 2


def set_aside() -> None:
    """Set aside all that is there now. Without a full collection after it, which has nothing to
    look at, the next one would not come before a quarter as much is new as was there, and hold the
    loop for all of that."""
    gc.freeze()
    gc.collect()


class Collecting:
    """Notes how long collections take; one of `gc.callbacks`."""

    def __init__(
        self,
        now: Callable[[], float] = time.thread_time,
        freeze: Callable[[], None] = gc.freeze,
    ) -> None:
        """`now` is a clock in seconds, of the processor: what others take does not count."""
        self._now = now
        self._freeze = freeze
        self._began = 0.0

    def __call__(self, phase: str, info: Mapping[str, int]) -> None:
        """A collection begins or ends. Of the young ones there are hundreds a second, and a look at
        this clock is a call of the system."""
        if info["generation"] != _FULL:
            return
        if phase == "start":
            self._began = self._now()
        elif self._now() - self._began >= LONG_SECONDS:
            self._freeze()
