"""When a schedule fires: a cron expression in a time zone.

As Debian's cron has it. A time that the clocks leave out in spring fires when they have moved; one
that comes twice in autumn fires the first time. What fires at every hour, or every so many minutes
(its hour or its minute begins with `*`), goes by real time instead: in autumn it fires in both
hours.

Instants are microseconds since the epoch.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

MOST_CHARS: Final = 200
"""Of an expression, and of the name of a time zone."""
_FIELDS: Final = 5
_LEAST: Final = timedelta(seconds=1)
_LONGEST_SHIFT: Final = timedelta(hours=3)
"""Clocks are moved by less. Times before a shift are looked for from beyond it."""


class Cron:
    """A cron expression in a time zone."""

    __slots__ = ("_expression", "_zone")

    def __init__(self, expression: str, timezone: str) -> None:
        """
        Raises:
            ValueError: the expression or the time zone is none; the message says which.
        """
        self._zone = _zone(timezone)
        self._expression = expression
        problem = _problem(expression)
        if problem is not None:
            raise ValueError(f"cron {expression[:MOST_CHARS]!r}: {problem}.")

    def after(self, at_us: int) -> int | None:
        """The first firing after an instant; None: there is none within 50 years."""
        for moment in _Firings(self._expression, self._local(at_us, timedelta())):
            found_us = _us(moment)
            if found_us > at_us:  # it may look back, in the hour that comes twice
                return found_us
        return None

    def latest(self, after_us: int, until_us: int, most: int) -> list[int]:
        """The last firings after one instant and until another, at most `most`, in order."""
        found: list[int] = []
        start = self._local(until_us, _LEAST)
        if self._local(until_us, -_LONGEST_SHIFT).utcoffset() != start.utcoffset():
            # An hour may come twice: it would be taken for the first, and what came there missed.
            start = self._local(until_us, _LONGEST_SHIFT)
        for moment in _Firings(self._expression, start, reverse=True):
            found_us = _us(moment)
            if found_us <= after_us or len(found) == most:
                break
            if found_us <= until_us:
                found.append(found_us)
        return found[::-1]

    def _local(self, at_us: int, later: timedelta) -> datetime:
        return (_EPOCH + timedelta(microseconds=at_us) + later).astimezone(self._zone)


class _Firings(CronSim):
    """Iterates over firings.

    `CronSim` goes from one hour or minute that may match to the next in one step, and counts on
    hours that begin at minute 0. Where clocks are moved by half an hour (Lord Howe Island), that
    passes over firings: so what leads over a change of the clocks is gone a minute at a time.
    """

    def advance_hour(self) -> bool:
        """See `CronSim`."""
        before = self.dt
        return super().advance_hour() and self._moved(before)

    def reverse_hour(self) -> bool:
        """See `CronSim`."""
        before = self.dt
        return super().reverse_hour() and self._moved(before)

    def advance_minute(self) -> bool:
        """See `CronSim`."""
        before = self.dt
        return super().advance_minute() and self._moved(before)

    def reverse_minute(self) -> bool:
        """See `CronSim`."""
        before = self.dt
        return super().reverse_minute() and self._moved(before)

    def _moved(self, before: datetime) -> bool:
        """There was a step that began here. Always true, as `CronSim` has it."""
        if self.dt.utcoffset() != before.utcoffset():
            self.dt = before.replace(second=0 if self.tick_direction == 1 else 59)
            while self.dt.day == before.day and not self._matches():
                self.tick(seconds=60)
        return True

    def _matches(self) -> bool:
        return self.dt.hour in self.hours and self.dt.minute in self.minutes


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _us(moment: datetime) -> int:
    return (moment.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC  # by far the fastest
    try:
        if len(name) <= MOST_CHARS:
            return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        pass  # no such file, no name of one, a directory, no time zone in it
    raise ValueError(
        f"timezone {name[:MOST_CHARS]!r}: there is no such time zone; it is a name such as UTC or "
        "Europe/Berlin."
    )


def _problem(expression: str) -> str | None:
    if len(expression) > MOST_CHARS or len(expression.split()) != _FIELDS:
        return "it has five fields: minute, hour, day of the month, month, day of the week"
    try:
        CronSim(expression, _EPOCH)
    except CronSimError as error:
        return str(error).lower()
    except (ValueError, TypeError, AssertionError):
        return "it is not understood"
    return None
