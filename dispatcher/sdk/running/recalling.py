"""Large results, which the server keeps, so that states need not hold them.

A process that goes on has their values. One that replays asks the server for all of them, over the
API, before it begins.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

from dispatcher.protocol.connect import Code, ConnectError
from dispatcher.protocol.messages import RecallRequest, RecallResponse
from dispatcher.sdk.replay.model import Value
from dispatcher.sdk.wire import value_of

KEPT_FROM: Final = 64 * 1024
"""Bytes of a value from which on it is kept; smaller ones are cheaper in the state."""
MOST_KEPT: Final = 10_000
"""Results that a server keeps for one call."""
MOST_KEPT_BYTES: Final = 256_000_000
"""The bytes of all of these together."""

Recall: TypeAlias = Callable[[RecallRequest], Awaitable[RecallResponse]]
"""Asks the server. Raises ConnectError with what it answered, OSError where it can't be reached."""


class Gone(Exception):
    """The server does not keep these results (any more)."""


class NotRecalled(Exception):
    """The server could not be asked. Another time it may."""


async def recalled(
    recall: Recall | None, dispatch_id: str, permit: bytes, wanted: Sequence[str]
) -> dict[str, Value]:
    """Ask for results that a call keeps, by their ids. No request without any.

    Raises:
        Gone, NotRecalled: as above.
    """
    missing = list(wanted)
    found: dict[str, Value] = {}
    while missing:
        request = RecallRequest(dispatch_id=dispatch_id, permit=permit, results=missing)
        for result in (await _asked(recall, request)).results:
            found[result.dispatch_id] = value_of(result.output)
        left = [id for id in missing if id not in found]
        if len(left) == len(missing):
            raise NotRecalled("the server answered a Recall with other results")
        missing = left
    return found


async def _asked(recall: Recall | None, request: RecallRequest) -> RecallResponse:
    if recall is None:
        raise NotRecalled(
            "the server keeps results of this call, and nothing says where it is: set "
            "DISPATCH_API_URL and DISPATCH_API_KEY"
        )
    try:
        return await recall(request)
    except ConnectError as error:
        if error.code is Code.NOT_FOUND:
            raise Gone(error.message) from error
        raise NotRecalled(f"the server answered a Recall: {error.message}") from error
    except (OSError, TimeoutError) as error:
        raise NotRecalled(f"the server could not be asked for results: {error}") from error
