"""File descriptors: as many as the system allows, and shared out before they run out.

Without one nothing can be read back from the log, no segment be made and no destination be reached:
so callers are refused (503) long before, whose connections are the ones that nobody bounds.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass
from typing import Final

_ENOUGH: Final = 65_536
"""More than this is never asked for: some systems allow a billion, and size tables by it."""
_OWN: Final = 48
"""The logs, the listeners, the API, the resolver, the event loop, and some for good measure."""
_MOST_CALLERS: Final = 10_000
_MOST_IDLE: Final = 1024


@dataclass(frozen=True, slots=True)
class Share:
    """How many connections there may be: `callers` open at once, `idle` ones to destinations."""

    callers: int
    idle: int


def raise_limit() -> int:
    """Raise the soft limit of this process as far as it may; return what is in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return _ENOUGH if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def share(limit: int, workers: int) -> Share:
    """Share out `limit` descriptors, `workers` of which are for attempts in flight.

    Callers and idle connections get one at least: a process that may open next to nothing still
    serves one caller after the other.
    """
    free = max(limit - _OWN - workers, 2)
    idle = max(min(free // 4, _MOST_IDLE), 1)
    return Share(callers=max(min(free - idle, _MOST_CALLERS), 1), idle=idle)
