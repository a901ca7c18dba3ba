"""What runs and the machine tell, as entries: written down as timelines, and told to others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dispatcher.functions.deciding.decisions import Decision, RestartAt, RetryAt
from dispatcher.functions.events import TailCalled
from dispatcher.functions.model import Call, Phase
from dispatcher.functions.shown import Entry, Step
from dispatcher.functions.views.history import History
from dispatcher.functions.views.last_errors import LastErrors
from dispatcher.functions.views.looking import state_of_ended
from dispatcher.protocol.statuses import Status

_NAMES: Final = {status: status.name.lower() for status in Status}


class Timelines:
    """A `watching.Watcher`, and what `machine.Listener` hears is told to it too."""

    def __init__(
        self,
        history: History,
        now_us: Callable[[], int],
        warned: Callable[[str, str], None],
        happened: Callable[[Call, Entry], None],
        last_errors: LastErrors,
    ) -> None:
        """`warned` is told a function and a sentence, `happened` every entry."""
        self._history = history
        self._now_us = now_us
        self._warned = warned
        self._happened = happened
        self._last_errors = last_errors

    @property
    def is_wanted(self) -> bool:
        """Timelines are always kept."""
        return True

    def _add(self, call: Call, entry: Entry) -> None:
        self._history.add(call.key, entry)
        self._happened(call, entry)

    def run_started(self, call: Call, attempt: int, at_us: int) -> None:
        """See `watching.Watcher`; a run is one entry, when it has ended."""

    def run_ended(self, call: Call, decision: Decision, started_us: int, at_us: int) -> None:
        """See `watching.Watcher`."""
        outcome = decision.outcome
        self._last_errors.ran(call, decision)
        run = Entry(
            Step.RUN,
            started_us,
            attempt=call.attempts + 1,
            duration_ms=max(0, at_us - started_us) // 1000,
            status=_NAMES[decision.status],
            error=decision.why,
            next_at_us=outcome.due_us if isinstance(outcome, RetryAt | RestartAt) else None,
            http_status=decision.http_status,
        )
        self._add(call, run)
        if isinstance(outcome, RestartAt):
            self._add(call, Entry(Step.RESTARTED, at_us))
        elif isinstance(outcome, TailCalled):
            self._add(call, Entry(Step.TAIL_CALLED, at_us))

    def ends(self, call: Call, result: bytes) -> None:
        """See `watching.Watcher`."""
        self._last_errors.ends(call, result)

    def warned(self, call: Call, what: str) -> None:
        """See `watching.Watcher`."""
        self._warned(call.function, what)

    # What the machine tells.

    def is_due(self, call: Call) -> None:
        """It is to be run."""
        if not call.step:
            self._add(call, Entry(Step.CREATED, call.created_us))
        elif call.is_resume:
            self._add(call, Entry(Step.RESUMED, self._now_us(), count=len(call.results)))

    def waits(self, call: Call) -> None:
        """It waits."""
        if call.phase is Phase.SUSPENDED:
            due_us = call.poll_due_us
            entry = Entry(
                Step.SUSPENDED, self._now_us(), count=len(call.children), next_at_us=due_us or None
            )
            self._add(call, entry)
        elif call.phase is Phase.OUTSIDE and not call.step:
            self._add(call, Entry(Step.CREATED, call.created_us))

    def is_asked_to_end(self, call: Call) -> None:
        """An operator, or its caller, wants it to end."""
        self._add(call, Entry(Step.CANCEL_ASKED, self._now_us()))

    def has_ended(self, call: Call) -> None:
        """It has ended: a root call once its result is there, another one when it is gone."""
        state = state_of_ended(call)
        self._add(call, Entry(Step.ENDED, self._now_us(), status=state.value))
