"""Instants and spans as they are shown: for programs whole, for people as ages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Moment:
    """An instant as the API spells it, or None: whole for programs, for people how long ago."""

    spelled: str | None

    def whole(self) -> str | None:
        """Return the instant to the millisecond."""
        return instant(self.spelled)

    def age(self, now: datetime | None = None) -> str:
        """Return `5m`, `in 12s`, `now`, or `-` where there is no instant; what is none as it is."""
        if self.spelled is None:
            return NOTHING
        passed_s = self._passed_s(now)
        if passed_s is None:
            return self.spelled
        if not passed_s:
            return "now"
        text = short_span(abs(passed_s))
        return text if passed_s > 0 else f"in {text}"

    def both(self, now: datetime | None = None) -> str | None:
        """Return the instant, and how long ago: `2026-01-31T12:00:00.000Z (5m ago)`."""
        passed_s = self._passed_s(now)
        if passed_s is None:
            return self.whole()
        age = self.age(now)
        return f"{self.whole()} ({age} ago)" if passed_s > 0 else f"{self.whole()} ({age})"

    def _passed_s(self, now: datetime | None) -> int | None:
        try:
            then = datetime.fromisoformat(self.spelled or "")
            return round(((now or datetime.now(UTC)) - then).total_seconds())
        except (ValueError, TypeError):
            return None


def short_span(seconds: int) -> str:
    """Return a span of 0 s or more in its largest unit: `45s`, `90m` is `1h`, `2d`."""
    for unit, unit_s in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= unit_s:
            return f"{seconds // unit_s}{unit}"
    return f"{seconds}s"


def instant(text: str | None) -> str | None:
    """Shorten an instant of the API to milliseconds; what does not look like one stays."""
    if isinstance(text, str) and len(text) == 27 and text.endswith("Z"):
        return text[:-4] + "Z"
    return text
