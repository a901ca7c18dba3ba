"""The age of dead letters: time that was seen to pass.

What is dropped is gone for good, so its age must not be what a wall clock says: that may be a month
ahead for a moment, or may have been when a letter died. What counts is the log's *uptime*: the
seconds in which a process had it open, by the monotonic clock, added up over all processes. Each
letter has the uptime at its death in its record, and the uptime itself is written down once a
minute, while there are letters that it matters to.

So a letter is never dropped before the server has run for its whole retention time since it died.
While the server, or the machine, is off nothing ages; what a crash forgets is a minute at most. A
letter that version 0.1 wrote counts as one that died when the log was new, at uptime 0.
"""

from __future__ import annotations

from math import ceil
from typing import Protocol

from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.commit.waiters import Noted
from dispatcher.queue.deadletters.holdings import Holdings
from dispatcher.queue.records.kinds import OVERHEAD_BYTES
from dispatcher.queue.records.uptime import encode_uptime

NOTE_SECONDS = 60


class Monotonic(Protocol):
    """A clock that never goes back and never jumps."""

    def monotonic_us(self) -> int:
        """Microseconds since some fixed moment."""


class Uptime:
    """Of one log, in whole seconds: never less than passed when a letter dies, never more than
    passed when its age is asked for."""

    def __init__(self, clock: Monotonic) -> None:
        self._clock = clock
        self._opened_us = clock.monotonic_us()
        self._before_s = 0
        self._noted_s = 0

    @property
    def now_s(self) -> int:
        """Seconds that have passed for certain."""
        return self._before_s + (self._clock.monotonic_us() - self._opened_us) // 1_000_000

    @property
    def at_death_s(self) -> int:
        """The same for a letter that dies now: not less than will be found to have passed."""
        return self._before_s + ceil((self._clock.monotonic_us() - self._opened_us) / 1_000_000)

    def visit(self, seconds: int) -> None:
        """A record says that this much had passed."""
        self._before_s = max(self._before_s, seconds)

    def note(
        self, holdings: Holdings, committer: Committer, *, every_s: int = NOTE_SECONDS
    ) -> None:
        """Write it down, unless that was done in the last `every_s` seconds or there is nothing
        that it matters to, or no space for it."""
        now = self.now_s
        if now - self._noted_s < every_s or not len(holdings.letters) or committer.full:
            return
        self._noted_s = now
        payload = encode_uptime(now)
        committer.submit_urgent(payload, Noted(holdings.extents, len(payload) + OVERHEAD_BYTES))
        committer.wake_lazily()
