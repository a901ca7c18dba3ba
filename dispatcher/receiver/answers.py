"""What a request is answered with that the application does not get to see: JSON, `error` and
`message` as all errors of this project have them."""

from __future__ import annotations

import json
import logging
from typing import Final, NamedTuple

from dispatcher.errors import DispatcherError
from dispatcher.protocol.webhooks import SignatureRefused
from dispatcher.receiver.inbox import MessageRunning
from dispatcher.receiver.rules import RequestRefused
from dispatcher.receiver.store import StoreUnavailable

EXPECTED: Final = (SignatureRefused, RequestRefused, MessageRunning, StoreUnavailable)
"""What `refusal` makes an answer of."""

_UNAVAILABLE_S: Final = 5
_log: Final = logging.getLogger("dispatcher.receiver")


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def duplicate(message_id: str) -> Answer:
    """Make the answer to a message that was handled before."""
    _log.info("message %s is a duplicate", message_id)
    return _json(200, {"duplicate": True, "id": message_id}, ("X-Dispatcher-Duplicate", "true"))


def refusal(error: DispatcherError) -> Answer:
    """Make the answer of one of the errors that are expected."""
    level = logging.INFO if isinstance(error, MessageRunning) else logging.WARNING
    _log.log(level, "request refused: %s: %s", error.slug, error)
    said = {"error": error.slug, "message": str(error)}
    match error:
        case SignatureRefused():
            return _json(401, said, ("WWW-Authenticate", "Standard-Webhooks"))
        case MessageRunning():
            return _json(425, said, ("Retry-After", str(error.retry_after_s)))
        case RequestRefused():
            return _json(error.status, said)
    said["message"] = (
        "Whether the message was handled can't be told now; the receiver's log says why."
    )
    return _json(503, said, ("Retry-After", str(_UNAVAILABLE_S)))


def _json(status: int, value: dict[str, object] | dict[str, str], *more: tuple[str, str]) -> Answer:
    body = json.dumps(value).encode("ascii") + b"\n"
    length = ("Content-Length", str(len(body)))
    return Answer(status, (("Content-Type", "application/json"), length, *more), body)
