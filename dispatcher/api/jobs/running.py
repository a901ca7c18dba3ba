"""The jobs of one server: those that run, and the last ones that have ended."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

from aiohttp import web
from pydantic import BaseModel

from dispatcher.api.answers import response
from dispatcher.api.audit import Action, Audit, Outcome, key_name
from dispatcher.api.errors import ApiError
from dispatcher.api.jobs.job import Job, JobKind, JobState, Unit
from dispatcher.api.jobs.models import JobView
from dispatcher.api.jobs.preferring import patience_s
from dispatcher.errors import LogError, Refused
from dispatcher.queue.admin.course import Course
from dispatcher.telemetry.events import Events

MOST_RUNNING: Final = 64
"""Each may hold the ids of all there is to do."""
MOST_ENDED: Final = 200
MOST_ANSWER_BYTES: Final = 4 * 1024 * 1024
"""What the answers of those that have ended may take together: ids that were not found are many."""
CANCEL_SECONDS: Final = 10.0
"""How long a job that was cancelled has for the portion that is under way."""
LONG_SECONDS: Final = 1.0
"""After this long the audit is told that a job has begun: a kill may come before its end."""
_ID_BYTES: Final = 4

Work = Callable[[Course], Awaitable[BaseModel]]
"""Does everything, and returns what was promised to who waits for it."""


class Jobs:
    """Runs jobs, on the event loop's thread."""

    def __init__(
        self,
        audit: Audit,
        events: Events,
        *,
        now_us: Callable[[], int],
        new_id: Callable[[], str] = lambda: secrets.token_hex(_ID_BYTES),
    ) -> None:
        """`now_us` is the wall clock."""
        self._audit = audit
        self._events = events
        self._now_us = now_us
        self._new_id = new_id
        self._jobs: dict[str, Job] = {}  # the oldest first
        self._is_stopping = False

    def begin(
        self,
        kind: JobKind,
        action: Action | None,
        selection: Mapping[str, object],
        work: Work,
        *,
        course: Course | None = None,
        unit: Unit = Unit.MESSAGES,
        has_rate: bool = True,
    ) -> Job:
        """Begin a job. It goes on whatever becomes of the caller.

        Args:
            kind: what it does.
            action: what the audit tells when it has ended, with how many it was done to; None: it
                was told when it began.
            selection: to which, as the audit tells it.
            work: does it; an exception says why it could not.
            course: its rate is the one to begin with.
            unit: what is counted.
            has_rate: whether the work heeds the rate of its course.

        Raises:
            ApiError: 503, too many run, or the server stops.
        """
        job = self._add(kind, selection, course or Course(), unit, has_rate=has_rate)
        job.task = asyncio.get_running_loop().create_task(
            self._run(job, action, work), name=f"job {job.id}"
        )
        return job

    @contextmanager
    def attached(
        self,
        kind: JobKind,
        action: Action | None,
        selection: Mapping[str, object],
        *,
        unit: Unit = Unit.MESSAGES,
    ) -> Iterator[Job]:
        """List what stands below as a job, which ends with the request under way; afterwards only
        if it took long.

        Raises:
            ApiError: as `begin`.
        """
        job = self._add(kind, selection, Course(), unit, has_rate=True)
        job.task = asyncio.current_task()
        with self._ending(job, is_attached=True), self._told(job, action):
            yield job

    def listed(self) -> list[Job]:
        """Those that are known, the newest first."""
        return list(reversed(self._jobs.values()))

    def find(self, job_id: str) -> Job | None:
        """One of them; None: it is not known, or not any more."""
        return self._jobs.get(job_id)

    async def answer(self, request: web.Request, job: Job) -> BaseModel | web.StreamResponse:
        """Return what a request for a job is answered with: what came of it, once it has ended; or
        202 with the job, for a caller that prefers not to wait.

        Raises:
            Exception: as the work did.
            ApiError: 409, it was cancelled.
        """
        limit_s = patience_s(request.headers)
        job.is_awaited = True
        try:
            async with asyncio.timeout(limit_s):
                await job.ended.wait()
        except TimeoutError:
            answer = response(JobView.of(job), 202)
            answer.headers["Location"] = f"/v1/jobs/{job.id}"
            answer.headers["Preference-Applied"] = "respond-async"
            return answer
        finally:
            job.is_awaited = False
        if job.failure is not None:
            # It is raised once: the job must not keep the request with all that was asked for.
            failure, job.failure = job.failure, None
            raise failure
        assert job.answer is not None
        return job.answer

    async def cancel(self, job: Job) -> None:
        """End a job after the portion that is under way. Returns when it has ended."""
        job.course.cancel()
        if not await _ends(job, CANCEL_SECONDS) and job.task is not None:
            job.task.cancel()
            await job.ended.wait()

    async def stop(self, timeout_s: float) -> None:
        """Begin none any more, and end those that run, within `timeout_s`; each is told. What they
        did is done. Idempotent."""
        self._is_stopping = True
        running = [job for job in self._jobs.values() if job.is_running]
        for job in running:
            job.course.cancel()
        if running:
            ends = [asyncio.ensure_future(_ends(job, timeout_s)) for job in running]
            await asyncio.wait(ends)
        for job in running:
            if job.is_running and job.task is not None:
                job.task.cancel()
            if job.state is not JobState.DONE:
                self._events.job_broken_off(
                    id=job.id, kind=job.kind.value, done=job.course.done, total=job.course.total
                )

    def _add(
        self,
        kind: JobKind,
        selection: Mapping[str, object],
        course: Course,
        unit: Unit,
        *,
        has_rate: bool,
    ) -> Job:
        if self._is_stopping:
            raise _stopping()
        running = sum(job.is_running for job in self._jobs.values())
        if running >= MOST_RUNNING:
            raise ApiError(
                503,
                "too_many_jobs",
                f"{MOST_RUNNING} jobs are running; ask again when one has ended, or cancel one.",
                headers={"Retry-After": "5"},
            )
        job = Job(
            self._unused_id(),
            kind,
            selection,
            key_name.get() or None,
            course,
            unit,
            has_rate,
            self._now_us(),
        )
        self._jobs[job.id] = job
        return job

    def _unused_id(self) -> str:
        while (job_id := self._new_id()) in self._jobs:
            pass
        return job_id

    async def _run(self, job: Job, action: Action | None, work: Work) -> None:
        # The boundary of a job, as of a request: why it failed is written down, and told.
        with suppress(Exception), self._ending(job), self._told(job, action):
            job.answer = await work(job.course)
        _forget_frames(job.failure)

    @contextmanager
    def _told(self, job: Job, action: Action | None) -> Iterator[None]:
        """Tell the audit what came of it, and before, when it takes long, that it has begun."""
        if action is None:
            yield
            return
        told = {"kind": job.kind.value, **job.selection}
        begun = asyncio.get_running_loop().call_later(
            LONG_SECONDS,
            lambda: self._audit.tell(Action.JOB_BEGUN, told, Outcome(), job=job.id),
        )
        try:
            with self._audit.acting(action, job.selection, job=job.id) as outcome:
                try:
                    yield
                except asyncio.CancelledError:
                    job.course.cut()
                    raise
                finally:
                    outcome.count = job.course.done
                    if job.course.was_cut:
                        outcome.error = self._why_cut(job).slug
        finally:
            begun.cancel()

    @contextmanager
    def _ending(self, job: Job, *, is_attached: bool = False) -> Iterator[None]:
        """Write down how a job ends."""
        try:
            yield
        except asyncio.CancelledError:
            job.course.cut()
            raise
        except ApiError as error:
            job.failure, job.told_of = error, (error.slug, error.message)
            raise
        except Refused as error:
            job.failure, job.told_of = error, (error.refusal.slug, error.refusal.message)
            raise
        except LogError as error:
            job.failure, job.told_of = error, (error.slug, str(error))
            raise
        except Exception as error:
            if not is_attached:  # else the boundary of the request tells it
                self._events.job_failed(id=job.id, kind=job.kind.value, exc_info=error)
            failure = ApiError(500, "internal_error", "The server failed; its log says how.")
            job.failure, job.told_of = failure, (failure.slug, failure.message)
            raise
        finally:
            self._end(job)
            if is_attached and self._was_short(job):  # nobody has seen it, and there may be many
                self._jobs.pop(job.id, None)

    def _was_short(self, job: Job) -> bool:
        ended_at_us = job.ended_at_us or job.started_at_us
        return ended_at_us - job.started_at_us < LONG_SECONDS * 1_000_000

    def _why_cut(self, job: Job) -> ApiError:
        return _stopping() if self._is_stopping else _cancelled(job)

    def _end(self, job: Job) -> None:
        if job.course.was_cut:
            job.state = JobState.CANCELLED
            job.failure = self._why_cut(job)
        else:
            job.state = JobState.DONE if job.failure is None else JobState.FAILED
        job.ended_at_us = self._now_us()
        job.task = None
        if job.answer is not None:
            job.answer_bytes = len(job.answer.model_dump_json())
        job.ended.set()
        self._forget()

    def _forget(self) -> None:
        """Forget the oldest of those that have ended, and the oldest of their answers."""
        ended = [one for one in self._jobs.values() if not one.is_running]
        for job in ended[: max(0, len(ended) - MOST_ENDED)]:
            del self._jobs[job.id]
        left = MOST_ANSWER_BYTES
        for job in reversed(ended):
            left -= job.answer_bytes
            if left < 0 < job.answer_bytes and not job.is_awaited:
                left += job.answer_bytes
                job.answer, job.answer_bytes, job.is_forgotten = None, 0, True


def _forget_frames(error: BaseException | None) -> None:
    """Let go of what stood in the functions that raised an error: of a job all ids may be there."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


async def _ends(job: Job, timeout_s: float) -> bool:
    """Wait until it has ended; False: it takes longer."""
    try:
        async with asyncio.timeout(timeout_s):
            await job.ended.wait()
    except TimeoutError:
        return False
    return True


def _cancelled(job: Job) -> ApiError:
    return ApiError(
        409,
        "job_cancelled",
        f"Job {job.id} was cancelled after {job.course.done} {job.unit.value}; they stay done.",
    )


def _stopping() -> ApiError:
    return ApiError(
        503,
        "shutting_down",
        "The server is stopping: what was done is done; ask for the rest after its next start.",
        headers={"Retry-After": "5"},
    )
