"""Rests between the slices of work that operators ask for, shared by all who ask.

A slice holds the event loop for some half a millisecond. If each reader rested by itself, eight of
them would take the loop eight times as often, and every message would wait for their slices at each
of its steps. So they take turns: however many read, the loop is theirs for a slice every
`rest_s` at most, and each of them is slower instead.
"""

from __future__ import annotations

import asyncio
from typing import Final

REST_SECONDS: Final = 0.004
"""Some eight times a slice: looking through everything takes a ninth of the time at most."""


class Pace:
    """The turns of everybody who works in slices."""

    __slots__ = ("_next_at", "_rest_s")

    def __init__(self, rest_s: float = REST_SECONDS) -> None:
        self._rest_s = rest_s
        self._next_at = 0.0

    async def rest(self, *, part: float = 1.0) -> None:
        """Return when it is the caller's turn for one more slice. `part` of a rest will do after a
        slice that is so much shorter."""
        now = asyncio.get_running_loop().time()
        at = max(now, self._next_at) + self._rest_s * part
        self._next_at = at
        await asyncio.sleep(at - now)
