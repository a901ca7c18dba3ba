"""What many calls have alike, as one object for all that have it.

Classes and not tuples: compiled, an attribute of a fixed number of values has a copy of them.
"""

from __future__ import annotations

from typing import Final

_MOST: Final = 10_000


class Callee:
    """Which function a call is of, for whom and how long it is run; fields as in `Call`."""

    __slots__ = ("application", "endpoint", "function", "timeout_ms", "trace", "version")

    def __init__(
        self,
        endpoint: str,
        function: str,
        version: str,
        application: str,
        timeout_ms: int,
        trace: str,
    ) -> None:
        self.endpoint = endpoint
        self.function = function
        self.version = version
        self.application = application
        self.timeout_ms = timeout_ms
        self.trace = trace


class Limits:
    """How many results a poll waits for, and how many it is given at most."""

    __slots__ = ("max_results", "min_results")

    def __init__(self, min_results: int, max_results: int) -> None:
        self.min_results = min_results
        self.max_results = max_results


_CALLEES: Final[dict[tuple[str, str, str, str, int, str], Callee]] = {}
_LIMITS: Final[dict[tuple[int, int], Limits]] = {}


def callee(
    endpoint: str, function: str, version: str, application: str, timeout_ms: int, trace: str
) -> Callee:
    """The one object for these."""
    key = (endpoint, function, version, application, timeout_ms, trace)
    found = _CALLEES.get(key)
    if found is None:
        if len(_CALLEES) >= _MOST:
            _CALLEES.clear()
        found = _CALLEES[key] = Callee(endpoint, function, version, application, timeout_ms, trace)
    return found


def limits(min_results: int, max_results: int) -> Limits:
    """The one object for these."""
    key = (min_results, max_results)
    found = _LIMITS.get(key)
    if found is None:
        if len(_LIMITS) >= _MOST:
            _LIMITS.clear()
        found = _LIMITS[key] = Limits(min_results, max_results)
    return found
