"""What the API takes and gives about schedules."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from google.protobuf.message import DecodeError
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    RootModel,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from dispatcher.api.call_values import any_of, shown
from dispatcher.api.errors import ApiError
from dispatcher.api.fields import InstantOut, MessageId, OriginIn
from dispatcher.api.masking import Revealing
from dispatcher.api.models import Input, Output
from dispatcher.core.instants import rfc3339
from dispatcher.core.options import PREFIX
from dispatcher.functions.shown import CallState
from dispatcher.protocol.messages import Any as AnyMessage
from dispatcher.schedules.messages import MessageOutcome
from dispatcher.schedules.plans import (
    MOST_EARLIER,
    CatchUp,
    Overlap,
    Plan,
    Planned,
    PlannedCall,
    PlannedMessage,
)
from dispatcher.schedules.surface import FiringView, ScheduleView

_CALL_WORDS: Final = frozenset(state.value for state in CallState)
_NAME: Final = r"^[A-Za-z0-9._-]{1,100}$"


def _checked_name(value: str) -> str:
    if not 0 < len(value) <= 100 or not all(
        letter.isascii() and (letter.isalnum() or letter in "._-") for letter in value
    ):
        raise ApiError(
            400,
            "name_invalid",
            "The name of a schedule has 1 to 100 letters, digits, dots, dashes and underscores.",
        )
    return value


ScheduleName = Annotated[
    str, AfterValidator(_checked_name), WithJsonSchema({"type": "string", "pattern": _NAME})
]
"""Else `name_invalid`."""


class ByScheduleName(Input):
    """The path of a schedule."""

    name: ScheduleName


class ScheduleQuery(Input):
    """Whose schedule."""

    application: Annotated[str, StringConstraints(max_length=64)] | None = Field(
        None, description="The name of the API key whose it is, for operators."
    )


class ScheduleShown(ScheduleQuery, Revealing):
    """Whose schedule, and how it is shown."""


class CallIn(Input):
    """The call that a schedule makes."""

    endpoint: str = Field(description="Where the application listens.")
    function: str
    input: Any = Field(None, description="A JSON value; without it the call has no input.")
    input_any: str | None = Field(
        None,
        description="In place of `input`: a serialized google.protobuf.Any.",
        json_schema_extra={"contentEncoding": "base64"},
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_null(cls, value: Any) -> Any:
        """A null is an input like any other."""
        return value

    def serialized(self) -> bytes:
        """The input as a serialized Any.

        Raises:
            ApiError: 400, it is none.
        """
        has_input = "input" in self.model_fields_set
        if self.input_any is not None:
            if has_input:
                raise _invalid("call.input and call.input_any: give one of them")
            return _checked_any(self.input_any)
        if not has_input:
            return b""
        try:
            return any_of(self.input).SerializeToString()
        except ValueError as error:
            raise _invalid(f"call.input: {error}") from error


def _checked_any(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
        AnyMessage.FromString(data)
    except (ValueError, DecodeError):
        raise _invalid("call.input_any is no google.protobuf.Any in Base64") from None
    return data


def _invalid(text: str) -> ApiError:
    return ApiError(400, "schedule_invalid", f"{text}.")


Pairs: TypeAlias = tuple[tuple[str, str], ...]
Shown: TypeAlias = Callable[[Pairs], Pairs]
"""Headers as they are shown."""


def _pairs(headers: object) -> Pairs:
    """Headers as they were given, as pairs."""
    found = headers
    if isinstance(headers, dict):
        values = {
            name: value if isinstance(value, list) else [value] for name, value in headers.items()
        }
        found = [[name, one] for name, several in values.items() for one in several]
    if isinstance(found, list) and all(
        isinstance(pair, list) and list(map(type, pair)) == [str, str] for pair in found
    ):
        return tuple((name, value) for name, value in found)
    raise ValueError("it is an object of names and values, or a list of pairs: [name, value]")


def _option_value(value: object) -> object:
    return str(value) if type(value) is int else value


_STRING: Final = {"type": "string"}
_STRINGS: Final = {"type": "array", "items": _STRING}
HeadersIn: TypeAlias = Annotated[
    Pairs,
    BeforeValidator(_pairs),
    WithJsonSchema(
        {
            "description": "Names and values, or pairs of them; a character for each byte.",
            "anyOf": [
                {"type": "object", "additionalProperties": {"anyOf": [_STRING, _STRINGS]}},
                {"type": "array", "items": {**_STRINGS, "minItems": 2, "maxItems": 2}},
            ],
        }
    ),
]
OptionValue: TypeAlias = Annotated[
    str, BeforeValidator(_option_value), WithJsonSchema({"type": ["string", "integer"]})
]


class ScheduleIn(Input):
    """A schedule as it is to be: of a function call (`call`), or of a message (`destination`, and
    what follows it here)."""

    cron: str = Field(
        description="Minute, hour, day of the month, month, day of the week.",
        examples=["30 2 * * MON-FRI"],
    )
    timezone: str = Field("UTC", examples=["Europe/Berlin"])
    call: CallIn | None = None
    destination: OriginIn | None = Field(None, description="Where the message goes.")
    method: str = "POST"
    target: str = Field("/", description="Path and query.")
    headers: HeadersIn = ()
    body: str = Field("", json_schema_extra={"contentEncoding": "base64"})
    options: dict[str, OptionValue] = Field(
        {},
        description="By the names of the headers without `X-Dispatcher-`: `retry_delay`.",
        examples=[{"delay": "30s", "retries": 5}],
    )
    overlap: Literal["queue", "skip"] = Field(
        "queue",
        description="While what was made before has not ended, a firing waits or is left out.",
    )
    catch_up: Literal["none", "last", "all"] = Field(
        "last", description="Which firings are made up for that came while the server was down."
    )
    paused: bool = False

    def plan(self) -> Plan:
        """As the service understands it.

        Raises:
            ApiError: 400, its input or body is none, or it is not one of call and message.
        """
        return Plan(
            self.cron,
            self.timezone,
            self._planned(),
            Overlap(self.overlap),
            CatchUp(self.catch_up),
            self.paused,
        )

    def _planned(self) -> Planned:
        if (self.call is None) is (self.destination is None):
            raise _invalid(
                "give `call`, the function call that is made, or `destination`, where a message "
                "goes: one of them"
            )
        if self.call is not None:
            for name in ("method", "target", "headers", "body", "options"):
                if name in self.model_fields_set:
                    raise _invalid(f"{name} is for messages: with `call` leave it out")
            return PlannedCall(self.call.endpoint, self.call.function, self.call.serialized())
        assert self.destination is not None
        return PlannedMessage(
            self.destination,
            self.method,
            self.target,
            self.headers,
            _checked_body(self.body),
            tuple((_option_key(key), value) for key, value in self.options.items()),
        )


def _option_key(name: str) -> str:
    """The name of an option, also where it is spelled as its header is."""
    return name.lower().removeprefix(PREFIX.lower()).replace("-", "_")


def _checked_body(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise _invalid("body is no Base64: encode it") from None


class Firing(Output):
    """What a schedule has made: a call, or a message."""

    key: str = Field(description="The schedule's name, `@`, and the time of the firing.")
    at: InstantOut
    id: MessageId = Field(description="Of the call, or of the message.")
    state: CallState | MessageOutcome | None = Field(
        description="Null where nothing is known of it any more."
    )

    @classmethod
    def of(cls, name: str, view: FiringView) -> Self:
        """From what the service says."""
        key = f"{name}@{rfc3339(view.at_us)}"
        return cls(key=key, at=view.at_us, id=view.id, state=_state(view.state))


def _state(word: str | None) -> CallState | MessageOutcome | None:
    if word is None or word in _CALL_WORDS:
        return None if word is None else CallState(word)
    return MessageOutcome(word)


class CallShown(Output):
    """The call that a schedule makes, without its input."""

    endpoint: str
    function: str


class FullCall(CallShown):
    """The call that a schedule makes."""

    input: Any = Field(description="As JSON; null where it can't be shown so, or is none.")
    input_any: str | None = Field(
        description="Base64 of the google.protobuf.Any, where `input` is not all of it.",
        json_schema_extra={"contentEncoding": "base64"},
    )


class _Shown(Output):
    name: str
    application: str = Field(description="The name of the API key whose it is.")
    cron: str
    timezone: str
    overlap: Overlap
    catch_up: CatchUp
    paused: bool
    next_at: InstantOut | None = Field(description="Null while it is paused.")
    is_waiting: bool = Field(
        description="The next firing waits for the end of what was made before."
    )
    last: Firing | None = Field(description="The last firing.")
    earlier: list[Firing] = Field(
        description=f"The firings before the last, the newest first, {MOST_EARLIER} at most."
    )
    last_run: Firing | None = Field(description="The last one that was asked for by hand.")
    skipped: int = Field(
        description="Firings that were left out, as what was made before had not ended."
    )


class ListedCallSchedule(_Shown):
    """One schedule of calls, of a list."""

    call: CallShown


class CallSchedule(_Shown):
    """One schedule of calls."""

    call: FullCall


class ListedMessageSchedule(_Shown):
    """One schedule of messages, of a list: without the body."""

    destination: str
    method: str
    target: str
    headers: Pairs
    options: dict[str, str]


class MessageSchedule(ListedMessageSchedule):
    """One schedule of messages."""

    body: str = Field(json_schema_extra={"contentEncoding": "base64"})


class Schedule(RootModel[CallSchedule | MessageSchedule]):
    """One schedule."""

    @classmethod
    def of(cls, view: ScheduleView, headers: Shown) -> Self:
        """From what the service says, with its `headers` as they are shown."""
        fields, what = _fields(view), view.plan.what
        if isinstance(what, PlannedMessage):
            body = base64.b64encode(what.body).decode("ascii")
            return cls(MessageSchedule(body=body, **_message(what, headers), **fields))
        value, whole = _input(what.input)
        call = FullCall(
            endpoint=what.endpoint, function=what.function, input=value, input_any=whole
        )
        return cls(CallSchedule(call=call, **fields))


class Schedules(Output):
    """All schedules that may be seen."""

    items: list[ListedCallSchedule | ListedMessageSchedule]

    @classmethod
    def of(cls, views: Sequence[ScheduleView], headers: Shown) -> Self:
        """From what the service says, with their `headers` as they are shown."""
        return cls(items=[_listed(view, headers) for view in views])


def _listed(view: ScheduleView, headers: Shown) -> ListedCallSchedule | ListedMessageSchedule:
    fields, what = _fields(view), view.plan.what
    if isinstance(what, PlannedMessage):
        return ListedMessageSchedule(**_message(what, headers), **fields)
    call = CallShown(endpoint=what.endpoint, function=what.function)
    return ListedCallSchedule(call=call, **fields)


def _message(what: PlannedMessage, headers: Shown) -> dict[str, Any]:
    return {
        "destination": what.destination,
        "method": what.method,
        "target": what.target,
        "headers": headers(what.headers),
        "options": dict(what.options),
    }


def _fields(view: ScheduleView) -> dict[str, Any]:
    return {
        "name": view.name,
        "application": view.application,
        "cron": view.plan.cron,
        "timezone": view.plan.timezone,
        "overlap": view.plan.overlap,
        "catch_up": view.plan.catch_up,
        "paused": view.plan.paused,
        "next_at": view.next_at_us,
        "is_waiting": view.is_waiting,
        "last": None if view.last is None else Firing.of(view.name, view.last),
        "earlier": [Firing.of(view.name, one) for one in view.earlier],
        "last_run": None if view.last_run is None else Firing.of(view.name, view.last_run),
        "skipped": view.skipped,
    }


def _input(data: bytes) -> tuple[Any, str | None]:
    """An input as JSON, and as Base64 where the JSON would not make the same input again."""
    if not data:
        return None, None
    message = AnyMessage.FromString(data)
    _, value, unknown = shown(message)
    if unknown is None and any_of(value) == message:
        return value, None
    return value, base64.b64encode(data).decode("ascii")
