"""How many cores this process may use."""

from __future__ import annotations

import os


def cores() -> int:
    """Return how many, 1 at least. A container's share of processor time is not looked at."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
