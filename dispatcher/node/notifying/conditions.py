"""What lasts: destinations that fail, and a disk that runs out of space. Told when it begins and
when it is over, each once.

Pure: one fact of now comes in, what has begun or ended with it comes out. So whoever has a hundred
thousand of them brings them a few at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from dispatcher.core.destination import Destination
from dispatcher.core.outcome import in_words
from dispatcher.core.rules.notify import Kind, Notify
from dispatcher.node.disks import Space
from dispatcher.node.notifying.happening import Happening, State

_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_WELL_AGAIN: Final = 1.1
"""A disk has space again only with a tenth more than the least: at the edge it would be told again
and again."""


class Over(Enum):
    """Why a destination does not fail any more; the value is the sentence."""

    ANSWERS = "{} answers again."
    HELD = "{} is held by an operator now."
    IDLE = "Nothing waits for {} any more."


@dataclass(frozen=True, slots=True)
class Failing:
    """A destination that fails, with messages waiting. `since_us` is an instant of the wall clock,
    `lasted_us` for how long that is."""

    since_us: int
    lasted_us: int
    waiting: int
    last_error: str | None = None


class Conditions:
    """What one `[[notify]]` has told of and has not told the end of."""

    def __init__(self, notify: Notify, own_destination: str) -> None:
        """Of `own_destination`, where it is told, it is not told: that would wait there too."""
        self._notify = notify
        self._own = own_destination
        self._failing: dict[str, None] = {}
        self._is_low = False

    @property
    def told(self) -> list[str]:
        """Destinations of which it is told that they fail, the first of them first."""
        return list(self._failing)

    @property
    def has_destinations(self) -> bool:
        """Whether destinations that fail are asked for."""
        return Kind.DESTINATION_FAILING in self._notify.on

    def is_about(self, destination: Destination) -> bool:
        """Whether a destination is meant; a path in its `match` does not matter here."""
        match = self._notify.match
        return match is None or match.is_for(destination)

    def fails(self, name: str, failing: Failing, now_us: int) -> Happening | None:
        """A destination that it is about fails: return what is to be told of that now."""
        is_long = failing.lasted_us >= self._notify.for_ms * 1000
        if not is_long or name in self._failing or name == self._own:
            return None
        self._failing[name] = None
        return _began(name, failing, now_us)

    def is_over(self, name: str, over: Over, now_us: int) -> Happening | None:
        """One of those `told` does not fail any more: return what is to be told of that."""
        if name not in self._failing:
            return None
        del self._failing[name]
        return _ended(name, now_us, over)

    def has(self, space: Space, now_us: int) -> Happening | None:
        """The disk of the log has so much space: return what is to be told of that now."""
        if Kind.DISK_LOW not in self._notify.on:
            return None
        least = self._notify.below.bytes_of(space.total_bytes)
        if not self._is_low and space.free_bytes < least:
            self._is_low = True
            return _low(now_us, space, State.BEGAN)
        if self._is_low and space.free_bytes >= least * _WELL_AGAIN:
            self._is_low = False
            return _low(now_us, space, State.RESOLVED)
        return None


def _began(name: str, failing: Failing, now_us: int) -> Happening:
    error = f" ({in_words(failing.last_error)})" if failing.last_error else ""
    waiting = "1 message waits" if failing.waiting == 1 else f"{failing.waiting} messages wait"
    return Happening(
        Kind.DESTINATION_FAILING,
        State.BEGAN,
        now_us,
        f"{name} has been failing for {about(failing.lasted_us)}{error}; {waiting} for it.",
        {
            "destination": name,
            "since_us": failing.since_us,
            "waiting": failing.waiting,
            "last_error": failing.last_error,
        },
    )


def _ended(name: str, now_us: int, over: Over) -> Happening:
    return Happening(
        Kind.DESTINATION_FAILING,
        State.RESOLVED,
        now_us,
        over.value.format(name),
        {"destination": name, "how": over.name.lower()},
    )


def _low(now_us: int, space: Space, state: State) -> Happening:
    part = 100 * space.free_bytes / max(space.total_bytes, 1)
    has = f"{space.free_bytes / 2**30:.1f} GiB ({part:.0f} %)"
    text = (
        f"The disk of the log has {has} left. Without space messages are refused."
        if state is State.BEGAN
        else f"The disk of the log has space again: {has}."
    )
    return Happening(
        Kind.DISK_LOW,
        state,
        now_us,
        text,
        {"free_bytes": space.free_bytes, "total_bytes": space.total_bytes},
    )


def about(lasted_us: int) -> str:
    """A time as people say it."""
    seconds = lasted_us // 1_000_000
    for unit, size_s in (("day", 24 * _HOUR_S), ("hour", _HOUR_S), ("minute", _MINUTE_S)):
        if seconds >= size_s:
            number = seconds // size_s
            return f"{number} {unit}{'' if number == 1 else 's'}"
    return f"{seconds} second{'' if seconds == 1 else 's'}"
