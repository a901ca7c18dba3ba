"""The exceptions of the SDK: what an application raises to say how a run ended, and what it gets.

Each of the 13 stands for a status of the protocol, which decides whether the call is tried again
(`dispatcher.protocol.statuses`). Those with a natural builtin derive from it as well, so
`except builtins.TimeoutError` finds them.
"""

from __future__ import annotations

import builtins
import socket
import ssl
from typing import ClassVar

from dispatcher.protocol.statuses import Status


class DispatchError(Exception):
    """Base of the exceptions of the SDK. `status` is the status of a run that ends with it;
    `retry_after` is the least number of seconds until it is tried again, None for the server's
    own delays.
    """

    status: ClassVar[Status] = Status.PERMANENT_ERROR
    retry_after: float | None = None

    def __init__(self, *args: object, retry_after: float | None = None) -> None:
        super().__init__(*args)
        self.retry_after = retry_after

    def __str__(self) -> str:
        """Its text; some builtins among the bases would show a tuple instead."""
        return str(self.args[0]) if len(self.args) == 1 else ", ".join(map(str, self.args))


class TemporaryError(DispatchError):
    """It may work the next time: the call is tried again."""

    status = Status.TEMPORARY_ERROR


class PermanentError(DispatchError):
    """It would fail again: the call ends."""

    status = Status.PERMANENT_ERROR


class TimeoutError(DispatchError, builtins.TimeoutError):
    """It took too long: the call is tried again."""

    status = Status.TIMEOUT


class ThrottledError(DispatchError):
    """It was asked too often: the call is tried again, with fewer at once. Give `retry_after`
    (seconds) where you know it."""

    status = Status.THROTTLED


class UnauthenticatedError(DispatchError):
    """Who asks is not known: the call ends."""

    status = Status.UNAUTHENTICATED


class PermissionDeniedError(DispatchError, PermissionError):
    """Who asks may not: the call ends."""

    status = Status.PERMISSION_DENIED


class NotFoundError(DispatchError, LookupError):
    """What was asked for does not exist: the call ends."""

    status = Status.NOT_FOUND


class InvalidArgumentError(DispatchError, ValueError):
    """What the function was given is wrong: the call ends."""

    status = Status.INVALID_ARGUMENT


class InvalidResponseError(DispatchError, ValueError):
    """What somebody else answered can't be understood: the call ends."""

    status = Status.INVALID_RESPONSE


class DNSError(DispatchError, socket.gaierror):
    """A name could not be resolved: the call is tried again."""

    status = Status.DNS_ERROR


class TCPError(DispatchError, ConnectionError):
    """A connection could not be made or broke: the call is tried again."""

    status = Status.TCP_ERROR


class TLSError(DispatchError, ssl.SSLError):
    """A secure connection could not be made or broke: the call is tried again."""

    status = Status.TLS_ERROR


class HTTPError(DispatchError):
    """A request over HTTP failed below its answer: the call is tried again."""

    status = Status.HTTP_ERROR


class EncodeError(DispatchError, TypeError):
    """A value can't be sent. The text names the argument, the place in it, and what to do."""

    status = Status.INVALID_ARGUMENT


class DecodeError(DispatchError, ValueError):
    """A value that came can't be read, or is not of the type that was asked for."""

    status = Status.INVALID_RESPONSE


class CallError(DispatchError):
    """A called function failed with an error that has no class here: it was written in another
    language, or its class is not imported. `type` is the error's name over there, `message` its
    text.
    """

    status = Status.PERMANENT_ERROR

    def __init__(self, type: str = "", message: str = "") -> None:
        super().__init__(type, message)
        self.type = type
        self.message = message

    def __str__(self) -> str:
        """`ValueError: no such order`."""
        return ": ".join(part for part in (self.type, self.message) if part)


class Cancelled(CallError):
    """A called function was cancelled. (A function that is cancelled itself is told by asyncio's
    CancelledError.)"""


class Expired(CallError, builtins.TimeoutError):
    """A called function did not end before its expiration. It will not be tried again."""


class Interrupted(CallError):
    """A step that is to be done once at most had begun when its process died, and nobody knows
    whether it is done. Find out, and go on accordingly."""
