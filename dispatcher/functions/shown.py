"""What is shown of function calls: states, views, timelines, totals.

Plain values; instants are integer microseconds since the epoch; ids are as on the wire (`ids`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from dispatcher.protocol.statuses import Status

_OK: Final = Status.OK.name.lower()

MOST_NODES: Final = 1000
"""Calls of a tree that are shown, at most."""

MOST_ENTRIES: Final = 1000
"""Entries of a timeline that are kept and shown, at most: the first and the last ones."""


class CallState(Enum):
    """What a call does; the value is the API's word.

    READY      it waits for its turn to be run.
    SCHEDULED  it waits for a time: its first run is delayed, or a run failed and is tried again.
    RUNNING    a run is under way.
    SUSPENDED  it waits for results of others, or sleeps.
    OUTSIDE    it is to be completed from outside: a promise, a channel.
    SUCCEEDED, FAILED, EXPIRED, CANCELLED  it has ended.
    """

    READY = "ready"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    SUSPENDED = "suspended"
    OUTSIDE = "outside"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it will be run."""
        return self in _ENDED


_ENDED: Final = frozenset(
    {CallState.SUCCEEDED, CallState.FAILED, CallState.EXPIRED, CallState.CANCELLED}
)


@dataclass(frozen=True, slots=True)
class CallView:
    """One call.

    `parent_id` is None for a root call, whose `root_id` is its own. `attempts` are the runs that
    failed since its last directive, `steps` the directives it has given, `restarts` how often it
    began anew without getting further. `next_run_at_us` is None unless SCHEDULED, or SUSPENDED with
    a time at which it is resumed at the latest. `waits_for` are its children whose results are
    outstanding, `results` those that are there and not delivered. `last_error` is what the last run
    came to, where it failed: a status (`throttled`) or `http_503`; of one that has ended, the type
    of its error.
    `ended_at_us` is None until it has ended.
    """

    id: str
    state: CallState
    function: str
    endpoint: str
    version: str
    application: str
    parent_id: str | None
    root_id: str
    depth: int
    created_at_us: int
    expires_at_us: int
    next_run_at_us: int | None
    ended_at_us: int | None
    attempts: int
    steps: int
    restarts: int
    waits_for: int
    results: int
    last_error: str | None


class WaitingReason(Enum):
    """Why a call has not ended yet; the value is the API's slug. Those that a message may have too
    are spelled alike (`queue.admin.surface.Reason`)."""

    WAITING_TURN = "waiting_turn"
    SCHEDULED = "scheduled"
    BREAKER_OPEN = "breaker_open"
    RETRY_AFTER = "retry_after"
    LACKING = "lacking"
    DESTINATION_HELD = "destination_held"
    LIMIT_REACHED = "limit_reached"
    RATE_REACHED = "rate_reached"
    THROTTLED = "throttled"
    NOT_FETCHED = "not_fetched"
    IN_FLIGHT = "in_flight"
    WAITS_FOR_CALLS = "waits_for_calls"
    SLEEPS = "sleeps"
    OUTSIDE = "outside"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class ExplanationView:
    """The one reason why a call has not ended yet, with a sentence for people."""

    id: str
    state: CallState
    reason: WaitingReason
    message: str
    until_us: int | None
    expected_at_us: int | None


@dataclass(frozen=True, slots=True)
class CallFilter:
    """Which calls: those that match everything that is said. `roots` leaves children out."""

    state: CallState | None = None
    function: str | None = None
    endpoint: str | None = None
    roots: bool = False


@dataclass(frozen=True, slots=True)
class CallPage:
    """A page of calls, the newest first. `next_cursor` is where the next one begins, from 1 to
    2**64 - 1: the number of the last call's key, say; None on the last page."""

    items: Sequence[CallView]
    next_cursor: int | None


@dataclass(frozen=True, slots=True)
class TreeView:
    """Calls under one call, which is the first of `nodes`; a parent stands before its children.

    At most `MOST_NODES`; `total` is how many there are now, and `by_state` of which state.
    """

    nodes: Sequence[CallView]
    total: int
    by_state: dict[CallState, int]


class Step(Enum):
    """What a timeline tells; the value is the API's word."""

    CREATED = "created"
    RUN = "run"
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    RESTARTED = "restarted"
    TAIL_CALLED = "tail_called"
    CANCEL_ASKED = "cancel_asked"
    ENDED = "ended"


@dataclass(slots=True)
class Entry:
    """One entry of a timeline. Nobody changes it; frozen it would take three times as long to make.

    RUN: `attempt` counts from 1 within its step, `duration_ms` is how long it took, `status` what
    the application answered (`ok`, `throttled`, …; None without an answer), `error` why it failed,
    `http_status` that of an answer that was none of the protocol, `next_at_us` when it is tried
    again. SUSPENDED: `count` children are outstanding, `next_at_us`
    when it is resumed at the latest. RESUMED: with `count` results. ENDED: `status` is the state.
    """

    step: Step
    at_us: int
    attempt: int | None = None
    duration_ms: int | None = None
    status: str | None = None
    error: str | None = None
    next_at_us: int | None = None
    count: int | None = None

    @property
    def has_failed(self) -> bool:
        """Whether it is a run with another status than OK."""
        return self.step is Step.RUN and self.status != _OK

    http_status: int | None = None


@dataclass(frozen=True, slots=True)
class Timeline:
    """What happened to a call, the oldest first, as far as it is known since the start of the
    process; `dropped` are entries in the middle that were not kept."""

    entries: Sequence[Entry]
    dropped: int


@dataclass(frozen=True, slots=True)
class CallLane:
    """The lane of one application: `endpoint` is scheme and authority. `limit` is how many runs may
    be under way at once, None where runs are fetched. `paused_until_us` is by the wall clock, None
    when nothing but its limit holds it up. `held`: an operator holds it. `breaker` is closed, open
    or half_open."""

    endpoint: str
    waiting: int
    in_flight: int
    limit: int | None
    paused_until_us: int | None
    held: bool
    breaker: str


@dataclass(frozen=True, slots=True)
class CallTotals:
    """Since the start of the process (`_total`), and now.

    `ready` and `scheduled` calls are to be run, `ending` are those that have ended but whose
    results are not in their log yet. `waiters` wait for results from outside. `lanes` are the
    largest, of `lanes_total` ones.
    """

    created_total: int
    succeeded_total: int
    failed_total: int
    expired_total: int
    cancelled_total: int
    runs_total: int
    ready: int
    scheduled: int
    running: int
    suspended: int
    outside: int
    ending: int
    results: int
    results_bytes: int
    waiters: int
    lanes: Sequence[CallLane]
    lanes_total: int


MOST_CALL_LANES: Final = 100
"""Lanes that are told, at most: those with most calls."""
