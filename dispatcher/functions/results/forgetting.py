"""Forgetting results, because their calls run again.

Forgotten in memory at once; who asks is told when that is durable. What is forgotten before the
next batch shares one record.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from dispatcher.functions.results.holdings import Holdings
from dispatcher.functions.results.records import encode_forgotten, parts_of_key
from dispatcher.functions.results.storing import Then
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.commit.waiters import NotedForAll
from dispatcher.queue.records.kinds import OVERHEAD_BYTES

AT_ONCE: Final = 2000
"""Keys in one record: 24 kB."""


class Forgetting:
    """Writes down what is forgotten. `collect` belongs to the log's committer."""

    __slots__ = ("_gathered", "_holdings")

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._gathered: deque[tuple[int, Then]] = deque()

    def forget(self, key: int, then: Then, committer: Committer | None) -> None:
        """Forget a result; `then` is told when that is durable, at once when there is none.
        `committer` None: there is no log yet, so there is none."""
        if committer is None or not self._holdings.forget(*parts_of_key(key)):
            then(None)
            return
        self._gathered.append((key, then))
        committer.wake()

    def collect(self, committer: Committer) -> None:
        """Put what was forgotten since the last batch into the next one, or a part of it."""
        if not self._gathered:
            return
        count = min(AT_ONCE, len(self._gathered))
        portion = [self._gathered.popleft() for _ in range(count)]
        payload = encode_forgotten(key for key, _ in portion)
        size = len(payload) + OVERHEAD_BYTES
        thens = [then for _, then in portion]
        committer.submit_urgent(payload, NotedForAll(self._holdings.extents, size, thens))
        if self._gathered:
            committer.wake()
