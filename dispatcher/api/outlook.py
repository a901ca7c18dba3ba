"""How the server is and how the last hour was: what the API asks for `/v1/overview` and
`/v1/history`.

Plain values; instants are microseconds since the epoch. `Outlook` is implemented by `node.outlook`
and has a twin for tests in `dispatcher.testing.outlook`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Severity(Enum):
    """How much a problem matters; the value is the API's word. ERROR: messages are refused, stay or
    are at risk now. WARNING: a person should look soon."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong now. `message` is a sentence for people; `count` is of messages,
    letters or destinations, as the slug says. `destination` is given where it is about one."""

    slug: str
    severity: Severity
    message: str
    destination: str | None = None
    since_us: int | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class WaitingView:
    """Messages that are neither delivered nor dead; `oldest_at_us` is when the oldest of them was
    accepted, as of a few seconds ago."""

    count: int
    oldest_at_us: int | None


@dataclass(frozen=True, slots=True)
class LastLetter:
    """A dead letter of late."""

    id: str
    destination: str
    last_error: str
    dead_at_us: int


@dataclass(frozen=True, slots=True)
class DeadView:
    """Dead letters: how many, and the newest of them, the newest first."""

    count: int
    last: Sequence[LastLetter]


@dataclass(frozen=True, slots=True)
class DiskView:
    """The disk of the transaction log, and the log on it. `full_in_s`: if it goes on as in the last
    hour; None: it does not fill, or not in a month."""

    free_bytes: int
    total_bytes: int
    log_bytes: int
    live_bytes: int
    full_in_s: int | None


@dataclass(frozen=True, slots=True)
class LaneCounts:
    """Destinations with messages, or held: all of them, those that fail, and those that an operator
    holds."""

    total: int
    failing: int
    held: int


@dataclass(frozen=True, slots=True)
class OverviewView:
    """The facts on one page. `calls` has numbers of function calls by name, None where there is no
    function service."""

    version: str
    instance: str
    started_at_us: int
    pid: int
    listen: Sequence[str]
    api_listen: Sequence[str]
    problems: Sequence[Problem]
    waiting: WaitingView
    dead: DeadView
    disk: DiskView
    lanes: LaneCounts
    calls: Mapping[str, int] | None


@dataclass(frozen=True, slots=True)
class HistoryView:
    """The last hour, in steps. Each series has a point for each step, the oldest first; None where
    the server did not run, or there was nothing to measure. The last step ends at `ends_at_us`."""

    step_s: int
    ends_at_us: int
    series: Mapping[str, Sequence[float | None]]


class Outlook(Protocol):
    """Who knows how the server is."""

    def history(self) -> HistoryView:
        """The last hour."""

    async def overview(self) -> OverviewView:
        """What is wrong, and the facts on one page."""
