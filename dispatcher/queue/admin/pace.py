"""Slices of work that operators ask for, and the rests between them, shared by all who ask.

A slice holds the event loop for a fraction of a millisecond (`SLICE_US`), and a message that comes
meanwhile waits for it, at each of its steps. If each reader rested by itself, eight of them would
take the loop eight times as often. So they take turns: however many read, the loop is theirs for
one slice every `rest_s` at most, and each of them is slower instead. While nobody sends or receives
messages they need not be slow, and rest for `QUIET_REST_SECONDS` only.

How much is done in a slice is for its reader to decide: so many at most, and no more once the slice
`is_over`. Whoever waits for something else within a slice, such as the disk, says when it goes on
(`begin`). Where the answer is metered (`meter`), a slice that took longer all the same is followed
by a rest that is longer by as much: the share of the loop is kept whatever a slice does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from dispatcher.queue.admin.meter import taken_s

REST_SECONDS: Final = 0.004
"""Some twenty times a slice: operators take a twentieth of the loop's time while messages come."""
QUIET_REST_SECONDS: Final = 0.001
"""Nothing shorter: timers of the loop count milliseconds."""
SLICE_US: Final = 200
_SLICE_SECONDS: Final = SLICE_US / 1e6
_MOST_RESTS: Final = 25.0
"""A tenth of a second: after a slice that was so long that something else was wrong."""
QUIET_AFTER_US: Final = 50_000
"""How long after the last message there is no traffic any more."""


def _monotonic_us() -> int:
    return time.monotonic_ns() // 1000


class Pace:
    """The turns of everybody who works in slices."""

    __slots__ = ("_began_us", "_flowed_us", "_moved", "_next_at", "_now_us", "_rest_s", "_traffic")

    def __init__(
        self,
        rest_s: float = REST_SECONDS,
        *,
        traffic: Callable[[], int] | None = None,
        now_us: Callable[[], int] = _monotonic_us,
    ) -> None:
        """`traffic` counts what must not be disturbed: while it grows, rests are whole; None: they
        always are. `now_us` is a monotonic clock."""
        self._rest_s = rest_s
        self._traffic = traffic
        self._now_us = now_us
        self._next_at = 0.0
        self._began_us = now_us()
        self._moved = 0
        self._flowed_us = self._began_us

    def another(self) -> Pace:
        """One with turns of its own, about the same traffic: for who must not wait for others that
        read, such as a scrape."""
        return Pace(self._rest_s, traffic=self._traffic, now_us=self._now_us)

    @property
    def is_over(self) -> bool:
        """Whether the slice that is under way has lasted as long as one may."""
        return self._now_us() - self._began_us >= SLICE_US

    def begin(self) -> None:
        """The slice begins, or goes on after a wait for something else: none of that counts."""
        self._began_us = self._now_us()

    async def rest(self, *, part: float = 1.0) -> None:
        """Return when it is the caller's turn for one more slice. `part` of a rest will do after a
        slice that is so much shorter, and as many are needed as what was worked is longer."""
        rest_s = self._rest_s * min(max(part, taken_s() / _SLICE_SECONDS), _MOST_RESTS)
        if self._is_quiet():
            rest_s = min(rest_s, QUIET_REST_SECONDS)
        now = asyncio.get_running_loop().time()
        at = max(now, self._next_at) + rest_s
        self._next_at = at
        await asyncio.sleep(at - now)
        self.begin()

    def _is_quiet(self) -> bool:
        if self._traffic is None:
            return False
        moved, now_us = self._traffic(), self._now_us()
        if moved != self._moved:
            self._moved, self._flowed_us = moved, now_us
        return now_us - self._flowed_us >= QUIET_AFTER_US
