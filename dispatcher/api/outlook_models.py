"""What the API gives as `/v1/overview` and `/v1/history`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

from pydantic import Field

from dispatcher.api.fields import InstantOut
from dispatcher.api.models import Output
from dispatcher.api.outlook import HistoryView, Severity

Counts = list[int | None]
Measures = list[float | None]


class Series(Output):
    """A point for each step, the oldest first; null where the server did not run."""

    accepted: Counts = Field(description="Messages that were accepted in the step.")
    delivered: Counts
    dead: Counts = Field(description="Messages that were given up in the step.")
    attempts_failed: Counts
    refused: Counts = Field(description="Requests that were refused in the step.")
    ready: Counts = Field(description="Messages at the end of the step.")
    scheduled: Counts
    in_flight: Counts
    dead_letters: Counts
    accept_p50_ms: Measures = Field(
        description="From a request to its durable record; null where none came."
    )
    accept_p95_ms: Measures
    attempt_p50_ms: Measures = Field(description="Of attempts, failed ones too.")
    attempt_p95_ms: Measures
    log_bytes: Counts
    disk_free_bytes: Counts = Field(description="On the disk of the transaction log.")


class History(Output):
    """The last hour, as the server remembers it."""

    step_s: int
    ends_at: InstantOut = Field(description="The end of the last step.")
    series: Series

    @classmethod
    def of(cls, view: HistoryView) -> Self:
        """From what the server remembers."""
        series: dict[str, Sequence[float | None]] = {
            name: _whole(points) if name in _COUNTS else points
            for name, points in view.series.items()
        }
        return cls.model_validate(
            {"step_s": view.step_s, "ends_at": view.ends_at_us, "series": series}
        )


_COUNTS = frozenset(name for name in Series.model_fields if not name.endswith("_ms"))


def _whole(points: Sequence[float | None]) -> list[int | None]:
    return [None if point is None else int(point) for point in points]


class ProblemOut(Output):
    """Something that is wrong now."""

    slug: str
    severity: Severity
    destination: str | None = Field(description="Where it is about one destination.")
    since: InstantOut | None = Field(validation_alias="since_us")
    message: str = Field(description="A sentence for people.")
    count: int | None = Field(description="Of messages, letters or destinations, as `slug` says.")


class Waiting(Output):
    """Messages that are neither delivered nor dead."""

    count: int
    oldest_at: InstantOut | None = Field(
        validation_alias="oldest_at_us", description="As of a few seconds ago."
    )


class LastLetterOut(Output):
    """A dead letter of late."""

    id: str
    destination: str
    last_error: str = Field(
        description="A slug or `http_503`; without an attempt, the reason it was given up for."
    )
    dead_at: InstantOut = Field(validation_alias="dead_at_us")


class Dead(Output):
    """Dead letters."""

    count: int
    last: list[LastLetterOut] = Field(description="The three newest.")


class DiskOut(Output):
    """The disk of the transaction log."""

    free_bytes: int
    total_bytes: int
    log_bytes: int
    live_bytes: int
    full_in_s: int | None = Field(
        description="If it goes on as in the last hour; null: not within a month. In the first "
        "hour of a server, not within 24 times the time that is known."
    )


class LaneCountsOut(Output):
    """Destinations with messages, or held."""

    total: int
    failing: int
    held: int


class Overview(Output):
    """What is wrong, the worst first, and the facts on one page."""

    version: str
    instance: str = Field(description="The name of the host.")
    started_at: InstantOut = Field(validation_alias="started_at_us")
    pid: int
    listen: list[str]
    api_listen: list[str]
    problems: list[ProblemOut]
    waiting: Waiting
    dead: Dead
    disk: DiskOut
    lanes: LaneCountsOut
    calls: Mapping[str, int] | None = Field(
        description="Numbers of function calls: how many now, by state, and since the start."
    )
