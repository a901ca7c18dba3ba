"""Connections that wait for their next message, per place, last in first out. A place is a
destination, and with what its connections are secured where a rule says that.

The one used last is the one most likely still open. None is handed out that is older than the
maximum: a name that moved is followed, and a balancer in between may share out anew. What is done
for one message does not depend on how many places there are. One timer closes those that waited too
long, and runs only while there are places.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from itertools import islice

from dispatcher.delivery.connection import Connection


class IdleConnections:
    """The stacks of idle connections."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        timeout_ms: int,
        max_age_ms: int,
        max_each: int,
        max_total: int,
    ) -> None:
        self._loop = loop
        self._now_s = loop.time
        self._timeout_s = timeout_ms / 1000
        self._max_age_s = max_age_ms / 1000
        self._max_each = max_each
        self._max_total = max_total
        # All of them, the oldest first, with the time since when each waits.
        self._since_s: OrderedDict[Connection, float] = OrderedDict()
        # By `Connection.place`; the hash of a destination's key costs nothing. The oldest is at the
        # bottom of its stack. A stack that `take` emptied stays: its connection comes back soon, or
        # is removed.
        self._stacks: dict[bytes, list[Connection]] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._since_s)

    def take(self, place: bytes, now_s: float) -> Connection | None:
        """Hand out the connection used last, if there is one."""
        stack = self._stacks.get(place)
        while stack:
            connection = stack.pop()
            del self._since_s[connection]
            if now_s - connection.opened_s < self._max_age_s:
                return connection
            connection.close()
        return None

    def park(self, connection: Connection) -> None:
        """Keep a connection for its next message; the oldest give way when there are too many."""
        now_s = self._now_s()
        if now_s - connection.opened_s >= self._max_age_s:
            connection.close()
            return
        place = connection.place
        try:
            stack = self._stacks[place]
        except KeyError:
            stack = self._stacks[place] = []
            if self._timer is None:
                self._timer = self._loop.call_later(self._timeout_s, self._sweep)
        stack.append(connection)
        self._since_s[connection] = now_s
        if len(stack) > self._max_each:
            self._drop(stack[0])
        if len(self._since_s) > self._max_total:
            self._drop(next(iter(self._since_s)))

    def give_way(self, count: int) -> bool:
        """Close those that waited longest, at most `count`: descriptors are lacking. False when
        there was none."""
        oldest = list(islice(self._since_s, count))
        for connection in oldest:
            self._drop(connection)
        return bool(oldest)

    def remove(self, connection: Connection) -> None:
        """Forget a connection that is of no use any more, idle or not, and its place with the last
        one. Idempotent; every connection that was ever parked has to be removed."""
        place = connection.place
        stack = self._stacks.get(place)
        if stack is None:
            return
        if self._since_s.pop(connection, None) is not None:
            stack.remove(connection)
        if not stack:
            del self._stacks[place]

    def close(self) -> None:
        """Close all of them, and stop the timer."""
        for connection in list(self._since_s):
            self._close(connection)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _drop(self, connection: Connection) -> None:
        """With a reset: there may be one of these for every message, and each that is closed first
        from here would keep a port busy for a minute (TIME_WAIT)."""
        self.remove(connection)
        connection.reset()

    def _close(self, connection: Connection) -> None:
        self.remove(connection)
        connection.close()

    def _sweep(self) -> None:
        now_s = self._now_s()
        self._timer = None
        try:
            while self._since_s:
                oldest, since_s = next(iter(self._since_s.items()))
                if since_s + self._timeout_s > now_s + 0.001:
                    break
                self._close(oldest)
        finally:  # a connection that fails to close is forgotten; the others still have their time
            if self._stacks:
                next_s = next(iter(self._since_s.values()), now_s) + self._timeout_s
                self._timer = self._loop.call_at(next_s, self._sweep)
