"""What comes from outside: results of promises, values in channels, words that were claimed."""

from __future__ import annotations

from collections import defaultdict, deque

from dispatcher.protocol.messages import CallResult


def is_outside(endpoint: str) -> bool:
    """Whether calls to it are run by nobody."""
    return endpoint.startswith(("promise:", "channel:"))


class Given:
    """What was given and, of channels, not received yet."""

    def __init__(self) -> None:
        self._promises: dict[str, CallResult] = {}
        self._channels: defaultdict[str, deque[CallResult]] = defaultdict(deque)
        self._claimed: set[str] = set()

    def take_all(self, other: Given) -> None:
        """Have the same promises, and values in channels, as `other`."""
        self._promises = dict(other._promises)
        for endpoint, values in other._channels.items():
            self._channels[endpoint] = values.copy()

    def keep(self, endpoint: str, result: CallResult) -> bool:
        """Keep a result for whoever waits later. False where the promise has one, which counts."""
        if endpoint.startswith("channel:"):
            self._channels[endpoint].append(result)
            return True
        if endpoint in self._promises:
            return False
        self._promises[endpoint] = result
        return True

    def has(self, endpoint: str, result: CallResult) -> bool:
        """Whether a promise has this result."""
        return self._promises.get(endpoint) == result

    def take(self, endpoint: str) -> CallResult | None:
        """The result of a promise, the next value of a channel; None where there is none."""
        if endpoint.startswith("promise:"):
            return self._promises.get(endpoint)
        values = self._channels.get(endpoint)
        return values.popleft() if values else None

    async def claim(self, word: str) -> bool:
        """Whether nobody has claimed this word before."""
        is_free = word not in self._claimed
        self._claimed.add(word)
        return is_free
