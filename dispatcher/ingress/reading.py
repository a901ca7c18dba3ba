"""Stops and resumes reading from a caller, for several reasons at once."""

from __future__ import annotations

import asyncio
from enum import Enum


class Wait(Enum):
    """What reading waits for."""

    FULL = "answers: too many are owed"
    TURN = "the other connections: this one had its turn"
    UPLOAD = "the log: it is behind with a large body"
    WRITING = "the caller: it does not read its answers"


class Reading:
    """Pauses a transport while there is at least one reason to wait."""

    __slots__ = ("_transport", "_waits")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._waits: set[Wait] = set()

    def waits_for(self, wait: Wait) -> bool:
        """Whether reading is paused for this reason, among others."""
        return wait in self._waits

    def pause(self, wait: Wait) -> None:
        """Stop reading until `resume` is called with the same reason. Idempotent."""
        if not self._waits and not self._transport.is_closing():
            self._transport.pause_reading()
        self._waits.add(wait)

    def resume(self, wait: Wait) -> None:
        """Drop a reason, and read again if it was the last. Idempotent."""
        if wait not in self._waits:
            return
        self._waits.remove(wait)
        if not self._waits and not self._transport.is_closing():
            self._transport.resume_reading()
