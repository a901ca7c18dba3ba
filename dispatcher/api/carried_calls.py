"""A dead call as a line of NDJSON, as an import reads it; `written` writes it.

What an import needs is `destination` (its endpoint), `function` and `body`, its input; the rest is
what a letter shows, and for who reads the file. A call that is redriven after that is dispatched as
it would have been here.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from google.protobuf.message import DecodeError
from pydantic import AfterValidator, Field

from dispatcher.api.fields import InstantIn, LastError
from dispatcher.api.lines import MAX_RUNS, BadLine, NotBeforeEpoch, known_id
from dispatcher.api.models import Input
from dispatcher.core.calls import STATUS_WORDS, CallReason
from dispatcher.core.outcome import Failure
from dispatcher.functions.checking import validate_call
from dispatcher.functions.limits import MOST_NAME_CHARS, MOST_TIMEOUT_MS
from dispatcher.protocol.messages import Any, Call
from dispatcher.queue.admin.surface import AttemptView, CallDetail, IncomingCall

_MOST_EXPIRATION_MS: Final = 10 * 366 * 86_400_000
"""More than the setting CALL_MAX_EXPIRATION can be."""
_FIELDS: Final = {"endpoint": "destination", "input": "body"}
"""What a line calls fields of a call, where that is another name."""


def _known_run(value: str) -> str:
    if value not in STATUS_WORDS and value not in {failure.value for failure in Failure}:
        raise ValueError("it is no status of a run, such as permanent_error")
    return value


class CarriedRun(Input):
    """One run of a dead call."""

    started_at: NotBeforeEpoch
    duration_ms: int = Field(ge=0, le=0xFFFFFFFF)
    status: int | None = Field(None, ge=100, le=999)
    error: Annotated[str, AfterValidator(_known_run)] | None = None


class CarriedCallLine(Input):
    """One line of an export."""

    kind: Literal["call"]
    state: Literal["dead"] = "dead"
    destination: str
    function: str = ""
    application: str = Field("", max_length=MOST_NAME_CHARS)
    version: str = ""
    body: str = ""
    correlation: int = Field(0, ge=0, lt=1 << 64)
    expiration_ms: int = Field(86_400_000, ge=1, le=_MOST_EXPIRATION_MS)
    timeout_ms: int = Field(0, ge=0, le=MOST_TIMEOUT_MS)
    reason: CallReason = CallReason.FAILED
    error: LastError | Literal["unspecified"] | None = None
    error_type: str = Field("", max_length=256)
    detail: str = Field("", max_length=512)
    attempts: int = Field(0, ge=0, le=0xFFFFFFFF)
    history: tuple[CarriedRun, ...] = Field((), max_length=MAX_RUNS)
    id: str = ""
    accepted_at: InstantIn | None = None
    dead_at: InstantIn | None = None
    incomplete: bool = False


def incoming_call(given: CarriedCallLine, body: bytes) -> IncomingCall:
    """The call of a line with this input.

    Raises:
        BadLine: no application could have dispatched it.
    """
    try:
        made = Any.FromString(body)
    except DecodeError as error:
        raise BadLine("body: it is no serialized google.protobuf.Any") from error
    call = Call(
        endpoint=given.destination, function=given.function, version=given.version, input=made
    )
    problem = validate_call(call, "")
    if problem is not None:
        name = problem.where.removeprefix(".")
        raise BadLine(f"{_FIELDS.get(name, name)} {problem.reason}")
    attempts = max(given.attempts, len(given.history))
    first = attempts - len(given.history) + 1
    return IncomingCall(
        given.destination,
        given.function,
        CallDetail(
            given.application,
            given.version,
            given.correlation,
            given.expiration_ms,
            given.timeout_ms,
            given.error_type,
        ),
        reason=given.reason,
        status=_status(given),
        detail=given.detail,
        attempts=attempts,
        history=[
            AttemptView(number, one.started_at, one.duration_ms, one.status, one.error, None)
            for number, one in enumerate(given.history, first)
        ],
        copy_of=known_id(given.id),
    )


def _status(given: CarriedCallLine) -> int:
    """The number of the status that ended it; 0: an error of the application, or its expiration."""
    word = given.error or ""
    if given.reason is CallReason.EXPIRED or word not in STATUS_WORDS:
        return 0
    return STATUS_WORDS.index(word)
