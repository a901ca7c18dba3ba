"""The exception that ended a run, as its answer has it; and the exception that an awaiting function
gets of such an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from google.protobuf.message import DecodeError as Damaged

from dispatcher.protocol.messages import MarkedValue
from dispatcher.protocol.statuses import Status
from dispatcher.sdk import exceptions
from dispatcher.sdk.errors.portraits import lookalike, portrait, text_of
from dispatcher.sdk.errors.statuses import Errors, status_of
from dispatcher.sdk.errors.tracebacks import hang
from dispatcher.sdk.errors.tracebacks import text_of as traceback_of
from dispatcher.sdk.exceptions import CallError, Cancelled, DispatchError, Expired, Interrupted
from dispatcher.sdk.replay.model import INTERRUPTED, Failure
from dispatcher.sdk.values import marks
from dispatcher.sdk.values.misfit import Misfit
from dispatcher.sdk.values.reading import read
from dispatcher.sdk.values.refusing import refuse
from dispatcher.sdk.values.writing import write

_MOST_BYTES: Final = 64 * 1024
_AS_PICKLE: Final = b"N."
"""Stands before a portrait. dispatch-py unpickles the value of every error, and its call is lost
where that fails. It reads this, which is None, nothing behind it, and makes an error of the
message."""

# What the server itself says of a call, and the SDK of a step, by its type.
_OF_SERVER: Final[Mapping[str, type[DispatchError]]] = {
    "Cancelled": Cancelled,
    "Expired": Expired,
    INTERRUPTED: Interrupted,
    "InvalidArgument": exceptions.InvalidArgumentError,
    "InvalidCall": exceptions.InvalidArgumentError,
    "InvalidResponse": exceptions.InvalidResponseError,
    "NotFound": exceptions.NotFoundError,
    "PermissionDenied": exceptions.PermissionDeniedError,
    "Unauthenticated": exceptions.UnauthenticatedError,
}


def failure_of(error: BaseException, errors: Errors | None = None) -> tuple[Status, Failure]:
    """Describe the exception that ended a run; `errors` are those that the function has for itself.

    The status is that of `status_of`, the failure has the name of its class, its text, its
    traceback from the application's first line on, and what it needs to be of its class again.
    """
    kind = error.type if isinstance(error, CallError) and error.type else type(error).__qualname__
    return status_of(error, errors), Failure(
        kind,
        error.message if isinstance(error, CallError) else text_of(error),
        _drawn(error),
        traceback_of(error).encode("utf-8", "replace"),
    )


def exception_of(failure: Failure) -> Exception:
    """Make the exception that a function gets which waits for the call that failed so.

    It is of its own class where that is imported already, without its `__init__` being called; what
    the server says is one of the SDK's; anything else is a `CallError`. A KeyboardInterrupt and its
    like are a CallError too. The remote traceback is printed above the local one.
    """
    error = _of_own(failure.value)
    if error is None:
        error = _foreign(failure)
    if failure.traceback:
        hang(error, failure.traceback.decode("utf-8", "replace"))
    return error


def _drawn(error: BaseException) -> bytes:
    """Its portrait, encoded; a large one without some of its parts."""
    try:
        whole = portrait(error)
    except Exception:  # its attributes are code of its own
        return b""
    for without in _SPARED:
        drawn = {name: part for name, part in whole.items() if name not in without}
        data = _encoded(drawn)
        if data is not None and len(data) <= _MOST_BYTES:
            return data
    return b""


_SPARED: Final = (
    (),
    ("cause",),
    ("cause", "state"),
    ("cause", "state", "notes", "args", "exceptions"),
)


def _encoded(drawn: dict[str, object]) -> bytes | None:
    message = MarkedValue(mark=marks.EXCEPTION)
    try:
        write(message, drawn, refuse)
    except Misfit:  # causes and groups in one another, too deep together
        return None
    return _AS_PICKLE + message.SerializeToString(deterministic=True)


def _of_own(data: bytes) -> Exception | None:
    """The exception of a portrait; None where it is none, as the pickles of dispatch-py."""
    if not data.startswith(_AS_PICKLE):
        return None
    try:
        message = MarkedValue.FromString(data.removeprefix(_AS_PICKLE))
        drawn = read(message) if message.mark == marks.EXCEPTION else None
    except (Damaged, Misfit):
        return None
    return lookalike(drawn) if isinstance(drawn, dict) else None


def _foreign(failure: Failure) -> Exception:
    kind = _OF_SERVER.get(failure.type)
    if kind is None:
        return CallError(failure.type, failure.message)
    if issubclass(kind, CallError):
        return kind(failure.type, failure.message)
    return kind(failure.message)
