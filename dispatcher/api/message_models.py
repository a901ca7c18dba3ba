"""What the API gives about messages and their destinations."""

from __future__ import annotations

from pydantic import Field

from dispatcher.api.fields import (
    InstantOut,
    MessageId,
)
from dispatcher.api.models import Output
from dispatcher.queue.admin.surface import (
    MessageState,
    Reason,
)


class Message(Output):
    """One message."""

    id: MessageId
    state: MessageState
    destination: str
    method: str
    target: str
    accepted_at: InstantOut = Field(validation_alias="accepted_at_us")
    attempts: int = Field(description="How many were started.")
    next_attempt_at: InstantOut | None = Field(validation_alias="next_attempt_at_us")
    last_error: str | None = Field(description="The slug of an attempt's failure, or `http_503`.")


class MessageExplanation(Output):
    """The one reason why a message is not delivered yet."""

    id: MessageId
    state: MessageState
    reason: Reason
    message: str = Field(description="A sentence for people.")
    until: InstantOut | None = Field(validation_alias="until_us")
    expected_at: InstantOut | None = Field(
        validation_alias="expected_at_us",
        description="When the next attempt is expected at the earliest.",
    )


class DestinationState(Output):
    """Whether an operator holds a destination."""

    destination: str
    held: bool
    paused: bool = Field(description="The older name of `held`.")
