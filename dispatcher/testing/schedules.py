"""The schedules' twin: they are kept in memory, and fire when a test says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dispatcher.errors import Refused
from dispatcher.schedules.cron import Cron
from dispatcher.schedules.plans import Plan, PlannedCall
from dispatcher.schedules.surface import MOST_SCHEDULES, TOO_MANY, FiringView, ScheduleView

NOW_US = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z: now, always."""


class MemorySchedules:
    """Schedules, by application and name in `views`."""

    def __init__(self) -> None:
        self.views: dict[tuple[str, str], ScheduleView] = {}
        self._runs = 0

    async def put(self, application: str, name: str, plan: Plan) -> tuple[ScheduleView, bool]:
        """Remember it."""
        old = self.views.get((application, name))
        if old is None and len(self.views) >= MOST_SCHEDULES:
            raise Refused(TOO_MANY)
        if old is None:
            old = ScheduleView(application, name, plan, None, False, None, None, 0)
        view = self.views[application, name] = replace(old, plan=plan, next_at_us=_next_us(plan))
        return view, old.plan is plan

    async def get(self, application: str, name: str) -> ScheduleView | None:
        """As it was put."""
        return self.views.get((application, name))

    async def list(self, *, only: str | None) -> Sequence[ScheduleView]:
        """All, or those of an application."""
        return [
            replace(view, plan=replace(view.plan, what=view.plan.what.without_payload()))
            for _, view in sorted(self.views.items())
            if only in (None, view.application)
        ]

    async def delete(self, application: str, name: str) -> bool:
        """Forget it."""
        return self.views.pop((application, name), None) is not None

    async def run(self, application: str, name: str) -> FiringView | None:
        """Remember that it was run."""
        view = self.views.get((application, name))
        if view is None:
            return None
        self._runs += 1
        state = "ready" if isinstance(view.plan.what, PlannedCall) else "waiting"
        firing = FiringView(NOW_US, f"{self._runs:028x}", state)
        self.views[application, name] = replace(view, last_run=firing)
        return firing

    async def pause(self, application: str, name: str, *, paused: bool) -> ScheduleView | None:
        """Let it rest, or go on."""
        view = self.views.get((application, name))
        if view is None:
            return None
        return (await self.put(application, name, replace(view.plan, paused=paused)))[0]


def _next_us(plan: Plan) -> int | None:
    return None if plan.paused else Cron(plan.cron, plan.timezone).after(NOW_US)
