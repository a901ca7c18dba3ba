"""What the API takes and gives about dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, model_validator

from dispatcher.api import cursor
from dispatcher.api.fields import (
    CursorIn,
    DestinationIn,
    Everything,
    FunctionName,
    Incomplete,
    InstantIn,
    InstantOut,
    LabelIn,
    LastError,
    ManyIds,
    MessageId,
    MethodIn,
    OrderKeyIn,
    PaceIn,
    PageSize,
    PlaceIn,
    Status,
    TargetIn,
    Text,
    YesOrNo,
)
from dispatcher.api.masking import Revealing
from dispatcher.api.models import DEFAULT_PAGE, Input, Output, attributes
from dispatcher.api.selectors import MAX_IDS, check_one_selector, say_one_selector
from dispatcher.core.calls import CallReason
from dispatcher.core.verdict import DeadReason
from dispatcher.queue.admin.surface import (
    LetterDetail,
    LetterFilter,
    LetterKind,
    Moved,
)

MAX_HEADERS: Final = 4096


class LetterReason(Enum):
    """Why a message, or a call, was given up."""

    RETRIES_EXHAUSTED = DeadReason.RETRIES_EXHAUSTED.value
    REJECTED = DeadReason.REJECTED.value
    EGRESS_DENIED = DeadReason.EGRESS_DENIED.value
    EXPIRED = DeadReason.EXPIRED.value
    OPERATOR = DeadReason.OPERATOR.value
    FAILED = CallReason.FAILED.value


def _reason(value: str) -> str:
    if value not in _REASONS:
        raise ValueError(f"expected one of {', '.join(_REASONS)}")
    return value


_REASONS: Final = tuple(one.value for one in LetterReason)
ReasonIn = Annotated[
    str, AfterValidator(_reason), WithJsonSchema({"type": "string", "enum": list(_REASONS)})
]


class GroupQuery(Input):
    """Which dead letters: those that match everything that is said."""

    kind: Literal["message", "call"] | None = Field(
        None, description="Messages or calls; both without it."
    )
    destination: PlaceIn | None = None
    function: FunctionName | None = Field(None, description="Calls of this function.")
    label: LabelIn | None = Field(None, description="Messages with this label.")
    reason: ReasonIn | None = Field(None, description="Why it was given up.")
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
            label=self.label,
            reason=self.reason,
        )


class Filter(GroupQuery):
    """Which dead letters: those that match everything that is said."""

    order_key: OrderKeyIn | None = Field(None, description="Messages with this order key.")
    method: MethodIn | None = None
    target: TargetIn | None = Field(None, description="What the request target begins with.")

    def filter(self) -> LetterFilter:
        """As the queue understands it."""
        return replace(
            super().filter(), order_key=self.order_key, method=self.method, target=self.target
        )


class LetterQuery(Filter):
    """A page of dead letters."""

    limit: PageSize = Field(DEFAULT_PAGE, description="How many at most.")
    cursor: CursorIn | None = None


_NARROWING: Final = tuple(name for name in Filter.model_fields if name != "destination")


class Selection(Filter):
    """Dead letters to do something with: exactly one of `ids`, `destination` and `all`, the last
    two narrowed by what else is said."""

    model_config = ConfigDict(json_schema_extra=say_one_selector(_NARROWING))

    ids: ManyIds | None = Field(None, max_length=MAX_IDS)
    all: Everything | None = None
    dry_run: bool = Field(False, description="Count, and change nothing.")

    @model_validator(mode="after")
    def _check_selectors(self) -> Self:
        check_one_selector(self.model_fields_set, _NARROWING)
        return self


class RedriveEdit(Input):
    """What is changed of a dead letter as it is redriven. What is left out stays as it is."""

    destination: DestinationIn | None = Field(None, description="Where it is sent instead.")
    headers: list[Annotated[list[str], Field(min_length=2, max_length=2)]] | None = Field(
        None,
        max_length=MAX_HEADERS,
        description="All of its headers, name and value, bytes as Latin-1. A value that is masked "
        "as it was shown is kept; `Host` and `Content-Length` are made right.",
    )
    body: str | None = Field(
        None,
        description="Base64; at most MAX_BODY bytes.",
        json_schema_extra={"contentEncoding": "base64"},
    )


class RedriveRequest(Selection):
    """Dead letters to make ready again."""

    rate: PaceIn | None = Field(
        None, description="How many at most: so many a second, or a text such as `10/1m`."
    )


class PurgeRequest(Selection):
    """Dead letters to remove for good."""


class LetterShown(Revealing):
    """How much of a dead letter is shown."""

    body: YesOrNo = Field(
        "true", description="With its body; else `body` is null, and `/body` has it as it is."
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
    label: str | None
    options: dict[str, str] = Field(description="As of a message.")


class Letters(Output):
    """A page of dead letters, oldest first."""

    items: list[Letter]
    next: str | None = Field(
        description="The `cursor` of the next page. With `order_key`, `method` or `target` there "
        "may be one although fewer came than were asked for, or none: a page ends when enough was "
        "looked at."
    )
    incomplete: Incomplete = Field(default_factory=list)

    @classmethod
    def of(cls, next_cursor: int | None, incomplete: Sequence[int] = ()) -> Self:
        """A page without items: those are many, and written by themselves."""
        following = None if next_cursor is None else cursor.encode(next_cursor)
        return cls(items=[], next=following, incomplete=[*incomplete])


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
        description="Name and value, bytes as Latin-1, secrets masked (`Bearer ***`). None of a "
        "call."
    )
    body: str | None = Field(
        description="Base64; null with `body=false`. Of a call its input, a serialized "
        "google.protobuf.Any.",
        json_schema_extra={"contentEncoding": "base64"},
    )
    call: DeadCall | None = Field(description="Null of a message.")
    detail: str = Field(
        description="What went wrong last, in words; empty where `last_error` says all."
    )
    redrives: int = Field(description="How often it was redriven before.")
    history: list[Attempt]

    @classmethod
    def of(cls, detail: LetterDetail, headers: list[tuple[str, str]]) -> Self:
        """From what the queue says, with the headers as they are shown and without the body: it is
        large, and written by itself."""
        return cls.model_validate(
            {
                **attributes(detail.letter),
                "headers": headers,
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
    incomplete: Incomplete = Field(default_factory=list)


class Redriven(Output):
    """How many dead letters are ready again, and which ids were none."""

    redriven: int
    not_found: ManyIds
    failed: ManyIds = Field(
        default_factory=list,
        exclude_if=lambda failed: not failed,
        description="Dead letters that cannot be read from the disk, and stay: 10 000 at most. "
        "Left out where there are none.",
    )
    unserved: ManyIds = Field(
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
    not_found: ManyIds

    @classmethod
    def of(cls, moved: Moved) -> Self:
        """From what the queue says."""
        return cls(purged=moved.count, not_found=list(moved.not_found))
