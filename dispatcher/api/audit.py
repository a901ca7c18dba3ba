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
from typing import Final

from aiohttp import web

from dispatcher.api.turns import Turns
from dispatcher.errors import LogError, Refused
from dispatcher.telemetry.events import Events

MOST_IDS: Final = 20
"""Ids of one event."""
_REFUSED_PER_SECOND: Final = 1
_REFUSED_BURST: Final = 10

key_name: ContextVar[str] = ContextVar("key_name", default="")
"""The name of the key that the request under way has shown; "" where no keys are set."""


class Action(StrEnum):
    """What operators do; the value is the label of the metric, and the verb of the event."""

    PURGED = "purged"
    REDRIVEN = "redriven"
    CANCELLED = "cancelled"
    HELD = "held"
    RESUMED = "resumed"
    BACKUP_BEGUN = "backup_begun"
    BACKUP_STOPPED = "backup_stopped"
    EXPORTED = "exported"
    IMPORTED = "imported"
    CALL_CANCELLED = "call_cancelled"
    SCHEDULE_SET = "schedule_set"
    SCHEDULE_DELETED = "schedule_deleted"
    SCHEDULE_RUN = "schedule_run"
    KEY_MADE = "key_made"
    KEY_REFUSED = "key_refused"


@dataclass(slots=True)
class Outcome:
    """What came of an action: `count` is how many it was done to. None: that is not known."""

    count: int | None = None
    error: str | None = None


class Audit:
    """Tells what operators do. `counts` are actions since the start of the process."""

    def __init__(self, events: Events, now: Callable[[], float]) -> None:
        """`now` is a monotonic clock, in seconds."""
        self.counts = Counter({action.value: 0 for action in Action})
        self._events = events
        self._now = now
        self._refused = Turns(_REFUSED_PER_SECOND, _REFUSED_BURST)
        self._untold = 0

    @contextmanager
    def acting(self, action: Action, selection: Mapping[str, object]) -> Iterator[Outcome]:
        """Tell of an action when it has ended, as what stands below says it in the outcome; with a
        count of 0 nothing was done and nothing is told, unless it failed."""
        outcome = Outcome()
        try:
            yield outcome
        except Refused as error:
            outcome = Outcome(error=error.refusal.slug)
            raise
        except LogError as error:
            outcome = Outcome(error=error.slug)
            raise
        except BaseException as error:
            outcome = Outcome(error=type(error).__name__)
            raise
        finally:
            if outcome.count != 0:
                self.counts[action] += 1
                self._events.operated(
                    action.value,
                    key=key_name.get() or None,
                    selection=selection,
                    count=outcome.count,
                    error=outcome.error,
                )

    def refused(self, request: web.Request, *, name: str | None, error: str) -> None:
        """A request showed no right key, or one (`name`) that may not do this."""
        self.counts[Action.KEY_REFUSED] += 1
        if self._refused.wait(self._now(), 0) is None:
            self._untold += 1
            return
        self._events.operator_key_refused(
            key=name,
            address=request.remote,
            method=request.method,
            path=request.path,
            error=error,
            untold=self._untold,
        )
        self._untold = 0


def ids(message_ids: list[str]) -> Mapping[str, object]:
    """A selection by ids: the first of them, and how many there are."""
    return {"ids": message_ids[:MOST_IDS], "of": len(message_ids)}
