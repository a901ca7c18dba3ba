"""Errors of remote procedure calls, in Connect's shape: `{"code": word, "message": text}`.

Clients of the Dispatch protocol understand no other. Whatever refuses such a call (a key, a limit,
a log that is full) says so as the rest of the API does; here that is turned into a code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dispatcher.protocol.connect import Code, ConnectError

PREFIXES: Final = ("/dispatch.sdk.v1.", "/dispatch.v1.")
"""How the paths of such calls begin."""

_CODES: Final[Mapping[int, Code]] = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.UNIMPLEMENTED,
    405: Code.UNIMPLEMENTED,
    408: Code.DEADLINE_EXCEEDED,
    409: Code.FAILED_PRECONDITION,
    413: Code.RESOURCE_EXHAUSTED,
    415: Code.INVALID_ARGUMENT,
    417: Code.INVALID_ARGUMENT,
    500: Code.INTERNAL,
    503: Code.UNAVAILABLE,
}
_OWN_STATUS: Final = frozenset({404, 405, 408, 415, 417})
"""Statuses that say more than the one that goes with the code."""


def is_rpc(path: str) -> bool:
    """Say whether a path is that of a remote procedure call, also of one that is not there."""
    return one_slash(path).startswith(PREFIXES)


def one_slash(path: str) -> str:
    """A path with one slash at its beginning. Clients put the path of a call behind the address
    that they were given, and that may end with one."""
    return path[1:] if path.startswith("//") else path


def refusal(status: int, message: str) -> tuple[int, ConnectError]:
    """An error of the API with this status, as such a call is told it: status and error."""
    error = ConnectError(_CODES.get(status, Code.UNKNOWN), message)
    return (status if status in _OWN_STATUS else error.http_status), error
