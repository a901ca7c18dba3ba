"""Values and errors of calls, promises and channels, between Python and the server."""

from __future__ import annotations

from typing import Any, Protocol

from dispatcher.sdk.errors import exception_of, failure_of
from dispatcher.sdk.exceptions import PermanentError
from dispatcher.sdk.functions.promises import checked_name
from dispatcher.sdk.replay.model import Failure, Result, Value
from dispatcher.sdk.values import decode, encode


class Named(Protocol):
    """A promise or a channel, as functions make them."""

    @property
    def name(self) -> str: ...


def returned(result: Result, returns: object) -> Any:
    """Return the value of a result as the hint says, or raise its error."""
    if isinstance(result, Failure):
        raise exception_of(result)
    return decode(result, returns)


def given(value: object) -> Value:
    """Return what completes a promise, or goes into a channel. Raises EncodeError."""
    return encode(value, where="the value")


def failed(error: BaseException | str) -> Failure:
    """Return what makes a promise fail; a text is the message of a PermanentError."""
    _, failure = failure_of(PermanentError(error) if isinstance(error, str) else error)
    return failure


def endpoint_of(kind: str, named: str | Named) -> str:
    """Return the endpoint of a promise or channel, by its name or itself."""
    name = named if isinstance(named, str) else named.name
    return f"{kind}:{checked_name(name, kind)}"
