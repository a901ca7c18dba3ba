"""A session of an application, and its requests that are out."""

from __future__ import annotations

import asyncio
from typing import Final

from dispatcher.core.answer import Answer
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.functions.bridge.sessions import Fetched
from dispatcher.functions.lanes.lane import Place
from dispatcher.functions.runs.message import RunMessage

_START_BYTES: Final = 1024
"""Of a body that is no answer, what is kept to say why."""


class Out:
    """A request that was fetched. `since_us`, and `now_us` of its methods, by the steady clock."""

    __slots__ = ("id", "message", "session", "since_us", "timeout_ms", "timer")

    def __init__(
        self, id_: str, message: RunMessage, session: Session, *, since_us: int, timeout_ms: int
    ) -> None:
        self.id = id_
        self.message = message
        self.session = session
        self.since_us = since_us
        self.timeout_ms = timeout_ms
        self.timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Out {self.id}: {self.message!r}>"

    def failed(self, failure: Failure, why: str, now_us: int) -> AttemptResult:
        """How its attempt ended where there is no response."""
        return AttemptResult(None, failure, why, self._duration_ms(now_us), was_sent=True)

    def answered(self, came: Answer, now_us: int) -> AttemptResult:
        """How its attempt ended with anything but a complete 2xx."""
        return AttemptResult(
            came.status,
            None if came.is_whole else Failure.BROKEN,
            f"http_{came.status}" if came.is_whole else "the body of the response is too large",
            self._duration_ms(now_us),
            came.retry_after,
            came.body[:_START_BYTES] if came.status >= 300 else b"",
            was_sent=True,
        )

    def _duration_ms(self, now_us: int) -> int:
        return max(0, now_us - self.since_us) // 1000


class Session:
    """One session of one application.

    `pollers` wait for a request, the oldest first. `pulled` are calls that have their turn and
    whose messages have not come yet. `out` are requests by id; `storing` counts answers that are
    not stored yet. `is_called`: it is looked at in the next turn of the loop.
    """

    __slots__ = ("is_called", "lane", "out", "pollers", "pulled", "storing")

    def __init__(self, lane: str) -> None:
        self.lane = lane
        self.pollers: dict[asyncio.Future[Fetched | None], None] = {}
        self.pulled: set[Place] = set()
        self.out: dict[str, Out] = {}
        self.storing = 0
        self.is_called = False

    def __repr__(self) -> str:
        return f"<Session {self.lane}: {len(self.pollers)} poll, {len(self.out)} out>"

    @property
    def is_idle(self) -> bool:
        """Nothing would be lost without it."""
        return not (self.pollers or self.pulled or self.out or self.storing)

    def wants(self, most_out: int) -> bool:
        """Whether one more call is to be pulled."""
        taken = len(self.pulled)
        return taken < len(self.pollers) and taken + len(self.out) + self.storing < most_out
