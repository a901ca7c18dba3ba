"""What an attempt came to, as docs/errors.md lists it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final


class Failure(Enum):
    """Why an attempt ended without a complete response. The value is the stable error slug."""

    CONNECTION = "connection_failed"
    DNS = "dns_failed"
    TLS = "tls_failed"
    TIMEOUT = "timeout"
    BROKEN = "broken_response"
    EGRESS = "egress_denied"
    EXPIRED = "expired"  # of no attempt: the message waited too long for its next one


def cause(status: int | None, failure: Failure | None) -> str | None:
    """What an attempt came to, in one word: the slug of a failure, also where there was a status,
    else `http_503`. None: there was no attempt."""
    if failure is not None:
        return failure.value
    return None if status is None else f"http_{status}"


_WORDS: Final = {
    "connection_failed": "no connection",
    "dns_failed": "host not found",
    "tls_failed": "TLS failed",
    "timeout": "timed out",
    "broken_response": "broken response",
    "egress_denied": "refused by the egress rules",
    "expired": "waited too long",
}


def in_words(cause: str) -> str:
    """What an attempt came to, for people: `no connection`, `HTTP 503`."""
    return f"HTTP {cause[5:]}" if cause.startswith("http_") else _WORDS.get(cause, cause)


def beyond(status: int | None, failure: Failure | None, detail: str) -> str:
    """What `detail` says that status and cause do not; empty where that is nothing."""
    return "" if detail == cause(status, failure) else detail


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """How an attempt ended that was not a plain, complete 2xx.

    `status` is the response's status, None when no head was read. `failure` is None when there was
    a complete response. `detail` is a short human text without bodies or credentials. `retry_after`
    is the raw value of `Retry-After` or None. `response_start` is the first bytes of the response's
    body. `ours` says that it failed for a reason on this machine: the message's body could not be
    read back from the log, or descriptors, memory, local ports or a network were lacking. That says
    nothing about the destination, although it may have seen a part of the request. `was_sent` says
    that there was a connection to send it on, so that it may have seen all of it.
    """

    status: int | None
    failure: Failure | None
    detail: str
    duration_ms: int
    retry_after: bytes | None = None
    response_start: bytes = b""
    ours: bool = False
    was_sent: bool = field(default=False, compare=False)
