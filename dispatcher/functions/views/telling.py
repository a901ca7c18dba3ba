"""Who hears what happens to calls: figures, the log, and listeners at `/v1/events`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from dispatcher.functions.model import NONE, Call
from dispatcher.functions.shown import Entry, Step
from dispatcher.functions.views.figures import Figures
from dispatcher.queue.admin.watching import Watch


class Log(Protocol):
    """The log, as far as it is about what happens to calls."""

    @property
    def is_debug(self) -> bool:
        """Whether what goes well is written too."""

    def happened(self, call_id: str, call: Call, entry: Entry) -> None:
        """Write a line."""


class Telling:
    """Tells it. Costs little while nobody listens and the log is not at `debug`."""

    __slots__ = ("_figures", "_id_of", "_log", "_watch")

    def __init__(
        self, figures: Figures, watch: Watch, log: Log, id_of: Callable[[int], str]
    ) -> None:
        """`id_of` gives the id of a key."""
        self._figures = figures
        self._watch = watch
        self._log = log
        self._id_of = id_of

    def happened(self, call: Call, entry: Entry) -> None:
        """Something happened to a call, which is as it was before, or is after it."""
        self._figures.count(call.function, entry)
        if self._log.is_debug or is_notable(entry):
            self._log.happened(self._id_of(call.key), call, entry)
        if self._watch.has_listeners:
            self._watch.call_happened(
                entry.step.value,
                self._id_of(call.key),
                call.endpoint,
                {
                    "function": call.function,
                    "parent_id": None if call.parent == NONE else self._id_of(call.parent),
                    "root_id": self._id_of(call.root),
                    "attempt": entry.attempt,
                    "duration_ms": entry.duration_ms,
                    "status": entry.status,
                    "error": entry.error,
                    "next_at": entry.next_at_us,
                    "count": entry.count,
                },
            )


def is_notable(entry: Entry) -> bool:
    """Whether somebody may want to know although the call goes on: a run failed."""
    return entry.has_failed or entry.step is Step.RESTARTED
