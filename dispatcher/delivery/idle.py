"""Connections that wait for their next message, per destination, last in first out.

The one used last is the one most likely still open. One timer closes those that waited too long,
and runs only while there is something to close.
"""

from __future__ import annotations

import asyncio

from dispatcher.core.destination import Destination
from dispatcher.delivery.connection import Connection


class IdleConnections:
    """The stacks of idle connections. `count` is how many there are in all of them."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        timeout_ms: int,
        max_each: int,
        max_total: int,
    ) -> None:
        self._loop = loop
        self._timeout_s = timeout_ms / 1000
        self._max_each = max_each
        self._max_total = max_total
        # The oldest is at the bottom of its stack. Empty stacks stay until the timer comes by.
        self._stacks: dict[Destination, list[Connection]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.count = 0

    def take(self, destination: Destination) -> Connection | None:
        """Hand out the connection used last, if there is one."""
        stack = self._stacks.get(destination)
        if not stack:
            return None
        self.count -= 1
        return stack.pop()

    def park(self, connection: Connection) -> None:
        """Keep a connection for its next message; the oldest give way when there are too many."""
        connection.idle_since_s = self._loop.time()
        stack = self._stacks.get(connection.destination)
        if stack is None:
            stack = self._stacks[connection.destination] = []
        stack.append(connection)
        self.count += 1
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._sweep)
        if len(stack) > self._max_each:
            self._close_oldest(stack)
        if self.count > self._max_total:
            oldest = min(filter(None, self._stacks.values()), key=lambda s: s[0].idle_since_s)
            self._close_oldest(oldest)

    def remove(self, connection: Connection) -> None:
        """Forget a connection that is of no use any more. Idempotent."""
        stack = self._stacks.get(connection.destination, ())
        if connection in stack:
            self._stacks[connection.destination].remove(connection)
            self.count -= 1

    def close(self) -> None:
        """Close all of them, and stop the timer."""
        for stack in self._stacks.values():
            while stack:
                self._close_oldest(stack)
        self._stacks.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close_oldest(self, stack: list[Connection]) -> None:
        self.count -= 1
        stack.pop(0).close()

    def _sweep(self) -> None:
        now_s = self._loop.time()
        for destination, stack in list(self._stacks.items()):
            while stack and stack[0].idle_since_s + self._timeout_s <= now_s + 0.001:
                self._close_oldest(stack)
            if not stack:
                del self._stacks[destination]
        if not self._stacks:
            self._timer = None
            return
        oldest_s = min(stack[0].idle_since_s for stack in self._stacks.values())
        self._timer = self._loop.call_at(oldest_s + self._timeout_s, self._sweep)
