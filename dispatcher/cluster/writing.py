"""What became of what was sent for one record that this member writes. Pure.

    send ─▶ under way ─▶ stored | refused | silent

A try that had no verdict (silent) may still be stored, until another record replaces the revision
that it was to replace. Whose a record is, and which try it was, its nonce and its `n` say.
"""

from __future__ import annotations

import math


class Writing:
    """The tries to write one key. `revision` is the latest one that is known, 0 while there is
    none; `is_under_way` says whether a try has no verdict yet: then no other one is sent."""

    __slots__ = ("_is_behind", "_is_silent", "_tries", "is_under_way", "revision", "sent_s")

    def __init__(self) -> None:
        self.revision = 0
        self.is_under_way = False
        self.sent_s = -math.inf
        self._tries: dict[int, float] = {}
        self._is_silent = False
        self._is_behind = False

    def may_send(self, now_s: float, again_s: float) -> bool:
        """Whether a try may be sent now: what had no verdict waits for a moment, and what was
        refused until it is known what is there."""
        if self.is_under_way or self._is_behind:
            return False
        return not self._is_silent or now_s - self.sent_s >= again_s

    def is_silent(self) -> bool:
        """Whether the last try had no verdict."""
        return self._is_silent

    def send(self, n: int, now_s: float) -> None:
        """A try is sent now, in place of `revision`."""
        self.is_under_way = True
        self._is_silent = False
        self.sent_s = now_s
        self._tries[n] = now_s

    def refused(self) -> None:
        """The try is certainly not stored: something later is there than was known."""
        self.is_under_way = False
        self._is_behind = True

    def silent(self) -> None:
        """Nobody said what became of it."""
        self.is_under_way = False
        self._is_silent = True

    def stored(self) -> None:
        """It is there: `is_new` is asked next."""
        self.is_under_way = False

    def looked(self) -> None:
        """The latest record was looked at."""
        self._is_behind = False

    def is_new(self, revision: int) -> bool:
        """Whether this revision is later than all before, and from now on the latest known."""
        if revision <= self.revision:
            return False
        self.revision = revision
        self._is_behind = False
        return True

    def sent_at_s(self, n: int) -> float:
        """When the try with this `n` was sent, which is stored. What was sent before or beside it
        can never be stored any more. Long ago, if nothing is known of it."""
        found = self._tries.get(n, -math.inf)
        self.forget()
        return found

    def forget(self) -> None:
        """Somebody else's record replaced what the tries were to replace."""
        self._tries.clear()
        self._is_silent = False
