"""What the API takes and gives, as models: the same ones check a request, make an answer and are
drawn in /openapi.json.

Models of answers read the values of `queue.admin` by attribute; a field whose name has a unit there
has none here, because its type says it (`accepted_at_us` is `accepted_at`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from dispatcher.api import cursor
from dispatcher.api.all_lanes import CALLS
from dispatcher.api.fields import (
    CursorIn,
    DestinationIn,
    Everything,
    FunctionName,
    InstantIn,
    InstantOut,
    LaneCursorIn,
    LastError,
    MessageId,
    PageSize,
    PlaceIn,
    Slug,
    Status,
    Text,
)
from dispatcher.core.breaker import State as BreakerState
from dispatcher.core.calls import CallReason
from dispatcher.core.verdict import DeadReason
from dispatcher.functions.surface import CallTotals, Step
from dispatcher.queue.admin.surface import (
    MOST_LANES,
    Event,
    LaneKind,
    LaneOrder,
    LanePage,
    LaneView,
    LetterDetail,
    LetterFilter,
    LetterKind,
    MessageState,
    Moved,
    Reason,
    Totals,
)

MAX_IDS: Final = 10_000
MAX_RATE: Final = 100_000
DEFAULT_PAGE: Final = 100


class LetterReason(Enum):
    """Why a message, or a call, was given up."""

    RETRIES_EXHAUSTED = DeadReason.RETRIES_EXHAUSTED.value
    REJECTED = DeadReason.REJECTED.value
    EGRESS_DENIED = DeadReason.EGRESS_DENIED.value
    EXPIRED = DeadReason.EXPIRED.value
    FAILED = CallReason.FAILED.value


class Input(BaseModel):
    """What callers send. Nothing unknown is ignored, and null is never another word for absent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_null(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            for name, field in value.items():
                if field is None and name in cls.model_fields:
                    raise ValueError(f"`{name}` is null; leave it out instead")
        return value


class Output(BaseModel):
    """What the API answers."""

    model_config = ConfigDict(extra="forbid", frozen=True, from_attributes=True)


class Nothing(Input):
    """No parameters, or no body."""


class ById(Input):
    """The path of one message or dead letter."""

    id: MessageId


class ByDestination(Input):
    """The path of one destination."""

    destination: DestinationIn


class Filter(Input):
    """Which dead letters: those that match everything that is said."""

    kind: Literal["message", "call"] | None = Field(
        None, description="Messages or calls; both without it."
    )
    destination: PlaceIn | None = None
    function: FunctionName | None = Field(None, description="Calls of this function.")
    status: Status | None = Field(None, description="The last status.")
    error: LastError | None = Field(
        None, description="What the last attempt came to; of a call, its status."
    )
    before: InstantIn | None = Field(None, description="Died before this instant.")
    after: InstantIn | None = Field(None, description="Died after this instant.")

    def filter(self) -> LetterFilter:
        """As the queue understands it."""
        return LetterFilter(
            destination=self.destination,
            status=self.status,
            error=self.error,
            before_us=self.before,
            after_us=self.after,
            kind=None if self.kind is None else LetterKind(self.kind),
            function=self.function,
        )


class LetterQuery(Filter):
    """A page of dead letters."""

    limit: PageSize = Field(DEFAULT_PAGE, description="How many at most.")
    cursor: CursorIn | None = None


class StatsQuery(Input):
    """Which lanes are shown with the totals."""

    lanes_order: Literal["name", "messages"] = Field(
        "name", description="By destination, or those with most messages first."
    )
    lanes_kind: Literal["message", "call"] | None = Field(
        None, description="Of messages or of calls; without it of both."
    )
    lanes_limit: PageSize = Field(MOST_LANES, description="How many at most.")
    lanes_cursor: LaneCursorIn | None = Field(
        None, description="The `lanes_next` of the page before; only by name."
    )

    @model_validator(mode="after")
    def _check_cursor(self) -> Self:
        if self.lanes_cursor is None:
            return self
        if self.order is not LaneOrder.NAME:
            raise ValueError("`lanes_cursor` is for lanes by name only")
        if self.kind is LaneKind.MESSAGE and self.lanes_cursor.startswith(CALLS):
            raise ValueError("`lanes_cursor` is of a page of calls")
        if self.kind is LaneKind.CALL and not self.lanes_cursor.startswith(CALLS):
            raise ValueError("`lanes_cursor` is of a page of messages")
        return self

    @property
    def order(self) -> LaneOrder:
        """As the queue understands it."""
        return LaneOrder(self.lanes_order)

    @property
    def kind(self) -> LaneKind | None:
        """As the queue understands it."""
        return None if self.lanes_kind is None else LaneKind(self.lanes_kind)


_SELECTORS: Final = ("ids", "destination", "all")
_NARROWING: Final = ("kind", "function", "status", "error", "before", "after")


def _say_one_selector(schema: JsonDict) -> None:
    """The rules of `Selection` in JSON Schema."""
    narrowed: list[Any] = [{"required": [name]} for name in _NARROWING]
    schema["oneOf"] = [
        {"required": ["ids"], "not": {"anyOf": narrowed}},
        {"required": ["destination"]},
        {"required": ["all"]},
    ]


class Selection(Filter):
    """Dead letters to do something with: exactly one of `ids`, `destination` and `all`, the last
    two narrowed by what else is said."""

    model_config = ConfigDict(json_schema_extra=_say_one_selector)

    ids: list[MessageId] | None = Field(None, max_length=MAX_IDS)
    all: Everything | None = None
    dry_run: bool = Field(False, description="Count, and change nothing.")

    @model_validator(mode="after")
    def _check_selectors(self) -> Self:
        given = [name for name in _SELECTORS if name in self.model_fields_set]
        if len(given) != 1:
            raise ValueError(
                f"exactly one of `ids`, `destination` and `all` is expected, not {len(given)}"
            )
        narrowing = [name for name in _NARROWING if name in self.model_fields_set]
        if self.ids is not None and narrowing:
            raise ValueError(f"`ids` can't be narrowed with `{narrowing[0]}`")
        return self

    def which(self) -> LetterFilter | Sequence[str]:
        """As the queue understands it; each id once, in the order of the caller."""
        return self.filter() if self.ids is None else list(dict.fromkeys(self.ids))


class RedriveRequest(Selection):
    """Dead letters to make ready again."""

    rate: int | None = Field(None, ge=1, le=MAX_RATE, description="Messages a second at most.")


class PurgeRequest(Selection):
    """Dead letters to remove for good."""


class Error(Output):
    """Why something was refused: a stable slug, and what to do."""

    error: Slug
    message: str


class ConnectFailure(Output):
    """Why a remote procedure call was refused, as Connect says it."""

    code: Slug
    message: str


class HealthStatus(Output):
    """How the process is."""

    status: Literal["alive", "ready"]


class Lane(Output):
    """One destination that has messages or is held, or one application with calls to run."""

    kind: LaneKind
    destination: str = Field(
        description="Of calls scheme and authority of their endpoint; of a session, whose it is "
        "too."
    )
    ready: int
    scheduled: int | None = Field(
        description="Null of calls, which wait for their times outside of their lane."
    )
    in_flight: int
    limit: int | None = Field(
        description="How many attempts it may have at once; null where runs are fetched."
    )
    paused_until: InstantOut | None = Field(
        validation_alias="paused_until_us",
        description="Until when it backs off: Retry-After, breaker, or what this machine lacks.",
    )
    held: bool = Field(description="An operator holds it.")
    paused: bool = Field(validation_alias="held", description="The older name of `held`.")
    breaker: BreakerState


class CallLane(Output):
    """The calls of one application."""

    endpoint: str = Field(description="Scheme and authority; of a session, whose it is too.")
    waiting: int = Field(description="Calls that wait for their turn.")
    in_flight: int
    limit: int | None = Field(description="How many runs at once; null where runs are fetched.")
    paused_until: InstantOut | None = Field(
        validation_alias="paused_until_us",
        description="Until when it backs off: Retry-After, breaker.",
    )
    held: bool = Field(description="An operator holds it.")
    breaker: BreakerState


class CallStats(Output):
    """Function calls: totals since the start of the process, and how they stand now."""

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
    ending: int = Field(description="They have ended; their results are being stored.")
    results: int = Field(description="Results that are kept.")
    results_bytes: int
    waiters: int = Field(description="Callers that wait for a result.")
    lanes: list[CallLane] = Field(description="The hundred with most calls.")
    lanes_total: int


class Stats(Output):
    """Totals since the start of the process, and how it stands now."""

    accepted_total: int
    delivered_total: int
    dead_total: int
    ready: int
    scheduled: int
    in_flight: int
    dead: int
    log_bytes: int
    log_live_bytes: int
    lanes: list[Lane] = Field(description="Of messages, then of calls.")
    lanes_total: int = Field(description="How many there are on all pages.")
    lanes_next: str | None = Field(description="The `lanes_cursor` of the next page.")
    calls: CallStats | None = Field(description="Null where there is no function service.")

    @classmethod
    def of(
        cls,
        totals: Totals,
        page: LanePage,
        lanes: Sequence[LaneView] = (),
        calls: CallTotals | None = None,
    ) -> Self:
        """From what the queue says; where lanes are many, they are written by themselves."""
        return cls.model_validate(
            {
                **_attributes(totals),
                "lanes": lanes,
                "lanes_total": page.total,
                "lanes_next": page.next_after,
                "calls": calls,
            }
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


class Letter(Output):
    """One dead letter as it is listed."""

    id: MessageId
    kind: LetterKind
    destination: str = Field(description="Of a call, its endpoint.")
    method: str = Field(description="Empty of a call, like `target`.")
    target: str
    function: str | None = Field(description="Of a call.")
    accepted_at: InstantOut = Field(validation_alias="accepted_at_us")
    dead_at: InstantOut = Field(validation_alias="dead_at_us")
    attempts: int
    last_status: int | None
    last_error: str | None = Field(
        description="As that of a message; of a call its status, `expired`, or the type of the "
        "error that the application made: `error:ValueError`."
    )
    reason: LetterReason
    size_bytes: int = Field(description="Bytes of the body; of a call, of its input.")


class Letters(Output):
    """A page of dead letters, oldest first."""

    items: list[Letter]
    next: str | None = Field(description="The `cursor` of the next page.")

    @classmethod
    def of(cls, next_cursor: int | None) -> Self:
        """A page without items: those are many, and written by themselves."""
        return cls(items=[], next=None if next_cursor is None else cursor.encode(next_cursor))


class Attempt(Output):
    """One attempt of a dead letter."""

    attempt: int
    started_at: InstantOut = Field(validation_alias="started_at_us")
    duration_ms: int
    status: int | None
    error: str | None
    response_start: Text | None = Field(description="Of the last attempt only.")


class DeadCall(Output):
    """What only a dead call has."""

    application: str = Field(description="Name of the key that it was dispatched with.")
    version: str
    correlation: int
    expiration_ms: int = Field(description="It gets as long again when it is redriven.")
    timeout_ms: int = Field(description="Of one run; 0: CALL_TIMEOUT.")
    error_type: str = Field(description="As the application named its last error.")


class FullLetter(Letter):
    """All of a dead letter."""

    headers: list[tuple[str, str]] = Field(
        description="Name and value, bytes as Latin-1. None of a call."
    )
    body: str = Field(
        description="Base64. Of a call its input, a serialized google.protobuf.Any.",
        json_schema_extra={"contentEncoding": "base64"},
    )
    call: DeadCall | None = Field(description="Null of a message.")
    detail: str = Field(description="What went wrong last, in words.")
    redrives: int = Field(description="How often it was redriven before.")
    history: list[Attempt]

    @classmethod
    def of(cls, detail: LetterDetail) -> Self:
        """From what the queue says, without the body: it is large, and written by itself."""
        return cls.model_validate(
            {
                **_attributes(detail.letter),
                "headers": [
                    tuple(one.decode("latin-1") for one in line) for line in detail.headers
                ],
                "body": "",
                "call": detail.call,
                "detail": detail.detail,
                "redrives": detail.redrives,
                "history": detail.history,
            }
        )


class Group(Output):
    """Dead letters with the same destination and cause; of calls, of the same function too."""

    kind: LetterKind
    destination: str
    function: str | None
    status: int | None
    error: str | None
    reason: LetterReason
    count: int
    size_bytes: int
    oldest: InstantOut = Field(validation_alias="oldest_us")
    newest: InstantOut = Field(validation_alias="newest_us")


class Groups(Output):
    """Groups of dead letters, the largest first: a thousand at most."""

    items: list[Group]
    total: int = Field(description="How many groups there are.")


class Redriven(Output):
    """How many dead letters are ready again, and which ids were none."""

    redriven: int
    not_found: list[MessageId]
    failed: list[MessageId] = Field(
        default_factory=list,
        exclude_if=lambda failed: not failed,
        description="Dead letters that cannot be read from the disk, and stay: 10 000 at most. "
        "Left out where there are none.",
    )
    unserved: list[MessageId] = Field(
        default_factory=list,
        exclude_if=lambda unserved: not unserved,
        description="Dead calls that stay, as this server has no function service: 10 000 at most. "
        "Left out where there are none.",
    )

    @classmethod
    def of(cls, moved: Moved) -> Self:
        """From what the queue says."""
        return cls(
            redriven=moved.count,
            not_found=list(moved.not_found),
            failed=list(moved.failed),
            unserved=list(moved.unserved),
        )


class Purged(Output):
    """How many dead letters are gone, and which ids were none."""

    purged: int
    not_found: list[MessageId]

    @classmethod
    def of(cls, moved: Moved) -> Self:
        """From what the queue says."""
        return cls(purged=moved.count, not_found=list(moved.not_found))


class DestinationState(Output):
    """Whether an operator holds a destination."""

    destination: str
    held: bool
    paused: bool = Field(description="The older name of `held`.")


class Happened(Output):
    """What the data of every event begins with."""

    time: InstantOut
    id: MessageId
    destination: str


class AcceptedEvent(Happened):
    """A message is durable and was answered 202."""

    method: Text
    target: Text
    size_bytes: int = Field(description="Bytes of the body.")


class AttemptedEvent(Happened):
    """An attempt ended."""

    attempt: int
    status: int | None
    error: str | None
    duration_ms: int
    next_attempt_at: InstantOut | None


class DeliveredEvent(Happened):
    """A message is done."""

    attempt: int
    status: int
    duration_ms: int


class DeadEvent(Happened):
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


def _attributes(value: Any) -> dict[str, Any]:
    """The fields of a slotted dataclass, not those of what is in them."""
    return {name: getattr(value, name) for name in value.__slots__}
