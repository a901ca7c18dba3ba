"""What the API takes and gives about function calls."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema

from dispatcher.api import cursor
from dispatcher.api.call_values import shown
from dispatcher.api.errors import ApiError
from dispatcher.api.fields import CallId, CursorIn, InstantOut, MessageId, PageSize, YesOrNo
from dispatcher.api.models import DEFAULT_PAGE, Input, Output
from dispatcher.core import units
from dispatcher.functions.checking import is_session
from dispatcher.functions.limits import MOST_NAME_CHARS
from dispatcher.functions.shown import (
    CallFilter,
    CallState,
    CallView,
    Step,
    Timeline,
    TreeView,
    WaitingReason,
)
from dispatcher.functions.surface import ResultView
from dispatcher.protocol.messages import CallResult

LONGEST_WAIT_MS: Final = 60_000


def _wait_ms(value: object) -> int:
    wait_ms = units.duration_ms(value) if isinstance(value, str) else None
    if wait_ms is None or wait_ms > LONGEST_WAIT_MS:
        raise ValueError("it is no duration of at most a minute, such as 30s or 500ms")
    return wait_ms


Wait = Annotated[
    int,
    BeforeValidator(_wait_ms),
    WithJsonSchema({"type": "string", "pattern": "^([0-9]{1,4}ms|[0-5]?[0-9]s|1m)$"}),
]
"""How long to wait, in milliseconds from then on."""


def _checked_name(value: str) -> str:
    if not 0 < len(value) <= MOST_NAME_CHARS or not value.isprintable():
        raise ApiError(
            400,
            "name_invalid",
            f"A name has 1 to {MOST_NAME_CHARS} characters, percent-encoded, and no control ones.",
        )
    return value


Name = Annotated[
    str,
    AfterValidator(_checked_name),
    WithJsonSchema({"type": "string", "pattern": r"^[A-Za-z0-9._:-]{1,255}$"}),
]
"""Of a promise or a channel, as its endpoint has it behind the colon, else `name_invalid`."""


def _checked_session(value: str) -> str:
    if not is_session(value):
        raise ApiError(
            400,
            "name_invalid",
            f"A session has 1 to {MOST_NAME_CHARS} letters, digits, '.', '_', '~' and '-'.",
        )
    return value


class BySession(Input):
    """The path of a session."""

    session: Annotated[
        str,
        AfterValidator(_checked_session),
        WithJsonSchema({"type": "string", "pattern": r"^[A-Za-z0-9._~-]{1,255}$"}),
    ] = Field(description="As its endpoint has it behind `bridge://`.")


class ByCallId(Input):
    """The path of one call."""

    id: CallId


class CallQuery(Input):
    """A page of calls: those that match everything that is said."""

    state: CallState | None = None
    function: str | None = None
    endpoint: str | None = None
    roots: YesOrNo = Field("false", description="Leave out what other calls have called.")
    limit: PageSize = Field(DEFAULT_PAGE, description="How many at most.")
    cursor: CursorIn | None = None

    def filter(self) -> CallFilter:
        """As the service understands it."""
        return CallFilter(self.state, self.function, self.endpoint, self.roots == "true")


class ShowQuery(Input):
    """What is shown with a call."""

    tree: YesOrNo = Field("true", description="The calls under it too; else `tree` is null.")


class ResultQuery(Input):
    """How long to wait for a result."""

    wait: Wait = Field(0, description="A minute at most.")


class CancelQuery(Input):
    """How to end a call."""

    mode: Literal["cancel", "kill"] = Field(
        "cancel",
        description="`cancel`: it may clean up; `kill`: nothing of it runs any more.",
    )


class ByName(Input):
    """The path of a promise or a channel."""

    name: Name


class OutsideQuery(Input):
    """Whose promise or channel, and whether it is an error."""

    application: Annotated[str, StringConstraints(max_length=64)] | None = Field(
        None, description="The name of the API key whose promise or channel it is, for operators."
    )
    error: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = Field(
        None, description="The type of an error, of which the body is the message."
    )


class Call(Output):
    """One call of a function."""

    id: MessageId
    state: CallState
    function: str
    endpoint: str
    version: str
    application: str = Field(description="The name of the API key it was dispatched with.")
    parent_id: MessageId | None
    root_id: MessageId
    depth: int
    created_at: InstantOut = Field(validation_alias="created_at_us")
    expires_at: InstantOut = Field(validation_alias="expires_at_us")
    next_run_at: InstantOut | None = Field(validation_alias="next_run_at_us")
    ended_at: InstantOut | None = Field(validation_alias="ended_at_us")
    attempts: int = Field(description="Runs that failed since its last step.")
    steps: int = Field(description="How often it was suspended, or replaced by a tail call.")
    restarts: int = Field(description="How often in a row it began anew and got no further.")
    waits_for: int = Field(description="Calls whose results it has not got.")
    results: int = Field(description="Results that are there and were not delivered to it yet.")
    last_error: str | None = Field(description="A slug, a status such as `throttled`, `http_503`.")


class Calls(Output):
    """A page of calls, the newest first."""

    items: list[Call]
    next: str | None = Field(description="The `cursor` of the next page.")

    @classmethod
    def of(cls, next_cursor: int | None) -> Self:
        """A page without items: those are written by themselves."""
        return cls(items=[], next=None if next_cursor is None else cursor.encode(next_cursor))


class CallTree(Output):
    """A call and those under it, parents before their children: a thousand at most."""

    nodes: list[Call]
    total: int = Field(description="How many there are now.")
    by_state: dict[CallState, int]

    @classmethod
    def of(cls, tree: TreeView) -> Self:
        """A tree without nodes: those are written by themselves."""
        return cls(nodes=[], total=tree.total, by_state=tree.by_state)


class CallWithTree(Call):
    """One call, and those under it."""

    tree: CallTree | None = Field(description="Null where it was not asked for.")

    @classmethod
    def of(cls, call: CallView, tree: TreeView | None) -> Self:
        """A call with a tree without nodes: those are written by themselves."""
        under = None if tree is None else CallTree.of(tree)
        return cls.model_validate({**asdict(call), "tree": under})


class CallExplanation(Output):
    """The one reason why a call has not ended yet."""

    id: MessageId
    state: CallState
    reason: WaitingReason
    message: str = Field(description="A sentence for people.")
    until: InstantOut | None = Field(validation_alias="until_us")
    expected_at: InstantOut | None = Field(
        validation_alias="expected_at_us",
        description="When the next run is expected at the earliest.",
    )


class TimelineEntry(Output):
    """One thing that happened to a call."""

    step: Step
    at: InstantOut = Field(validation_alias="at_us")
    attempt: int | None
    duration_ms: int | None
    status: str | None
    error: str | None
    next_at: InstantOut | None = Field(validation_alias="next_at_us")
    count: int | None = Field(description="Results that are waited for, or were delivered.")


class CallTimeline(Output):
    """What happened to a call since the start of the server."""

    entries: list[TimelineEntry]
    dropped: int = Field(description="Entries in the middle that were not kept.")

    @classmethod
    def of(cls, timeline: Timeline) -> Self:
        """A timeline without entries: those are written by themselves."""
        return cls(entries=[], dropped=timeline.dropped)


class CallError(Output):
    """Why a call failed."""

    type: str
    message: str


class Result(Output):
    """What a call came to."""

    id: MessageId
    state: CallState
    ended_at: InstantOut
    output: Any = Field(description="As JSON; null where its type is not known here.")
    output_type: str | None = Field(description="The name of the message that the output is.")
    output_bytes: str | None = Field(
        description="Base64, where the output can't be shown as JSON.",
        json_schema_extra={"contentEncoding": "base64"},
    )
    error: CallError | None

    @classmethod
    def of(cls, view: ResultView) -> Self:
        """From what the service says."""
        result = CallResult.FromString(view.result)
        name, output, data = shown(result.output) if result.HasField("output") else (None,) * 3
        error = None
        if result.HasField("error"):
            error = CallError(type=result.error.type, message=result.error.message)
        return cls(
            id=view.id,
            state=view.state,
            ended_at=view.ended_at_us,
            output=output,
            output_type=name,
            output_bytes=data,
            error=error,
        )


class Pending(Output):
    """There is no result yet."""

    id: MessageId


def unknown(call_id: str) -> ApiError:
    """There is no such call, or none that may be seen."""
    return ApiError(
        404,
        "call_unknown",
        f"No call {call_id} is known: it never was, is another application's, or ended long ago.",
    )
