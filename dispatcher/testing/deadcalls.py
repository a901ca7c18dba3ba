"""A function service as far as dead calls know one: what it was told, and calls in a dictionary."""

from __future__ import annotations

import asyncio
from typing import Any

from dispatcher.core.calls import CallReason
from dispatcher.errors import Refusal, Refused
from dispatcher.queue.records.dead_calls import CallLetter
from dispatcher.queue.records.history import Attempt, encode_history
from dispatcher.queue.records.ids import wire_id

PERMANENT_ERROR = 7


def call_id(number: int, *, incarnation: int = 1) -> bytes:
    """The id of a call with this number."""
    return wire_id(0, incarnation, 1 << 63 | number)


def call_letter(number: int = 1, **changed: Any) -> CallLetter:
    """The letter of a call that failed; the fields named are as told."""
    made: dict[str, Any] = {
        "id": call_id(number),
        "endpoint": "http://apps.example:8000",
        "function": "charge",
        "version": "v1",
        "application": "shop",
        "correlation": 7,
        "created_at": 1_704_067_200_000_000,
        "expiration_us": 86_400_000_000,
        "timeout_ms": 1500,
        "dead_at": 1_704_067_260_000_000 + number,
        "reason": CallReason.FAILED,
        "status": PERMANENT_ERROR,
        "error_type": "ValueError",
        "detail": "no such card",
        "attempts": 1,
        "history": encode_history([Attempt(1_704_067_259_000_000, 12, 200, None, PERMANENT_ERROR)]),
        "body": b"input of %d" % number,
    }
    made |= changed
    return CallLetter(**{"body_size": len(made["body"]), **made})


class MemoryCalls:
    """A `Reviver`. `there` are the calls that were revived, by id; `refusal`, once set, is what the
    next are refused with; `takes_s` is how long each takes."""

    def __init__(self) -> None:
        self.there: dict[bytes, CallLetter] = {}
        self.asked: list[bytes] = []
        self.refusal: Refusal | None = None
        self.error: Exception | None = None
        self.takes_s = 0.0
        self.made = 0

    def new_id(self) -> bytes:
        """See `Reviver`."""
        self.made += 1
        return call_id(self.made, incarnation=99)

    async def revive(self, letter: CallLetter) -> None:
        """See `Reviver`."""
        self.asked.append(letter.id)
        await asyncio.sleep(self.takes_s)
        if self.refusal is not None:
            raise Refused(self.refusal)
        if self.error is not None:
            raise self.error
        self.there.setdefault(letter.id, letter)
