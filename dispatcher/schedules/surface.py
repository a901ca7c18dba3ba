"""What the API asks about schedules.

Plain values; instants are integer microseconds since the epoch. `Schedules` is implemented by
`keeper` and has a twin for tests in `dispatcher.testing.schedules`.

A schedule belongs to an application, which names it as it likes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from dispatcher.errors import Refusal
from dispatcher.schedules.cron import Cron
from dispatcher.schedules.plans import Plan

MOST_SCHEDULES: Final = 1000
TOO_MANY: Final = Refusal(
    409,
    "schedules_full",
    f"There are {MOST_SCHEDULES} schedules, which is the most: delete one first.",
)


@dataclass(frozen=True, slots=True)
class FiringView:
    """What a schedule has made for the time `at_us`: its id, and in the API's word what it does or
    how it has ended; None where that is not known any more."""

    at_us: int
    id: str
    state: str | None


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """One schedule.

    `plan` is without its payload in a list. `next_at_us` is its next firing, None when there is
    none or it is paused; with `is_waiting` that is late, as what was made before has not ended.
    `last` is its last firing, `last_run` what was run by hand, `skipped` counts firings that were
    left out. `earlier` are the firings before the last, the newest first, `MOST_EARLIER` at most.
    """

    application: str
    name: str
    plan: Plan
    next_at_us: int | None
    is_waiting: bool
    last: FiringView | None
    last_run: FiringView | None
    skipped: int
    earlier: Sequence[FiringView] = ()


class ScheduleInvalid(ValueError):
    """A schedule is not possible; the message says which field is wrong, and why."""


class Schedules(Protocol):
    """The schedules of one process. What changes one is durable when it returns, and may raise
    `Refused` (it can't be stored now); all may raise `LogBusy`."""

    async def put(self, application: str, name: str, plan: Plan) -> tuple[ScheduleView, bool]:
        """Make a schedule, or change it; and whether it is new. Its times have passed `check`,
        and what is planned the check of its maker."""

    async def get(self, application: str, name: str) -> ScheduleView | None:
        """One schedule; None: there is none."""

    async def list(self, *, only: str | None) -> Sequence[ScheduleView]:
        """All of an application, or of all (None), by application and name."""

    async def delete(self, application: str, name: str) -> bool:
        """Forget a schedule; what it has made goes on. False: there is none."""

    async def run(self, application: str, name: str) -> FiringView | None:
        """Make it now, also while it is paused or another one goes on; None: there is none."""

    async def pause(self, application: str, name: str, *, paused: bool) -> ScheduleView | None:
        """Let it rest, or fire again from now on; None: there is none."""


def check(plan: Plan, now_us: int) -> None:
    """Check when a plan fires. For days that never come that takes a tenth of a second.

    Raises:
        ScheduleInvalid: there is something wrong with it.
    """
    try:
        first_us = Cron(plan.cron, plan.timezone).after(now_us)
    except ValueError as error:
        raise ScheduleInvalid(str(error)) from error
    if first_us is None:
        raise ScheduleInvalid(f"cron {plan.cron!r}: there is no such day in the next 50 years.")
