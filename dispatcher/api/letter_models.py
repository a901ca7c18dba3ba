"""What the API takes and gives about dead letters."""

from __future__ import annotations

from enum import Enum
from typing import Any, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from dispatcher.api import cursor
from dispatcher.api.fields import (
    CursorIn,
    Everything,
    FunctionName,
    InstantIn,
    InstantOut,
    LastError,
    ManyIds,
    MessageId,
    PageSize,
    PlaceIn,
    Status,
    Text,
)
from dispatcher.api.models import DEFAULT_PAGE, Input, Output, attributes
from dispatcher.core.calls import CallReason
from dispatcher.core.verdict import DeadReason
from dispatcher.queue.admin.surface import (
    LetterDetail,
    LetterFilter,
    LetterKind,
    Moved,
)

MAX_IDS: Final = 10_000
MAX_RATE: Final = 100_000


class LetterReason(Enum):
    """Why a message, or a call, was given up."""

    RETRIES_EXHAUSTED = DeadReason.RETRIES_EXHAUSTED.value
    REJECTED = DeadReason.REJECTED.value
    EGRESS_DENIED = DeadReason.EGRESS_DENIED.value
    EXPIRED = DeadReason.EXPIRED.value
    FAILED = CallReason.FAILED.value


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

    ids: ManyIds | None = Field(None, max_length=MAX_IDS)
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


class RedriveRequest(Selection):
    """Dead letters to make ready again."""

    rate: int | None = Field(None, ge=1, le=MAX_RATE, description="Messages a second at most.")


class PurgeRequest(Selection):
    """Dead letters to remove for good."""


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
                **attributes(detail.letter),
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
