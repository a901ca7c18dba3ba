"""What lists of problems have in common. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dispatcher.api.outlook import Problem, Severity

MOST_NAMED: Final = 5
"""Of one kind so many are named, and the others counted."""
_UNITS: Final = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def behind(slug: str, severity: Severity, count: int, message: str) -> Iterator[Problem]:
    """Those behind the ones that are named, as one problem; none where there are no more."""
    if count > 0:
        yield Problem(slug, severity, message, count=count)


def about(seconds: float) -> str:
    """A duration for people, in the one unit that says enough."""
    unit, name = next((one for one in _UNITS if seconds >= one[0]), _UNITS[-1])
    count = int(seconds // unit)
    return f"{count} {name}{'s' if count != 1 else ''}"


def last(seconds: float) -> str:
    """As in 'the last hour'."""
    return about(seconds).removeprefix("1 ")
