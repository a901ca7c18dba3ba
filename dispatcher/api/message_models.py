"""What the API gives about messages and their destinations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from dispatcher.api import cursor
from dispatcher.api.fields import (
    CursorIn,
    DestinationIn,
    Everything,
    Incomplete,
    InstantOut,
    LabelIn,
    ManyIds,
    MessageId,
    MethodIn,
    OrderKeyIn,
    PaceIn,
    PageSize,
    SpanIn,
    TargetIn,
)
from dispatcher.api.models import DEFAULT_PAGE, Input, Output, attributes
from dispatcher.api.selectors import MAX_IDS, as_told, check_one_selector, say_one_selector
from dispatcher.core.units import duration_text
from dispatcher.queue.admin.surface import (
    MessageFilter,
    MessageState,
    MessageView,
    Reason,
    Touched,
    TriedNow,
)


class WaitingFilter(Input):
    """Which waiting messages: those that match everything that is said."""

    destination: DestinationIn | None = None
    state: Literal["ready", "scheduled", "in_flight", "held"] | None = Field(
        None,
        description="`held`: those that are `ready` or `scheduled`, of destinations that an "
        "operator holds.",
    )
    label: LabelIn | None = None
    order_key: OrderKeyIn | None = None
    method: MethodIn | None = None
    target: TargetIn | None = Field(None, description="What the request target begins with.")
    older_than: SpanIn | None = Field(
        None, description="Accepted so long ago at least: `5m`, `1h30m`; a number is milliseconds."
    )

    def filter(self) -> MessageFilter:
        """As the queue understands it."""
        return MessageFilter(
            destination=self.destination,
            state=None if self.state in (None, "held") else MessageState(self.state),
            held=self.state == "held",
            label=self.label,
            order_key=self.order_key,
            method=self.method,
            target=self.target,
            older_than_us=self.older_than,
        )


_NARROWING: Final = ("state", "label", "order_key", "method", "target", "older_than")


class WaitingSelection(WaitingFilter):
    """Waiting messages to do something with: exactly one of `ids`, `destination` and `all`, the
    last two narrowed by what else is said."""

    model_config = ConfigDict(json_schema_extra=say_one_selector(_NARROWING))

    ids: ManyIds | None = Field(None, max_length=MAX_IDS)
    all: Everything | None = None
    rate: PaceIn | None = Field(
        None, description="How many at most: so many a second, or a text such as `10/1m`."
    )
    dry_run: bool = Field(False, description="Count, and change nothing.")

    @model_validator(mode="after")
    def _check_selectors(self) -> Self:
        check_one_selector(self.model_fields_set, _NARROWING)
        return self

    def told(self) -> Mapping[str, object]:
        """As the audit tells it."""
        told = as_told(self.ids, self)
        if self.older_than is not None:
            told["older_than"] = duration_text(self.older_than // 1000)
        return told


class CancelRequest(WaitingSelection):
    """Waiting messages to cancel."""


class RetryRequest(WaitingSelection):
    """Waiting messages that are to be due now."""


class DeadLetterRequest(WaitingSelection):
    """Waiting messages to move to the dead letters."""


class RedirectManyRequest(WaitingSelection):
    """Waiting messages to send to another destination."""

    to: DestinationIn = Field(description="Where they are sent instead.")


class DeadLettered(Output):
    """How many messages are dead letters now, how many are left as an attempt of them is under way,
    and which ids are of none that waits."""

    dead_lettered: int
    in_flight: int
    not_found: ManyIds

    @classmethod
    def of(cls, touched: Touched) -> Self:
        """From what the queue says."""
        return cls(dead_lettered=touched.ready + touched.scheduled, **_left(touched))


class Redirected(Output):
    """How many messages go to the other destination now, how many are left as an attempt of them is
    under way, and which ids are of none that waits."""

    redirected: int
    in_flight: int
    not_found: ManyIds

    @classmethod
    def of(cls, touched: Touched) -> Self:
        """From what the queue says."""
        return cls(redirected=touched.ready + touched.scheduled, **_left(touched))


class Cancelled(Output):
    """How many messages are cancelled, how many are left as an attempt of them is under way, and
    which ids are of none that waits."""

    cancelled: int
    in_flight: int
    not_found: ManyIds

    @classmethod
    def of(cls, touched: Touched) -> Self:
        """From what the queue says."""
        return cls(cancelled=touched.ready + touched.scheduled, **_left(touched))


class Retried(Output):
    """How many messages waited for a time and are due now, how many were due anyway, how many are
    in flight, and which ids are of none that waits."""

    retried: int
    due: int = Field(
        description="Were due before: what they wait for is their turn, or their destination."
    )
    in_flight: int
    not_found: ManyIds

    @classmethod
    def of(cls, touched: Touched) -> Self:
        """From what the queue says."""
        return cls(retried=touched.scheduled, due=touched.ready, **_left(touched))


def _left(touched: Touched) -> dict[str, Any]:
    """The fields of those that nothing was done to."""
    return {"in_flight": touched.in_flight, "not_found": list(touched.not_found)}


class WaitingQuery(WaitingFilter):
    """A page of waiting messages."""

    limit: PageSize = Field(DEFAULT_PAGE, description="How many at most.")
    cursor: CursorIn | None = None


class RedirectRequest(Input):
    """Where a message is sent instead."""

    to: DestinationIn


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
    label: str | None = Field(description="That of `X-Dispatcher-Label`.")
    options: dict[str, str] = Field(
        description="What is kept of its options, by the names of their headers (`retry_delay`), "
        "with instants where a header had a span. `timeout` is not kept once it is delivered."
    )
    size_bytes: int | None = Field(description="Bytes of its body; not kept once it is delivered.")
    reason: Reason | None = Field(
        description="Of one that is `ready` or `scheduled`: why it waits, as `explain` says."
    )
    until: InstantOut | None = Field(
        validation_alias="until_us",
        description="Until when it waits for that, where that is known.",
    )
    destination_error: str | None = Field(
        description="Of one that is `ready` or `scheduled`, while its destination fails: what the "
        "last attempt there came to, of whatever message."
    )


class FullMessage(Message):
    """One message with its request."""

    headers: list[tuple[str, str]] | None = Field(
        description="Name and value, bytes as Latin-1, secrets masked (`Bearer ***`); not kept "
        "once it is delivered."
    )

    @classmethod
    def of(cls, message: MessageView, headers: list[tuple[str, str]] | None) -> Self:
        """From what the queue says, and the headers as they are shown."""
        return cls.model_validate({**attributes(message), "headers": headers})


class Messages(Output):
    """A page of waiting messages, in the order of the log: the oldest first, but for those that
    were copied forward in it since."""

    items: list[Message]
    next: str | None = Field(
        description="The `cursor` of the next page. There may be one although fewer came than were "
        "asked for, or none: where few of very many match, a page ends when enough was looked at."
    )

    incomplete: Incomplete = Field(default_factory=list)

    @classmethod
    def of(cls, next_cursor: int | None, incomplete: Sequence[int] = ()) -> Self:
        """A page without items: those are many, and written by themselves."""
        following = None if next_cursor is None else cursor.encode(next_cursor)
        return cls(items=[], next=following, incomplete=[*incomplete])


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


class DestinationRetried(Output):
    """What came of trying a destination at once."""

    destination: str
    retried: int = Field(description="Messages that waited for a time, and are due now.")
    waiting: int = Field(description="Messages that waited for it, those `retried` among them.")
    probed: bool = Field(
        description="Its breaker was open, and messages wait that nobody holds: the next one is a "
        "real probe, sent at once, and the others follow when that goes well."
    )
    held: bool = Field(description="An operator holds it: nothing is sent until it is resumed.")
    message: str = Field(description="A sentence for people.")

    @classmethod
    def of(cls, tried: TriedNow) -> Self:
        """From what the queue says."""
        return cls(
            destination=tried.destination,
            retried=tried.retried,
            waiting=tried.waiting,
            probed=tried.was_open and tried.waiting > 0 and not tried.held,
            held=tried.held,
            message=_said(tried),
        )


def _said(tried: TriedNow) -> str:
    if tried.held:
        return (
            "An operator holds it, and trying it does not end that: nothing is sent there until it "
            "is resumed."
        )
    if not tried.waiting:
        return "No message waits for it, but for what is in flight."
    if tried.was_open:
        return "Its breaker is open: one message is sent as a probe, the others when that succeeds."
    return "What waits for it is sent as soon as its limit, its rate and the workers allow."


class DestinationState(Output):
    """Whether an operator holds a destination."""

    destination: str
    held: bool
    paused: bool = Field(description="The older name of `held`.")
