"""A store in memory: for one process, and forgotten when it ends. For tests, and where it does no
harm to handle a message again after a restart."""

from __future__ import annotations

import threading
from typing import Final

from dispatcher.receiver.store import Claimed, Entry, Standing, standing

KEEP_S: Final = 7 * 24 * 3600
MOST: Final = 100_000
"""Some 30 MB."""


class MemoryStore:
    """Remembers what was handled for `keep_s` seconds, and no more than the last `most` of them.

    One that is made before a process forks is another one in each child.
    """

    def __init__(self, *, keep_s: float = KEEP_S, most: int = MOST) -> None:
        self._keep_us = round(keep_s * 1_000_000)
        self._most = most
        self._lock = threading.Lock()
        self._running: dict[str, Entry] = {}
        self._handled: dict[str, Entry] = {}
        """In the order in which their time is over."""

    def __repr__(self) -> str:
        return f"<MemoryStore of {len(self._handled)}, {len(self._running)} running>"

    def claim(self, message_id: str, token: str, *, now_us: int, lease_us: int) -> Standing:
        """See `Store`."""
        with self._lock:
            self._forget(now_us)
            entry = self._handled.get(message_id) or self._running.get(message_id)
            found = standing(entry, now_us)
            if isinstance(found, Claimed):
                self._running[message_id] = Entry(token, now_us, now_us + lease_us)
            return found

    def finish(self, message_id: str, *, now_us: int) -> None:
        """See `Store`."""
        with self._lock:
            self._running.pop(message_id, None)
            self._handled.pop(message_id, None)
            self._handled[message_id] = Entry(None, now_us, now_us + self._keep_us)
            while len(self._handled) > self._most:
                del self._handled[next(iter(self._handled))]

    def release(self, message_id: str, token: str) -> None:
        """See `Store`."""
        with self._lock:
            entry = self._running.get(message_id)
            if entry is not None and entry.token == token:
                del self._running[message_id]

    def _forget(self, now_us: int) -> None:
        """Drop what is too old. Leases that are over cost nothing: threads of this process ended
        without `release` only if it did."""
        while self._handled:
            oldest = next(iter(self._handled))
            if self._handled[oldest].until_us > now_us:
                return
            del self._handled[oldest]
