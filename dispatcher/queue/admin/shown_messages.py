"""Messages, as operators are shown them, and what comes of what they do to those that wait. Plain
values; instants are integer microseconds since the epoch."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from dispatcher.core.lifecycle import MessageState


class Reason(Enum):
    """Why a message is not delivered yet; the value is the API's slug."""

    WAITING_TURN = "waiting_turn"
    SCHEDULED = "scheduled"
    BREAKER_OPEN = "breaker_open"
    RETRY_AFTER = "retry_after"
    LACKING = "lacking"
    DESTINATION_HELD = "destination_held"
    LIMIT_REACHED = "limit_reached"
    RATE_REACHED = "rate_reached"
    ORDER_KEY = "order_key"
    FLOW_KEY = "flow_key"
    IN_FLIGHT = "in_flight"
    DELIVERED = "delivered"
    DEAD = "dead"


class Cancelled(Enum):
    """What came of a wish to cancel a message, to give it up, or to redirect it."""

    DONE = "done"
    UNKNOWN = "unknown"
    IN_FLIGHT = "in_flight"
    DELIVERED = "delivered"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class MessageView:
    """One message. `last_error` is as `core.outcome.cause` has it, `next_attempt_at_us` None unless
    SCHEDULED. `options` is what is stored of them, as `core.options.written` has it, and its
    timeout; that of a message that was delivered is not kept. Nor is `size_bytes`, that of its
    body.

    Of one that is READY or SCHEDULED `reason` is why, and until when (`until_us`), as
    `Explanation` has it, and `destination_error` what the last attempt at its destination came to,
    where that fails; else they are None."""

    id: str
    state: MessageState
    destination: str
    method: str
    target: str
    accepted_at_us: int
    attempts: int
    next_attempt_at_us: int | None
    last_error: str | None
    label: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    size_bytes: int | None = None
    reason: Reason | None = None
    until_us: int | None = None
    destination_error: str | None = None


@dataclass(frozen=True, slots=True)
class MessageDetail:
    """A message with its request. `headers` are name and value as bytes; they and the body, in
    pieces as of `LetterDetail`, are kept until it is delivered. None: it was."""

    message: MessageView
    headers: Sequence[tuple[bytes, bytes]] | None = None
    body: AsyncIterable[bytes] | None = None

    def told(self, message: MessageView) -> MessageDetail:
        """The same request with another look at its message."""
        return MessageDetail(message, self.headers, self.body)


@dataclass(frozen=True, slots=True)
class MessagePage:
    """A page of waiting messages, in the order of the log: the oldest first, but for those that
    were copied forward in it since. `next_cursor` is None on the last one; with it a page may have
    fewer items than were asked for, or none: as much was looked at as one request may."""

    items: Sequence[MessageView]
    next_cursor: int | None
    incomplete: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Touched:
    """Waiting messages that something was done to, or would be: by what they were before.

    `ready` were due, whatever kept them; `scheduled` waited for a time. Those `in_flight` are left
    alone. `not_found` are ids of messages that do not wait.
    """

    ready: int = 0
    scheduled: int = 0
    in_flight: int = 0
    not_found: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class TriedNow:
    """A destination that is tried at once. `retried` messages waited for a time and are due now;
    `was_open`: its breaker was, and the next attempt is the probe. While an operator holds it
    (`held`) nothing is sent all the same. `waiting` messages waited for it, those
    `retried` among them, and none that was in flight."""

    destination: str
    retried: int
    waiting: int
    held: bool
    was_open: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """The one reason why a message is not delivered yet, with a sentence for people."""

    id: str
    state: MessageState
    reason: Reason
    message: str
    until_us: int | None
    expected_at_us: int | None
