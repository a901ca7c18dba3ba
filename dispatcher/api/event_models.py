"""The data of server-sent events (`/v1/events`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import Field

from dispatcher.api.fields import (
    InstantOut,
    MessageId,
    Text,
)
from dispatcher.api.letter_models import LetterReason
from dispatcher.api.models import Output
from dispatcher.functions.shown import Step
from dispatcher.queue.admin.surface import (
    Event,
    LetterKind,
)


class Happened(Output):
    """What the data of every event begins with."""

    time: InstantOut
    id: MessageId
    destination: str


class MessageHappened(Happened):
    """The same of messages; their events have a label where the message has one."""

    label: str | None = Field(
        None, exclude_if=lambda label: label is None, description="Left out where there is none."
    )


class AcceptedEvent(MessageHappened):
    """A message is durable and was answered 202."""

    method: Text
    target: Text
    size_bytes: int = Field(description="Bytes of the body.")


class AttemptedEvent(MessageHappened):
    """An attempt ended."""

    attempt: int
    status: int | None
    error: str | None
    duration_ms: int
    next_attempt_at: InstantOut | None


class DeliveredEvent(MessageHappened):
    """A message is done."""

    attempt: int
    status: int
    duration_ms: int


class DeadEvent(MessageHappened):
    """A message or a call was given up and is a dead letter."""

    reason: LetterReason
    attempts: int
    kind: LetterKind = LetterKind.MESSAGE
    function: str | None = Field(None, description="Of a call.")


class CallEvent(Happened):
    """Something happened to a call, as its timeline tells it."""

    function: str
    parent_id: MessageId | None
    root_id: MessageId
    attempt: int | None
    duration_ms: int | None
    status: str | None
    error: str | None
    next_at: InstantOut | None
    count: int | None


EVENTS: Final[Mapping[str, type[Happened]]] = {
    "accepted": AcceptedEvent,
    "attempted": AttemptedEvent,
    "delivered": DeliveredEvent,
    "dead": DeadEvent,
    **{f"call.{step.value}": CallEvent for step in Step},
}
"""The data of server-sent events, by the name of the event."""


def event_data(event: Event) -> Happened:
    """The data of an event."""
    data = {"time": event.time_us, "id": event.id, "destination": event.destination}
    return EVENTS[event.kind].model_validate({**data, **event.fields})
