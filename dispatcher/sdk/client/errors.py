"""What goes wrong between an application and its server, as exceptions that a caller can catch.

Each has a `status`, which is what becomes of a function that lets it out: a server that can't be
reached is tried again, a key that is refused is not.
"""

from __future__ import annotations

from dispatcher.errors import DispatcherError
from dispatcher.protocol.statuses import Status


class ClientError(DispatcherError):
    """The server did not do what it was asked for. `code` is its word for the reason ("" where it
    gave none), `http_status` that of its answer (None: there was none)."""

    slug = "client_error"

    def __init__(
        self,
        message: str,
        *,
        status: Status = Status.PERMANENT_ERROR,
        code: str = "",
        http_status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.http_status = http_status


class Unreachable(ClientError, ConnectionError):
    """There was no answer, however often it was tried. What was asked for may have been done all
    the same, unless the connection could not be made."""

    slug = "server_unreachable"


class KeyRefused(ClientError, PermissionError):
    """The server wants an API key, or does not know this one."""

    slug = "key_refused"


class CallUnknown(ClientError, LookupError):
    """The server knows no such call."""

    slug = "call_unknown"


class ResultGone(ClientError, LookupError):
    """The call has ended, and its result is no longer kept."""

    slug = "result_gone"


class NotEnded(ClientError, TimeoutError):
    """The result is not there in time. The call goes on."""

    slug = "not_ended"


class AlreadyCompleted(ClientError):
    """The promise was completed before, and that counts."""

    slug = "already_completed"


class CallsRefused(ClientError, ValueError):
    """These calls can't be dispatched as they are; nothing was sent."""

    slug = "calls_refused"
