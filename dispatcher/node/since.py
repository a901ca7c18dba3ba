"""Since when things are as they are, as far as was looked."""

from __future__ import annotations

from collections.abc import Callable


class Since:
    """When each of some things began to be as it is, as far as was looked."""

    def __init__(self, now_us: Callable[[], int]) -> None:
        """`now_us` is the wall clock."""
        self._now_us = now_us
        self._seen: dict[int, tuple[object, int]] = {}

    def of(self, number: int, state: object) -> int:
        """Since when it is in this state: it is looked at now."""
        found = self._seen.get(number)
        if found is None or found[0] != state:
            found = self._seen[number] = state, self._now_us()
        return found[1]
