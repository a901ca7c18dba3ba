"""What operators do, written down: who (the name of the key), what, to which, and how many.

One event for each change that was asked for and not refused before anything was done; keys that are
refused are told too, but a few a second at most, each with the number of those that were not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from aiohttp import web

from dispatcher.api.turns import Turns
from dispatcher.audit.entries import Entry, EntryFilter, EntryPage
from dispatcher.errors import LogError, Refused
from dispatcher.queue.admin.pace import Pace
from dispatcher.telemetry.events import Events

MOST_IDS: Final = 20
"""Ids of one event."""
_REFUSED_PER_SECOND: Final = 1
_REFUSED_BURST: Final = 10
_KEPT_PER_SECOND: Final = 1 / 60
"""Refused keys that are kept: at a hundred bytes each some 16 MiB take half a year."""
_MOST_SHOWN: Final = 200
"""Characters of what a stranger wrote."""

key_name: ContextVar[str] = ContextVar("key_name", default="")
"""The name of the key that the request under way has shown; "" where no keys are set."""

caller: ContextVar[str | None] = ContextVar("caller", default=None)
"""The address of who makes the request under way, where it was passed on; None: it is that of the
connection."""


class Action(StrEnum):
    """What operators do; the value is the label of the metric, and the verb of the event."""

    PURGED = "purged"
    REDRIVEN = "redriven"
    CANCELLED = "cancelled"
    DEAD_LETTERED = "dead_lettered"
    REDIRECTED = "redirected"
    RETRIED = "retried"
    HELD = "held"
    RESUMED = "resumed"
    BACKUP_BEGUN = "backup_begun"
    BACKUP_STOPPED = "backup_stopped"
    EXPORTED = "exported"
    IMPORTED = "imported"
    REPLAYED = "replayed"
    CALL_CANCELLED = "call_cancelled"
    SCHEDULE_SET = "schedule_set"
    SCHEDULE_DELETED = "schedule_deleted"
    SCHEDULE_RUN = "schedule_run"
    REVEALED = "revealed"
    JOB_BEGUN = "job_begun"
    JOB_CHANGED = "job_changed"
    JOB_CANCELLED = "job_cancelled"
    KEY_MADE = "key_made"
    KEY_REFUSED = "key_refused"


@dataclass(slots=True)
class Outcome:
    """What came of an action: `count` is how many it was done to, also where it failed. None: that
    is not known. `job` is the id of a job that was begun by it."""

    count: int | None = None
    error: str | None = None
    job: str | None = None


class Keeper(Protocol):
    """Who keeps what was done, across restarts: `audit.audit_log` for real."""

    @property
    def unkept(self) -> str | None:
        """Why the newest are not on the disk; None: they are."""

    def add(self, entry: Entry) -> None:
        """Keep one more."""

    async def written(self) -> None:
        """Return when all that was added is on the disk, or cannot be for now."""

    async def page(
        self, which: EntryFilter, *, before: int | None, limit: int, pace: Pace
    ) -> EntryPage:
        """Find the newest that match, of those with a number below `before`. Raises LogError."""


class Audit:
    """Tells what operators do. `counts` are actions since the start of the process."""

    def __init__(
        self,
        events: Events,
        now: Callable[[], float],
        *,
        keeper: Keeper,
        now_us: Callable[[], int],
    ) -> None:
        """`now` is a monotonic clock, in seconds, `now_us` the wall clock."""
        self.counts = Counter({action.value: 0 for action in Action})
        self._events = events
        self._now = now
        self._keeper = keeper
        self._now_us = now_us
        self._refused = Turns(_REFUSED_PER_SECOND, _REFUSED_BURST)
        self._untold = 0
        self._kept_refused = Turns(_KEPT_PER_SECOND, _REFUSED_BURST)
        self._unkept = 0

    async def written(self) -> None:
        """Return when what was done is on the disk, or cannot be for now."""
        await self._keeper.written()

    def tell(
        self, action: Action, selection: Mapping[str, object], outcome: Outcome, *, job: str | None
    ) -> None:
        """Tell of something that has been done."""
        key = key_name.get() or None
        self.counts[action] += 1
        self._events.operated(
            action.value,
            key=key,
            selection=selection,
            count=outcome.count,
            error=outcome.error,
            job=job,
        )
        self._keeper.add(
            Entry(
                at_us=self._now_us(),
                action=action.value,
                key=key,
                selection=selection,
                count=outcome.count,
                error=outcome.error,
                job=job,
            )
        )

    @contextmanager
    def acting(
        self, action: Action, selection: Mapping[str, object], *, job: str | None = None
    ) -> Iterator[Outcome]:
        """Tell of an action when it has ended, as what stands below says it in the outcome; with a
        count of 0 nothing was done and nothing is told, unless it failed. `job` is the id of the
        job that did it."""
        outcome = Outcome()
        try:
            yield outcome
        except Refused as error:
            outcome.error = error.refusal.slug
            raise
        except LogError as error:
            outcome.error = error.slug
            raise
        except BaseException as error:
            outcome.error = outcome.error or type(error).__name__
            raise
        finally:
            if outcome.count != 0 or outcome.error is not None:
                self.tell(action, selection, outcome, job=job or outcome.job)

    def refused(self, request: web.Request, *, name: str | None, error: str) -> None:
        """A request showed no right key, or one (`name`) that may not do this."""
        self.counts[Action.KEY_REFUSED] += 1
        self._keep_refused(request, name=name, error=error)
        if self._refused.wait(self._now(), 0) is None:
            self._untold += 1
            return
        self._events.operator_key_refused(
            key=name,
            address=caller.get() or request.remote,
            method=request.method,
            path=request.path,
            error=error,
            untold=self._untold,
        )
        self._untold = 0

    def _keep_refused(self, request: web.Request, *, name: str | None, error: str) -> None:
        """Whoever guesses keys must not push out what operators did."""
        if self._kept_refused.wait(self._now(), 0) is None:
            self._unkept += 1
            return
        selection = {
            "method": request.method[:_MOST_SHOWN],
            "path": request.path[:_MOST_SHOWN],
            "address": caller.get() or request.remote,
            "untold": self._unkept,
        }
        self._unkept = 0
        action = Action.KEY_REFUSED.value
        self._keeper.add(Entry(self._now_us(), action, name, selection, None, error))


def ids(message_ids: list[str]) -> Mapping[str, object]:
    """A selection by ids: the first of them, and how many there are."""
    return {"ids": message_ids[:MOST_IDS], "of": len(message_ids)}
