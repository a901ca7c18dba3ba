"""Connections that are of no more use, and that their destinations are about to close."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final

from dispatcher.delivery.connection import Connection

PATIENCE_S: Final = 1.0
"""Who said `Connection: close` mostly closes within a round trip."""


class Leaving:
    """Those that are waited for, with one timer. Who takes too long, or is one too many, is reset.

    Every connection that was added has to be removed when it is gone.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, most: int) -> None:
        self._loop = loop
        self._most = most
        self._until_s: OrderedDict[Connection, float] = OrderedDict()  # the oldest first
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._until_s)

    def add(self, connection: Connection) -> None:
        """Wait for the end of a connection that has carried a whole exchange."""
        connection.attempt = None
        self._until_s[connection] = self._loop.time() + PATIENCE_S
        if len(self._until_s) > self._most:
            self._reset_oldest()
        elif self._timer is None:
            self._timer = self._loop.call_later(PATIENCE_S, self._sweep)

    def remove(self, connection: Connection) -> None:
        """It is gone. Idempotent."""
        self._until_s.pop(connection, None)

    def close(self) -> None:
        """Wait for none of them any more."""
        while self._until_s:
            self._reset_oldest()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _reset_oldest(self) -> None:
        connection, _ = self._until_s.popitem(last=False)
        connection.reset()

    def _sweep(self) -> None:
        self._timer = None
        now_s = self._loop.time() + 0.001
        while self._until_s and next(iter(self._until_s.values())) <= now_s:
            self._reset_oldest()
        if self._until_s:
            next_s = next(iter(self._until_s.values()))
            self._timer = self._loop.call_at(next_s, self._sweep)
