"""What an attempt came to, and what follows from it: the outcome table of the contract, section
2."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Failure(Enum):
    """Why an attempt ended without a complete response. The value is the stable error slug."""

    CONNECTION = "connection_failed"
    DNS = "dns_failed"
    TLS = "tls_failed"
    TIMEOUT = "timeout"
    BROKEN = "broken_response"
    EGRESS = "egress_denied"


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """How an attempt ended that was not a plain, complete 2xx.

    `status` is the response's status, None when no head was read. `failure` is None when there was
    a complete response. `detail` is a short human text without bodies or credentials. `retry_after`
    is the raw value of `Retry-After` or None. `response_start` is the first bytes of the response's
    body. `ours` says that it failed for a reason on this machine: the message's body could not be
    read back from the log. That says nothing about the destination, although it may have seen a
    part of the request.
    """

    status: int | None
    failure: Failure | None
    detail: str
    duration_ms: int
    retry_after: bytes | None = None
    response_start: bytes = b""
    ours: bool = False
