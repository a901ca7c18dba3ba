"""Variables of the environment that are probably meant for us, under a name that is none of ours.

The environment is everybody's, so an unknown variable is no error. But one whose name is a slip
away from that of a setting (`LISTEN_KEY`, `EGRES`, `DISPATCHER_WORKERS`, `listen`)
leaves the setting at its default without a word: with `LISTEN_KEY` a server is open that its
owner thinks is closed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from dispatcher.settings.sources import Names

_PREFIX: Final = "DISPATCHER_"


def misspelt(environ: Mapping[str, str], names: Names) -> list[tuple[str, str]]:
    """Return the variables that were meant for a setting, each with the name that was meant."""
    known = sorted(names.every)
    found = []
    for name, value in environ.items():
        if value.strip() and name not in names.every:
            meant = _meant(name, known)
            if meant is not None:
                found.append((name, meant))
    return sorted(found)


def _meant(name: str, known: Iterable[str]) -> str | None:
    upper = name.upper().replace("-", "_")
    bare = upper.removeprefix(_PREFIX)
    for candidate in known:
        if candidate in (upper, bare):
            return candidate
    for candidate in known:
        if is_one_slip_away(upper, candidate) or is_one_slip_away(bare, candidate):
            return candidate
    return None


def is_one_slip_away(one: str, other: str) -> bool:
    """Say whether one character too many, missing, wrong, or two in the wrong order make the
    difference between two texts that are not the same."""
    if abs(len(one) - len(other)) > 1 or one == other:
        return False
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    rest, other_rest = one[start:], other[start:]
    if rest[1:] == other_rest[1:] or rest[1:] == other_rest or rest == other_rest[1:]:
        return True
    is_swapped = rest[:2] == other_rest[:2][::-1]
    return is_swapped and rest[2:] == other_rest[2:]
