"""The life of one child, as its parent sees it. Pure: time comes in, what is to be done comes out.

    WAITING ──due──▶ STARTING ──ready──▶ READY
       ▲                 │                 │
       │                 └──── silent ─────┴──▶ ABORTED ──overdue──▶ KILLED
       └─────── exited, from any of these ◀────────┴────────────────────┘

    a stop: STARTING, READY ──▶ STOPPING ──overdue──▶ LEAVING, and from both, exited ──▶ ENDED

A child that hangs is aborted first, so that it writes where it is (faulthandler), and killed when
it has not ended then: one that was stopped (SIGSTOP) or sits in the kernel takes no other signal.

One that has ended is started again after a pause, which doubles while its lives are short.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class State(Enum):
    """Where a child is in its life."""

    WAITING = "waiting"  # for its next start
    STARTING = "starting"
    READY = "ready"
    ABORTED = "aborted"  # SIGABRT was sent
    KILLED = "killed"  # SIGKILL was sent; it is started again
    STOPPING = "stopping"  # SIGTERM was sent
    LEAVING = "leaving"  # SIGKILL was sent, and that is the end
    ENDED = "ended"


class Event(Enum):
    """What happens to it."""

    DUE = "due"
    SIGN = "sign"
    READY = "ready"
    SILENT = "silent"
    OVERDUE = "overdue"
    EXITED = "exited"
    STOP = "stop"
    ABANDON = "abandon"


class Act(Enum):
    """What is to be done to it."""

    START = "start"
    TERMINATE = "terminate"
    ABORT = "abort"
    KILL = "kill"


TABLE: Final[dict[tuple[State, Event], tuple[State, Act | None]]] = {
    (State.WAITING, Event.DUE): (State.STARTING, Act.START),
    (State.WAITING, Event.STOP): (State.ENDED, None),
    (State.WAITING, Event.ABANDON): (State.ENDED, None),
    (State.STARTING, Event.SIGN): (State.STARTING, None),
    (State.STARTING, Event.READY): (State.READY, None),
    (State.STARTING, Event.SILENT): (State.ABORTED, Act.ABORT),
    (State.STARTING, Event.EXITED): (State.WAITING, None),
    (State.STARTING, Event.STOP): (State.STOPPING, Act.TERMINATE),
    (State.STARTING, Event.ABANDON): (State.LEAVING, Act.KILL),
    (State.READY, Event.SIGN): (State.READY, None),
    (State.READY, Event.SILENT): (State.ABORTED, Act.ABORT),
    (State.READY, Event.EXITED): (State.WAITING, None),
    (State.READY, Event.STOP): (State.STOPPING, Act.TERMINATE),
    (State.READY, Event.ABANDON): (State.LEAVING, Act.KILL),
    (State.ABORTED, Event.OVERDUE): (State.KILLED, Act.KILL),
    (State.ABORTED, Event.EXITED): (State.WAITING, None),
    (State.ABORTED, Event.STOP): (State.LEAVING, Act.KILL),
    (State.ABORTED, Event.ABANDON): (State.LEAVING, Act.KILL),
    (State.KILLED, Event.EXITED): (State.WAITING, None),
    (State.KILLED, Event.STOP): (State.LEAVING, None),
    (State.KILLED, Event.ABANDON): (State.LEAVING, None),
    (State.STOPPING, Event.OVERDUE): (State.LEAVING, Act.KILL),
    (State.STOPPING, Event.EXITED): (State.ENDED, None),
    (State.STOPPING, Event.ABANDON): (State.LEAVING, Act.KILL),
    (State.LEAVING, Event.EXITED): (State.ENDED, None),
}
"""What follows; where there is no row, nothing does."""

_TIMED: Final = {
    State.WAITING: Event.DUE,
    State.STARTING: Event.SILENT,
    State.READY: Event.SILENT,
    State.ABORTED: Event.OVERDUE,
    State.STOPPING: Event.OVERDUE,
}
"""What the time brings, once it has come."""


@dataclass(frozen=True, slots=True)
class Timings:
    """How long a parent waits, in seconds.

    `silence_s`      for a sign of life, before a child counts as hung.
    `first_sign_s`   for the first one: until then it imports, which a busy machine makes long.
    `abort_s`        from SIGABRT to SIGKILL.
    `pause_s`        before the first restart, then twice that, at most `longest_pause_s`.
    `good_life_s`    after a life of that length the pauses begin anew.
    `stop_s`         from SIGTERM to SIGKILL.
    """

    silence_s: float = 10.0
    first_sign_s: float = 60.0
    abort_s: float = 2.0
    pause_s: float = 0.1
    longest_pause_s: float = 5.0
    good_life_s: float = 10.0
    stop_s: float = 15.0


class Life:
    """One child. Instants are of one clock that never goes back, in seconds.

    `deadline_s` is when `on_time` has something to say; None: never, in this state. `short_lives`
    counts those in a row.
    """

    __slots__ = ("_began_s", "_timings", "deadline_s", "short_lives", "state")

    def __init__(self, timings: Timings, now_s: float) -> None:
        """It is to be started now."""
        self._timings = timings
        self._began_s = now_s
        self.state = State.WAITING
        self.deadline_s: float | None = now_s
        self.short_lives = 0

    def __repr__(self) -> str:
        return f"<Life {self.state.value}, {self.short_lives} short lives>"

    @property
    def is_alive(self) -> bool:
        """Whether there is a process."""
        return self.state not in (State.WAITING, State.ENDED)

    @property
    def takes_signals(self) -> bool:
        """Whether signals that end nothing may be passed on to it: while it starts they wait for
        its handlers."""
        return self.state in (State.STARTING, State.READY)

    def on(self, event: Event, now_s: float) -> Act | None:
        """Take note of what has happened. Returns what is to be done now."""
        found = TABLE.get((self.state, event))
        if found is None:
            return None
        before, (self.state, act) = self.state, found
        if event is Event.EXITED:
            self._count(now_s)
        if event is Event.DUE:
            self._began_s = now_s
        if self.state is not before or event is Event.SIGN:
            self.deadline_s = self._next_deadline(event, now_s)
        return act

    def on_time(self, now_s: float) -> Act | None:
        """Take note of the time. Returns what is to be done now."""
        if self.deadline_s is None or now_s < self.deadline_s:
            return None
        return self.on(_TIMED[self.state], now_s)

    def postpone(self, by_s: float) -> None:
        """The parent did not run for that long (it was stopped, or the machine was), and so could
        not hear: nothing of that time is held against the child."""
        if self.deadline_s is not None and self.is_alive:
            self.deadline_s += by_s

    def _count(self, now_s: float) -> None:
        is_long = now_s - self._began_s >= self._timings.good_life_s
        self.short_lives = 1 if is_long else self.short_lives + 1

    def _next_deadline(self, event: Event, now_s: float) -> float | None:
        timings = self._timings
        match self.state:
            case State.WAITING:
                return now_s + self._pause_s()
            case State.STARTING if event is Event.DUE:
                return now_s + max(timings.first_sign_s, timings.silence_s)
            case State.STARTING | State.READY:
                return now_s + timings.silence_s
            case State.ABORTED:
                return now_s + timings.abort_s
            case State.STOPPING:
                return now_s + timings.stop_s
            case State.KILLED | State.LEAVING | State.ENDED:
                return None

    def _pause_s(self) -> float:
        # Shifted by a bounded number: the pause is at its longest long before.
        doubled = self._timings.pause_s * (1 << min(self.short_lives - 1, 20))
        return min(doubled, self._timings.longest_pause_s)
