"""Replay from history: `POST /v1/replay`, answered with a line of NDJSON for each few messages.

The replay is a job: the lines say how far it is, and who hangs up ends nothing but the lines. A dry
run ends with its caller, as nobody would learn what it counted. The `cursor` of a line begins
another replay there, so what broke off can be gone on with.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, Final

from aiohttp import web

from dispatcher.api import places
from dispatcher.api.audit import Action
from dispatcher.api.errors import ApiError
from dispatcher.api.jobs.calls import JOB_BEGUN
from dispatcher.api.jobs.job import Job, JobKind, JobState
from dispatcher.api.jobs.preferring import patience_s
from dispatcher.api.jobs.running import Jobs
from dispatcher.api.json_line import json_line
from dispatcher.api.models import Nothing
from dispatcher.api.replay_models import ReplayLine, ReplayRequest
from dispatcher.api.routes import Answer, AnyRoute, Asked, Route
from dispatcher.api.streaming import begun
from dispatcher.core.instants import rfc3339
from dispatcher.queue.admin.surface import Course, Place, Replayed, Replayer

NDJSON: Final = "application/x-ndjson"
QUIET_SECONDS: Final = 0.5
"""After this long there is a line, also when nothing was found."""

BEAT_SECONDS: Final = 5.0
_MOST_UNREAD: Final = 64
_BEGIN: Final = Replayed(0, 0, None, None, 0, 0, 0, Place(0, 0, 0))


class ReplayCalls:
    """Replays, one at a time."""

    def __init__(self, replayer: Replayer, jobs: Jobs) -> None:
        self._replayer = replayer
        self._jobs = jobs
        self._job: Job | None = None

    def routes(self) -> Sequence[AnyRoute]:
        """The rows of the table."""
        return [
            Route(
                "POST", "/v1/replay", self._replay, "replayHistory",
                "Send what was delivered again, as new messages; a line for each few",
                Nothing, Nothing, ReplayRequest, answer=ReplayLine, content_type=NDJSON,
                also=JOB_BEGUN,
                refusals={
                    409: "There is no history: `history_not_kept`; or another replay is under way: "
                    "`replay_under_way`.",
                    503: "Too many jobs run: `too_many_jobs`.",
                },
            ),
        ]  # fmt: skip

    async def _replay(self, asked: Asked[Nothing, Nothing, ReplayRequest]) -> Answer:
        wanted = asked.body
        if not self._replayer.keeps_history:
            raise ApiError(
                409,
                "history_not_kept",
                "There is no history: set EVENT_SOURCING=true and start again. Only what is "
                "delivered from then on is kept.",
            )
        if self._job is not None and self._job.is_running:
            raise ApiError(
                409,
                "replay_under_way",
                f"Another replay is under way (job {self._job.id}); ask again when it has ended.",
            )
        news = _News()
        job = self._job = self._jobs.begin(
            JobKind.REPLAY,
            None if wanted.dry_run else Action.REPLAYED,
            _told(wanted),
            partial(self._work, wanted, news),
            course=Course(wanted.rate),
        )
        if patience_s(asked.request.headers) is not None:
            return await self._jobs.answer(asked.request, job)
        answer = web.StreamResponse(headers={"Content-Type": NDJSON})
        try:
            async with begun(asked.request, answer):
                await _write(answer, job, news, dry_run=wanted.dry_run)
        finally:
            if wanted.dry_run and job.is_running:
                await self._jobs.cancel(job)
        return answer

    async def _work(self, wanted: ReplayRequest, news: _News, course: Course) -> ReplayLine:
        steps = self._replayer.replay(
            wanted.filter(),
            to=wanted.to,
            dry_run=wanted.dry_run,
            after=wanted.cursor,
            course=course,
        )
        async with aclosing(steps):
            async for told in steps:
                course.done = told.messages
                news.tell(told)
        assert self._job is not None
        return ReplayLine.of(news.last, self._job.id)


class _News:
    """How far a replay is: `last`, and what was told that nobody has read yet, the newest of it."""

    def __init__(self) -> None:
        self.last = _BEGIN
        self.unread: deque[Replayed] = deque(maxlen=_MOST_UNREAD)
        self.has_some = asyncio.Event()

    def tell(self, told: Replayed) -> None:
        """It is as far as that."""
        self.last = told
        self.unread.append(told)
        self.has_some.set()


async def _write(answer: web.StreamResponse, job: Job, news: _News, *, dry_run: bool) -> None:
    """Write the lines of a replay, to its end."""
    written_s, messages = -QUIET_SECONDS, 0
    now = asyncio.get_running_loop().time
    while True:
        is_over = not job.is_running  # what was told before it ended is written first
        if not news.unread and not is_over and not await _any(news, job):
            # Its reader must not take the connection for dead, nor this go on for one who has gone.
            await answer.write(json_line(ReplayLine.of(news.last, job.id)))
            continue
        while news.unread:
            told = news.unread.popleft()
            is_news = told.messages != messages and not dry_run
            is_news = is_news or told.is_done or told.waiting is not None
            if is_news or now() - written_s >= QUIET_SECONDS:
                await answer.write(json_line(ReplayLine.of(told, job.id)))
                written_s, messages = now(), told.messages
        news.has_some.clear()
        if is_over:
            break
    if job.state is not JobState.DONE:
        failure = _why(job)
        is_cancelled = failure[0] == "job_cancelled"
        last = ReplayLine.of(news.last, job.id, failure=failure, is_cancelled=is_cancelled)
        await answer.write(json_line(last))


async def _any(news: _News, job: Job) -> bool:
    """Wait for news, or the end of the job; False: there are none for a while."""
    waits = [asyncio.ensure_future(one.wait()) for one in (news.has_some, job.ended)]
    try:
        done, _ = await asyncio.wait(
            waits, timeout=BEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        return bool(done)
    finally:
        for one in waits:
            one.cancel()
            with suppress(asyncio.CancelledError):
                await one


def _why(job: Job) -> tuple[str, str]:
    """The slug and the message of what ended a job before everything was done."""
    if isinstance(job.failure, ApiError):
        return job.failure.slug, job.failure.message
    assert job.told_of is not None
    return job.told_of


def _told(wanted: ReplayRequest) -> dict[str, Any]:
    """What was asked for, as the audit tells it."""
    given = wanted.model_dump(exclude_none=True, exclude_defaults=True)
    given |= {"rate": str(wanted.rate)} if wanted.rate is not None else {}
    given |= {name: rfc3339(given[name]) for name in ("since", "until") if name in given}
    return given | ({"cursor": places.encode(wanted.cursor)} if wanted.cursor is not None else {})
