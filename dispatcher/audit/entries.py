"""What an operator did, as it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Entry:
    """One action. `number` grows with each of them, restarts included; 0: it has none yet. `at_us`
    is by the wall clock, microseconds since the epoch, and may go back.

    `key` is the name of the key that was shown; None: no keys are set, or a wrong one was shown.
    `selection` says which were meant, in JSON's values; `count` is how many it was done to, None
    where that is not known; `error` the slug of what went wrong; `job` the id of the job that did
    it.
    """

    at_us: int
    action: str
    key: str | None
    selection: Mapping[str, object] = field(default_factory=dict)
    count: int | None = None
    error: str | None = None
    job: str | None = None
    number: int = 0


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """Entries that match everything that is not None; `since_us` is the earliest instant."""

    since_us: int | None = None
    action: str | None = None
    key: str | None = None

    def matches(self, entry: Entry) -> bool:
        """Whether an entry is meant."""
        return (
            self.action in (None, entry.action)
            and self.key in (None, entry.key)
            and (self.since_us is None or entry.at_us >= self.since_us)
        )


@dataclass(frozen=True, slots=True)
class EntryPage:
    """A page of entries, the newest first; `next_before` is the number below which the next page
    begins, None: there is none."""

    items: list[Entry]
    next_before: int | None
