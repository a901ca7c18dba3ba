"""How many file descriptors this process may come to have: some settings are bounded by it."""

from __future__ import annotations

import resource
from typing import Final

ENOUGH: Final = 65_536
"""More than this is never asked for: some systems allow a billion, and size tables by it."""


def attainable() -> int:
    """Return how many descriptors are in force once the soft limit is raised as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft == resource.RLIM_INFINITY:
        return ENOUGH
    return max(soft, wanted)
