"""Calls as they are dispatched: what is wrong with them is said before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any as Anything
from typing import Final

from dispatcher.protocol.messages import Call, DispatchRequest
from dispatcher.sdk.client.errors import CallsRefused
from dispatcher.sdk.functions.built import BuiltCall
from dispatcher.sdk.functions.options import LONGEST_US, checked_key
from dispatcher.sdk.wire import call_of, duration_of

MOST_CALLS: Final = 1_000
MOST_BYTES: Final = 16_000_000


def dispatched(calls: Sequence[BuiltCall[Anything]], endpoint: str) -> bytes:
    """Return the body of a Dispatch. `endpoint` is that of calls that name none, "" for nowhere.

    Raises:
        CallsRefused: there are too many, they are too large, or one has no endpoint.
    """
    if len(calls) > MOST_CALLS:
        raise CallsRefused(
            f"{len(calls)} calls are too many for one dispatch, which takes {MOST_CALLS}: dispatch "
            "them in parts, each with a key of its own."
        )
    for call in calls:
        if not call.endpoint and not endpoint:
            raise CallsRefused(
                f"The call of {call.function} has no endpoint: set DISPATCH_ENDPOINT_URL to where "
                "the application listens, or say with_options(endpoint=...)."
            )
    body = DispatchRequest(calls=[_call(one, endpoint) for one in calls]).SerializeToString()
    if len(body) > MOST_BYTES:
        raise _too_large(calls, len(body))
    return body


def check_key(key: str) -> None:
    """Check what makes a dispatch idempotent.

    Raises:
        TypeError: it is no string.
        CallsRefused: it can't be sent.
    """
    try:
        checked_key(key)
    except ValueError as error:
        raise CallsRefused(str(error)) from None


def _call(built: BuiltCall[Anything], endpoint: str) -> Call:
    call = call_of(built.operation())
    call.endpoint = built.endpoint or endpoint
    if built.options.expiration_us is None:
        call.expiration.CopyFrom(duration_of(LONGEST_US))
    return call


def _too_large(calls: Sequence[BuiltCall[Anything]], size: int) -> CallsRefused:
    if len(calls) == 1:
        return CallsRefused(
            f"The arguments of {calls[0].function} are {size} bytes, and a call takes {MOST_BYTES}:"
            " put large ones where the function can fetch them, and pass their address."
        )
    largest = max(calls, key=lambda call: len(call.input.data))
    return CallsRefused(
        f"{len(calls)} calls are {size} bytes together, and one dispatch takes {MOST_BYTES}: "
        f"dispatch them in parts. The largest is of {largest.function}, with "
        f"{len(largest.input.data)} bytes."
    )
