"""What the API takes and gives about jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, Field, WithJsonSchema

from dispatcher.api.fields import MOST_A_SECOND, InstantOut, Slug, rate_of
from dispatcher.api.jobs.job import Job, JobKind, JobState, Unit
from dispatcher.api.models import Input, Output
from dispatcher.core.rate import RATE_EXPECTED, Rate

NO_RATE: Final = "none"
_FORGOTTEN: Final = "Its answer was large and is forgotten; what it did is done."


def _rate(value: Any) -> Rate | None:
    """Read a rate; None is none at all."""
    if value == NO_RATE:
        return None
    found = rate_of(value)
    if found is None:
        raise ValueError(
            f"expected how many a second, 1 to {MOST_A_SECOND}, or {RATE_EXPECTED}; or "
            f'"{NO_RATE}" for as many as can be'
        )
    return found


NewRate = Annotated[
    Rate | None,
    BeforeValidator(_rate),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": MOST_A_SECOND},
                {"type": "string", "pattern": "^([0-9]{1,9}/[0-9]{0,6}[smhd]|none)$"},
            ],
            "examples": [50, "10/1m", NO_RATE],
        }
    ),
]


class ByJob(Input):
    """The path of one job."""

    id: str = Field(description="Its id, 8 hexadecimal digits.")


class JobQuery(Input):
    """Which jobs."""

    state: JobState | None = None
    kind: JobKind | None = None


class JobChange(Input):
    """What is changed of a job that runs."""

    rate: NewRate = Field(
        description="How many at most from now on: so many a second, or a text such as `10/1m`; "
        "`none`: as many as can be."
    )


class JobView(Output):
    """A job: something that operators asked for and that may take longer than a second."""

    id: str
    kind: JobKind
    state: JobState = Field(description="`cancelled`: what was done until then stays done.")
    selection: Mapping[str, Any] = Field(description="What it is about, as the audit tells it.")
    key: str | None = Field(description="The name of the key that began it; null: without keys.")
    started_at: InstantOut
    ended_at: InstantOut | None
    done: int
    skipped: int = Field(description="Could not be done, or were gone.")
    total: int | None = Field(description="Null: it is not known.")
    unit: Unit = Field(description="What is counted.")
    rate: str | None = Field(description="At most, such as `5/s`; null: as many as can be.")
    has_rate: bool = Field(description="Whether its rate can be changed while it runs.")
    error: Slug | None = Field(description="Why it failed.")
    message: str | None = Field(description="A sentence for people, where there is one to say.")
    survives_restart: bool = Field(description="Whether it goes on by itself after a restart.")

    @classmethod
    def of(cls, job: Job) -> Self:
        """As it is now."""
        return cls(**_fields(job))


class OneJob(JobView):
    """A job, and what came of it."""

    result: Mapping[str, Any] | None = Field(
        description="What who waited for it was answered; null unless it is `done`. It may be "
        "forgotten before the job is, where many answers are large: then `message` says so."
    )

    @classmethod
    def of(cls, job: Job) -> Self:
        """As it is now."""
        answer = job.answer if job.state is JobState.DONE else None
        return cls(
            **_fields(job), result=None if answer is None else answer.model_dump(mode="json")
        )


class JobList(Output):
    """Jobs that run, and the last ones that have ended; the newest first."""

    items: list[JobView]


def _fields(job: Job) -> dict[str, Any]:
    course = job.course
    error, message = job.told_of or (None, None)
    if job.is_forgotten:
        message = _FORGOTTEN
    return {
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "selection": job.selection,
        "key": job.key,
        "started_at": job.started_at_us,
        "ended_at": job.ended_at_us,
        "done": course.done,
        "skipped": course.missed,
        "total": course.total,
        "unit": job.unit,
        "rate": None if course.rate is None else str(course.rate),
        "has_rate": job.has_rate,
        "error": error,
        "message": message,
        "survives_restart": job.survives_restart,
    }
