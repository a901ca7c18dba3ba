"""Calls about jobs: `/v1/jobs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from dispatcher.api.audit import Action, Audit
from dispatcher.api.errors import ApiError
from dispatcher.api.jobs.job import Job
from dispatcher.api.jobs.models import (
    NO_RATE,
    ByJob,
    JobChange,
    JobList,
    JobQuery,
    JobView,
    OneJob,
)
from dispatcher.api.jobs.running import Jobs
from dispatcher.api.models import Nothing, Output
from dispatcher.api.routes import AnyRoute, Asked, Route

JOB_BEGUN: Final[Mapping[int, tuple[type[Output], str]]] = {
    202: (JobView, "The job, for a caller that sent `Prefer: respond-async`.")
}
"""What a call that runs a job may be answered too."""
CANCELLED: Final[Mapping[int, str]] = {
    409: "The job was cancelled before everything was done: `job_cancelled`.",
    503: "Too many jobs run: `too_many_jobs`; or the server stops: `shutting_down`.",
}
"""What a call that runs a job is refused with, beside what its work is."""
_ROOT: Final = "/v1/jobs"
_ONE: Final = f"{_ROOT}/{{id}}"
_UNKNOWN: Final = {404: "It never was, or ended long ago or before the last start: `job_unknown`."}


class JobCalls:
    """Look at jobs, change their rate, cancel them."""

    def __init__(self, jobs: Jobs, audit: Audit) -> None:
        self._jobs = jobs
        self._audit = audit

    def routes(self) -> Sequence[AnyRoute]:
        """The rows of the table."""
        return [
            Route(
                "GET", _ROOT, self._list, "listJobs", "Jobs, newest first",
                Nothing, JobQuery, Nothing, answer=JobList,
            ),
            Route(
                "GET", _ONE, self._show, "showJob", "One job, and what came of it",
                ByJob, Nothing, Nothing, answer=OneJob, refusals=_UNKNOWN,
            ),
            Route(
                "PATCH", _ONE, self._change, "changeJob", "Change the rate of a job that runs",
                ByJob, Nothing, JobChange, answer=JobView,
                refusals={**_UNKNOWN, 409: "It has ended: `job_ended`; or none: `job_unpaced`."},
            ),
            Route(
                "DELETE", _ONE, self._cancel, "cancelJob",
                "Cancel a job; the answer comes when it has ended, and what it did stays done",
                ByJob, Nothing, Nothing, answer=JobView, refusals=_UNKNOWN,
            ),
        ]  # fmt: skip

    async def _list(self, asked: Asked[Nothing, JobQuery, Nothing]) -> JobList:
        query = asked.query
        return JobList(
            items=[
                JobView.of(job)
                for job in self._jobs.listed()
                if query.state in (None, job.state) and query.kind in (None, job.kind)
            ]
        )

    async def _show(self, asked: Asked[ByJob, Nothing, Nothing]) -> OneJob:
        return OneJob.of(self._find(asked.place.id))

    async def _change(self, asked: Asked[ByJob, Nothing, JobChange]) -> JobView:
        job = self._find(asked.place.id)
        if not job.is_running:
            raise ApiError(409, "job_ended", f"Job {job.id} has ended: {job.state.value}.")
        if not job.has_rate:
            raise ApiError(
                409, "job_unpaced", f"Job {job.id} ({job.kind.value}) has no rate to change."
            )
        rate = asked.body.rate
        told = {**_told(job), "rate": NO_RATE if rate is None else str(rate)}
        with self._audit.acting(Action.JOB_CHANGED, told, job=job.id) as outcome:
            job.course.change_rate(rate)
            outcome.count = 1
        return JobView.of(job)

    async def _cancel(self, asked: Asked[ByJob, Nothing, Nothing]) -> JobView:
        job = self._find(asked.place.id)
        with self._audit.acting(Action.JOB_CANCELLED, _told(job), job=job.id) as outcome:
            outcome.count = int(job.is_running)
            if job.is_running:
                await self._jobs.cancel(job)
        return JobView.of(job)

    def _find(self, job_id: str) -> Job:
        job = self._jobs.find(job_id)
        if job is None:
            raise ApiError(
                404,
                "job_unknown",
                f"No job {job_id} is known: it never was, or it ended long ago or with the process "
                "that ran it: before the server's last start, in a cluster before the API came to "
                "the node that has it. `GET /v1/jobs` lists those that are.",
            )
        return job


def _told(job: Job) -> Mapping[str, object]:
    return {"kind": job.kind.value, **job.selection}
