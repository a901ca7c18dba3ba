"""Errors that the server makes: what a caller is told of a call that it could not finish.

`type` is stable: applications compare it. The message is one sentence for a person.
"""

from __future__ import annotations

from typing import Final

from dispatcher.core.instants import rfc3339
from dispatcher.protocol.messages import CallResult, Error
from dispatcher.protocol.statuses import Status

EXPIRED: Final = "Expired"
CANCELLED: Final = "Cancelled"
INVALID_CALL: Final = "InvalidCall"
UNIMPLEMENTED: Final = "Unimplemented"
TOO_MANY_CALLS: Final = "TooManyCalls"
TOO_DEEP: Final = "TooDeep"
TREE_TOO_LARGE: Final = "TreeTooLarge"


def type_of(status: Status) -> str:
    """The type of an error that says no more than a status: `InvalidResponse`, `NotFound`."""
    return "".join(word.capitalize() for word in status.name.split("_"))


def error_bytes(kind: str, message: str) -> bytes:
    """A serialized Error."""
    return Error(type=kind, message=message).SerializeToString()


def failed(kind: str, message: str) -> bytes:
    """A serialized CallResult with nothing but an error."""
    return CallResult(error=Error(type=kind, message=message)).SerializeToString()


def expired(function: str, expires_us: int) -> bytes:
    """The result of a call that had its time (`expires_us`: microseconds since the epoch)."""
    when = rfc3339(expires_us)
    return failed(EXPIRED, f"{function} did not end before its expiration, {when}.")


def cancelled(function: str) -> bytes:
    """The result of a call that was cancelled or killed."""
    return failed(CANCELLED, f"{function} was cancelled.")


def unneeded(function: str) -> bytes:
    """The result of a call that its caller, which is of that function, needs no more."""
    return failed(CANCELLED, f"{function}, which called it, does not need it any more.")


def unneeded_error(function: str) -> bytes:
    """The serialized Error that it is resumed with to clean up."""
    return error_bytes(CANCELLED, f"{function} does not need it any more: clean up and end.")


def cancelled_error(function: str) -> bytes:
    """The serialized Error that a call is resumed with to clean up."""
    return error_bytes(CANCELLED, f"{function} was cancelled: clean up and end.")
