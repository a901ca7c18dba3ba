"""What is done to many waiting messages: those selected are counted, or a job does it.

A count that the index answers is one of the expensive calls. One for which messages are read may
take minutes where millions wait, and others must not wait for that: it is a job too, of the kind
`count`, so that it is seen and can be cancelled.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

from aiohttp import web
from pydantic import BaseModel

from dispatcher.api.audit import Action
from dispatcher.api.expensive import Expensive
from dispatcher.api.fields import rate_of
from dispatcher.api.jobs.job import JobKind
from dispatcher.api.jobs.running import Jobs, Work
from dispatcher.api.message_models import WaitingSelection
from dispatcher.api.routes import Answer
from dispatcher.api.selectors import each_once
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.surface import Admin, Course, MessageFilter, Touched

Which = MessageFilter | Sequence[str]


class Act(Protocol):
    """Does something to those that are meant."""

    def __call__(self, which: Which, /, *, course: Course) -> Awaitable[Touched]: ...


class Bulk:
    """Answers calls about many waiting messages."""

    def __init__(self, admin: Admin, expensive: Expensive, pace: Pace, jobs: Jobs) -> None:
        self._admin = admin
        self._expensive = expensive
        self._pace = pace
        self._jobs = jobs

    async def answer(
        self,
        request: web.Request,
        selection: WaitingSelection,
        act: Act,
        shown: Callable[[Touched], BaseModel],
        *,
        kind: JobKind,
        action: Action,
        told: Mapping[str, object] | None = None,
    ) -> Answer:
        """Do something to those selected, or count them.

        Args:
            request: whom to answer.
            selection: which, and whether they are only counted.
            act: does it.
            shown: the answer, of what was touched.
            kind: what the job does.
            action: what the audit tells.
            told: of which messages, where that is more than the selection.

        Raises:
            ApiError: 400, one is no id; 503, too much is asked for at once.
        """
        which = await self._which(selection)
        told = selection.told() if told is None else told
        if not selection.dry_run:
            rate = None if selection.rate is None else rate_of(selection.rate)
            job = self._jobs.begin(
                kind, action, told, _work(act, which, shown), course=Course(rate)
            )
            return await self._jobs.answer(request, job)
        count = self._admin.count_waiting
        if isinstance(which, MessageFilter) and which.needs_record:
            job = self._jobs.begin(
                JobKind.COUNT, None, told, _work(count, which, shown), has_rate=False
            )
            return await self._jobs.answer(request, job)
        return shown(await self._expensive.alone(partial(count, which)))

    async def _which(self, selection: WaitingSelection) -> Which:
        if selection.ids is None:
            return selection.filter()
        return await each_once(selection.ids, self._pace)


def _work(act: Act, which: Which, shown: Callable[[Touched], BaseModel]) -> Work:
    async def work(course: Course) -> BaseModel:
        return shown(await act(which, course=course))

    return work
