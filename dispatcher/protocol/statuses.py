"""How a run ended, and what follows from it: whether it is tried again, and what it says about how
many runs its endpoint can take at once.

    status                                    then      runs at once
    OK                                        end       more
    TIMEOUT, THROTTLED, TEMPORARY_ERROR,      retry     fewer
    DNS_ERROR, TCP_ERROR, TLS_ERROR,
    HTTP_ERROR
    INCOMPATIBLE_STATE                        restart   as before
    INVALID_ARGUMENT, INVALID_RESPONSE,       end       more: the endpoint is healthy
    PERMANENT_ERROR, UNAUTHENTICATED,
    PERMISSION_DENIED, NOT_FOUND
    UNSPECIFIED, and numbers not known here   end       as before
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Final


class Then(Enum):
    """What follows a run whose answer names no other call (a tail call comes before this)."""

    END = "end"
    RETRY = "retry"  # the same request again, later
    RESTART = "restart"  # from the function's input, without its state


class Concurrency(Enum):
    """What a run says about how many of them its endpoint can take at once."""

    INCREASE = "increase"
    DECREASE = "decrease"
    NONE = "none"


class Status(IntEnum):
    """dispatch.sdk.v1.Status; the numbers are the wire's."""

    UNSPECIFIED = 0
    OK = 1
    TIMEOUT = 2
    THROTTLED = 3
    INVALID_ARGUMENT = 4
    INVALID_RESPONSE = 5
    TEMPORARY_ERROR = 6
    PERMANENT_ERROR = 7
    INCOMPATIBLE_STATE = 8
    DNS_ERROR = 9
    TCP_ERROR = 10
    TLS_ERROR = 11
    HTTP_ERROR = 12
    UNAUTHENTICATED = 13
    PERMISSION_DENIED = 14
    NOT_FOUND = 15

    @property
    def then(self) -> Then:
        """What follows a run that ended so."""
        return MEANINGS[self].then

    @property
    def concurrency(self) -> Concurrency:
        """What it says about how many runs its endpoint can take."""
        return MEANINGS[self].concurrency


@dataclass(frozen=True, slots=True)
class Meaning:
    """What follows from a status."""

    then: Then
    concurrency: Concurrency


_RETRY = Meaning(Then.RETRY, Concurrency.DECREASE)
_HEALTHY = Meaning(Then.END, Concurrency.INCREASE)

MEANINGS: Final[Mapping[Status, Meaning]] = MappingProxyType(
    {
        Status.UNSPECIFIED: Meaning(Then.END, Concurrency.NONE),
        Status.OK: _HEALTHY,
        Status.TIMEOUT: _RETRY,
        Status.THROTTLED: _RETRY,
        Status.INVALID_ARGUMENT: _HEALTHY,
        Status.INVALID_RESPONSE: _HEALTHY,
        Status.TEMPORARY_ERROR: _RETRY,
        Status.PERMANENT_ERROR: _HEALTHY,
        Status.INCOMPATIBLE_STATE: Meaning(Then.RESTART, Concurrency.NONE),
        Status.DNS_ERROR: _RETRY,
        Status.TCP_ERROR: _RETRY,
        Status.TLS_ERROR: _RETRY,
        Status.HTTP_ERROR: _RETRY,
        Status.UNAUTHENTICATED: _HEALTHY,
        Status.PERMISSION_DENIED: _HEALTHY,
        Status.NOT_FOUND: _HEALTHY,
    }
)

_OF_HTTP: Final = {
    200: Status.OK,
    400: Status.INVALID_ARGUMENT,
    401: Status.UNAUTHENTICATED,
    403: Status.PERMISSION_DENIED,
    404: Status.NOT_FOUND,
    408: Status.TIMEOUT,
    429: Status.THROTTLED,
    501: Status.PERMANENT_ERROR,
    504: Status.TIMEOUT,
}

_OF_FAILURE: Final = {
    "connection_failed": Status.TCP_ERROR,
    "dns_failed": Status.DNS_ERROR,
    "tls_failed": Status.TLS_ERROR,
    "timeout": Status.TIMEOUT,
    "broken_response": Status.HTTP_ERROR,
    "egress_denied": Status.PERMISSION_DENIED,
}


def status_of_wire(number: int) -> Status:
    """Return the status of a RunResponse. One that only a newer SDK knows is UNSPECIFIED."""
    return _BY_NUMBER.get(number, Status.UNSPECIFIED)


_BY_NUMBER: Final = {status.value: status for status in Status}


def status_of_http(code: int) -> Status:
    """Return what the HTTP status of an answer to a Run means.

    200 is OK, and then the body decides; one that can't be parsed is INVALID_RESPONSE. Everything
    but 200, 4xx and 5xx is INVALID_RESPONSE too: no endpoint answers a Run so.
    """
    status = _OF_HTTP.get(code)
    if status is not None:
        return status
    if 400 <= code <= 499:
        return Status.PERMANENT_ERROR
    if 500 <= code <= 599:
        return Status.TEMPORARY_ERROR
    return Status.INVALID_RESPONSE


def status_of_failure(slug: str) -> Status:
    """Return what it means that there was no complete answer. `slug` is the error slug of an
    attempt, such as `connection_failed`; a response that was cut short is `broken_response`.

    Raises:
        KeyError: no attempt ends so.
    """
    return _OF_FAILURE[slug]
