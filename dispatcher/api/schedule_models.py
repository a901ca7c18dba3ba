"""What the API takes and gives about schedules."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, Self

from google.protobuf.message import DecodeError
from pydantic import AfterValidator, Field, StringConstraints, WithJsonSchema, model_validator

from dispatcher.api.call_values import any_of, shown
from dispatcher.api.errors import ApiError
from dispatcher.api.fields import InstantOut, MessageId
from dispatcher.api.models import Input, Output
from dispatcher.core.instants import rfc3339
from dispatcher.functions.schedules.surface import (
    CatchUp,
    FiringView,
    Overlap,
    Plan,
    ScheduleView,
)
from dispatcher.functions.shown import CallState
from dispatcher.protocol.messages import Any as AnyMessage

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


class PlannedCall(Input):
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


class ScheduleIn(Input):
    """A schedule as it is to be."""

    cron: str = Field(
        description="Minute, hour, day of the month, month, day of the week.",
        examples=["30 2 * * MON-FRI"],
    )
    timezone: str = Field("UTC", examples=["Europe/Berlin"])
    call: PlannedCall
    overlap: Literal["queue", "skip"] = Field(
        "queue",
        description="While the call before has not ended, a firing waits or is left out.",
    )
    catch_up: Literal["none", "last", "all"] = Field(
        "last", description="Which firings are made up for that came while the server was down."
    )
    paused: bool = False

    def plan(self) -> Plan:
        """As the service understands it.

        Raises:
            ApiError: 400, its input is none.
        """
        return Plan(
            self.cron,
            self.timezone,
            self.call.endpoint,
            self.call.function,
            self.call.serialized(),
            Overlap(self.overlap),
            CatchUp(self.catch_up),
            self.paused,
        )


class Firing(Output):
    """A call that a schedule has made."""

    key: str = Field(description="The schedule's name, `@`, and the time of the firing.")
    at: InstantOut
    id: MessageId = Field(description="Of the call.")
    state: CallState | None = Field(description="Null where nothing is known of it any more.")

    @classmethod
    def of(cls, name: str, view: FiringView) -> Self:
        """From what the service says."""
        key = f"{name}@{rfc3339(view.at_us)}"
        return cls(key=key, at=view.at_us, id=view.call_id, state=view.state)


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
    is_waiting: bool = Field(description="The next firing waits for the end of the call before.")
    last: Firing | None = Field(description="The last firing.")
    last_run: Firing | None = Field(description="The last call that was asked for by hand.")
    skipped: int = Field(description="Firings that were left out, as the call before still ran.")


class ListedSchedule(_Shown):
    """One schedule of a list."""

    call: CallShown

    @classmethod
    def of(cls, view: ScheduleView) -> Self:
        """From what the service says."""
        call = CallShown(endpoint=view.plan.endpoint, function=view.plan.function)
        return cls(call=call, **_fields(view))


class Schedule(_Shown):
    """One schedule."""

    call: FullCall

    @classmethod
    def of(cls, view: ScheduleView) -> Self:
        """From what the service says."""
        plan = view.plan
        value, whole = _input(plan.input)
        call = FullCall(
            endpoint=plan.endpoint, function=plan.function, input=value, input_any=whole
        )
        return cls(call=call, **_fields(view))


class Schedules(Output):
    """All schedules that may be seen."""

    items: list[ListedSchedule]

    @classmethod
    def of(cls, views: Sequence[ScheduleView]) -> Self:
        """From what the service says."""
        return cls(items=[ListedSchedule.of(view) for view in views])


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
