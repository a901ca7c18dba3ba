"""What a run can come to, as `deciding` says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from dispatcher.core.breaker import Signal
from dispatcher.functions.deciding.streaks import NO_OTHERS, NO_STREAK, Others, Streak
from dispatcher.functions.events import Exited, Polled, TailCalled
from dispatcher.protocol.statuses import Concurrency, Status


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Send the same request again, not before `due_us` (microseconds since the epoch). `attempts`
    runs of this step have failed; with `is_spent` False this one does not count among them."""

    due_us: int
    attempts: int
    is_spent: bool = True


@dataclass(frozen=True, slots=True)
class RestartAt:
    """Begin anew from its input, with a first run not before `due_us` (microseconds since the
    epoch)."""

    due_us: int


Outcome: TypeAlias = Polled | Exited | TailCalled | RestartAt | RetryAt


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from a run.

    `status` is what it came to, `detail` why in a few words ("" where all is well). `lane` is what
    it says about its endpoint, for limit and breaker; `function` about its function. `streak` is
    that of its step from now on. `warning`, where there is one, is for the operator. `process` is
    who keeps the state of a poll, "" where nobody says so. `has_missed`: a state was left out for
    one who has another or none. `http_status` is that of an answer which was no RunResponse.
    `cancel` are the correlation ids of children that are needed no more.
    """

    outcome: Outcome
    status: Status
    lane: Signal
    function: Concurrency
    detail: str = ""
    streak: Streak = NO_STREAK
    warning: str | None = None
    process: str = ""
    has_missed: bool = False
    cancel: tuple[int, ...] = ()
    http_status: int | None = None

    @property
    def slug(self) -> str:
        """What it came to, in one word: `http_503` where HTTP said it, else the status."""
        if self.http_status in (None, 200):
            return self.status.name.lower()
        return f"http_{self.http_status}"

    @property
    def why(self) -> str | None:
        """`detail` without the status; None where all is well."""
        return self.detail.removeprefix(f"{self.status.name}: ") if self.detail else None


@dataclass(frozen=True, slots=True)
class Context:
    """What is known beside the call: `streak` of its step so far; `others`, what other runs of its
    endpoint came to; `tree`, how many calls its root's tree has had."""

    streak: Streak = NO_STREAK
    others: Others = NO_OTHERS
    tree: int = 1
