"""One attempt under way, and how it is turned into an `AttemptResult`."""

from __future__ import annotations

import asyncio
from typing import Protocol

from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.delivery.response import Response
from dispatcher.delivery.trust import Trust


class Carrier(Protocol):
    """What an attempt knows of the connection it was written to."""

    @property
    def response(self) -> Response:
        """What came of its response."""

    def abort(self) -> None:
        """Drop it with everything unsent and unread."""


class Attempt:
    """One try to deliver one message. Mutable and slotted: one is made for every message.

    `started_s`, `deadline_s`  on the event loop's clock, seconds.
    `connection`               where it was written to, None while there is none.
    `task`                     what opens a connection or streams the body for it, or None.
    `phase`                    what it waits for, in words for a person.
    `resent`                   it was already sent again on a fresh connection.
    `ticket`                   what `Deadlines` knows it by once it is old, before that 0.
    `head`                     what is written in place of the message's head, None: that itself.
    `trust`                    with what a connection for it is secured, None: as the system says.
    `ours`                     something is lacking on this machine (descriptors, the body): the
                               destination has half a request, or none, and is not to blame for a
                               failure.
    `late`                     something was lacking, and came: the destination had less time, and
                               is not to blame for a timeout.
    """

    __slots__ = (
        "connection",
        "deadline_s",
        "head",
        "late",
        "message",
        "ours",
        "phase",
        "resent",
        "started_s",
        "task",
        "ticket",
        "trust",
    )

    def __init__(self, message: Message, started_s: float, deadline_s: float) -> None:
        self.message = message
        self.started_s = started_s
        self.deadline_s = deadline_s
        self.connection: Carrier | None = None
        self.task: asyncio.Task[None] | None = None
        self.phase = "waiting for the response"
        self.resent = False
        self.ticket = 0
        self.ours = False
        self.late = False
        self.head: bytes | None = None
        self.trust: Trust | None = None

    def __repr__(self) -> str:
        message = self.message
        where = f"{message.wire_id.decode()} to {message.destination}"
        return f"<Attempt {message.attempt} of {where}: {self.phase}>"

    @property
    def place(self) -> bytes:
        """Which connections may carry it: those that were opened for the same place."""
        key = self.message.destination.key
        return key if self.trust is None else key + b" " + self.trust.mark

    def failed(self, failure: Failure, detail: str, now_s: float) -> AttemptResult:
        """The result of an attempt that failed, with what was read of a response."""
        if self.connection is None:
            ours = self._is_ours(failure)
            return AttemptResult(None, failure, detail, self._duration_ms(now_s), ours=ours)
        return self.answered(self.connection.response, failure, detail, now_s)

    def answered(
        self, response: Response, failure: Failure | None, detail: str, now_s: float
    ) -> AttemptResult:
        """The result of an attempt whose response was read, as far as it came."""
        return AttemptResult(
            response.status or None,
            failure,
            detail or f"http_{response.status}",
            self._duration_ms(now_s),
            response.retry_after,
            response.start,
            ours=self._is_ours(failure),
            was_sent=True,
        )

    def timed_out(self, now_s: float) -> AttemptResult:
        """The result of an attempt that met its deadline."""
        limit_ms = round((self.deadline_s - self.started_s) * 1000)
        is_reading = self.connection is not None and self.connection.response.status
        phase = "reading the response" if is_reading else self.phase
        return self.failed(Failure.TIMEOUT, f"{limit_ms} ms passed while {phase}", now_s)

    def _is_ours(self, failure: Failure | None) -> bool:
        if failure is Failure.TIMEOUT:
            return self.ours or self.late
        return self.ours and failure is not None

    def _duration_ms(self, now_s: float) -> int:
        return max(0, round((now_s - self.started_s) * 1000))
