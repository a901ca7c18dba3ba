"""The answer to a request, which is on record once it came."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from email.message import Message
from typing import Any, Final

from dispatcher.protocol.statuses import Status
from dispatcher.sdk import exceptions
from dispatcher.sdk.errors import status_of_code

_ERRORS: Final[dict[Status, type[exceptions.DispatchError]]] = {
    Status.INVALID_ARGUMENT: exceptions.InvalidArgumentError,
    Status.UNAUTHENTICATED: exceptions.UnauthenticatedError,
    Status.PERMISSION_DENIED: exceptions.PermissionDeniedError,
    Status.NOT_FOUND: exceptions.NotFoundError,
    Status.TIMEOUT: exceptions.TimeoutError,
    Status.THROTTLED: exceptions.ThrottledError,
    Status.TEMPORARY_ERROR: exceptions.TemporaryError,
}


@dataclass(frozen=True)
class Response:
    """`status` is the code, as 200. The names of `headers` are in lower case; of several with one
    name the values are joined by ", ". `url` is where it came from, after redirects.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    url: str = ""

    @property
    def ok(self) -> bool:
        """Whether it is a success: 2xx."""
        return 200 <= self.status <= 299

    @property
    def text(self) -> str:
        """The body as text, by the charset of its Content-Type, UTF-8 without one. What can't be
        read becomes U+FFFD."""
        try:
            return self.body.decode(self._charset, "replace")
        except LookupError:
            return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body, read as JSON.

        Raises:
            InvalidResponseError: it is none.
        """
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise exceptions.InvalidResponseError(
                f"what {self.url or 'the service'} answered is no JSON: {error}"
            ) from None

    def raise_for_status(self) -> Response:
        """Return this answer if it is no error.

        Raises:
            DispatchError: the code is 400 or more; `NotFoundError` for 404, and so on.
        """
        if self.status < 400:
            return self
        raise error_of(self.status, self.url)

    @property
    def _charset(self) -> str:
        message = Message()
        message["Content-Type"] = self.headers.get("content-type", "")
        return message.get_content_charset("utf-8")

    def __repr__(self) -> str:
        return f"<Response {self.status}, {len(self.body)} bytes>"


def error_of(code: int, url: str, retry_after: float | None = None) -> exceptions.DispatchError:
    """The exception that an answer with this code means."""
    kind = _ERRORS.get(status_of_code(code), exceptions.PermanentError)
    return kind(f"{url or 'the service'} answered {code}", retry_after=retry_after)
