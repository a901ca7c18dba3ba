"""One attempt under way, and how it is turned into an `AttemptResult`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult, Failure

if TYPE_CHECKING:
    from dispatcher.delivery.connection import Connection
    from dispatcher.delivery.response import Response


class Attempt:
    """One try to deliver one message. Mutable and slotted: one is made for every message.

    `started_s`, `deadline_s`  on the event loop's clock, seconds.
    `connection`               where it was written to, None while there is none.
    `task`                     what opens a connection or streams the body for it, or None.
    `phase`                    what it waits for, in words for a person.
    `resent`                   it was already sent again on a fresh connection.
    `ours`                     its body could not be read back, if only for a while: the destination
                               had less time, or half a request, and is not to blame for a failure.
    """

    __slots__ = (
        "connection",
        "deadline_s",
        "message",
        "ours",
        "phase",
        "resent",
        "started_s",
        "task",
    )

    def __init__(self, message: Message, started_s: float, deadline_s: float) -> None:
        self.message = message
        self.started_s = started_s
        self.deadline_s = deadline_s
        self.connection: Connection | None = None
        self.task: asyncio.Task[None] | None = None
        self.phase = "waiting for the response"
        self.resent = False
        self.ours = False

    def failed(self, failure: Failure, detail: str, now_s: float) -> AttemptResult:
        """The result of an attempt that got no part of a response's head."""
        return AttemptResult(None, failure, detail, self._duration_ms(now_s), ours=self.ours)

    def answered(
        self, response: Response, failure: Failure | None, detail: str, now_s: float
    ) -> AttemptResult:
        """The result of an attempt whose response was read, as far as it came."""
        return AttemptResult(
            response.status or None,
            failure,
            detail or f"status {response.status}",
            self._duration_ms(now_s),
            response.retry_after,
            response.start,
            ours=self.ours and failure is not None,
        )

    def timed_out(self, now_s: float) -> AttemptResult:
        """The result of an attempt that met its deadline."""
        limit_ms = round((self.deadline_s - self.started_s) * 1000)
        if self.connection is None:
            return self.failed(Failure.TIMEOUT, f"{limit_ms} ms passed while {self.phase}", now_s)
        response = self.connection.response
        phase = "reading the response" if response.status else self.phase
        return self.answered(
            response, Failure.TIMEOUT, f"{limit_ms} ms passed while {phase}", now_s
        )

    def _duration_ms(self, now_s: float) -> int:
        return max(0, round((now_s - self.started_s) * 1000))
