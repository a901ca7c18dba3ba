"""How much is tried by tests that generate what they try.

EFFORT is 1 in a run for every change. Each run generates something else, so many short ones find
what one long one does. Before a release, or after a change of what such a test is about: 3, or 30.
"""

from __future__ import annotations

import os
from typing import Final

import pytest

EFFORT: Final = float(os.environ.get("EFFORT", "1"))
IS_THOROUGH: Final = EFFORT >= 3
"""Whether what is slow and hardly ever finds something is tried too."""
thorough = pytest.mark.skipif(not IS_THOROUGH, reason="EFFORT=3 has it run")
"""For a test whose sibling keeps most of its promise in less time."""


def times(count: int) -> int:
    """`count` times the effort, at least one: how many examples a test tries."""
    return max(1, round(count * EFFORT))


def each(stride: int) -> int:
    """Every which one of many is tried: `stride` for an effort of one, all of them at the most."""
    return max(1, round(stride / EFFORT))
