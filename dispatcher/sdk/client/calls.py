"""Calls as they are dispatched: what is wrong with them is said before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any as Anything
from typing import Final

from dispatcher.protocol.messages import Any, Call, DispatchRequest, Duration
from dispatcher.sdk.client.errors import CallsRefused
from dispatcher.sdk.functions.built import BuiltCall
from dispatcher.sdk.replay.model import Value

MOST_CALLS: Final = 1_000
MOST_BYTES: Final = 16_000_000
EXPIRATION_US: Final = 365 * 86_400 * 1_000_000
"""Of calls that say nothing: the longest that a server allows unless told otherwise. A function may
wait for a person."""

_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")


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
        CallsRefused: it can't be sent.
    """
    if not _KEY.fullmatch(key):
        raise CallsRefused(
            f"key={key[:40]!r}: expected 1 to 255 visible ASCII characters, without spaces."
        )


def any_of(value: Value) -> Any:
    """Return a value as the protocol has it."""
    url = value.type if "/" in value.type else f"type.googleapis.com/{value.type}"
    return Any(type_url=url, value=value.data)


def value_of(value: Any) -> Value:
    """Return a value of the protocol in parts."""
    return Value(value.type_url.removeprefix("type.googleapis.com/"), value.value)


def _call(built: BuiltCall[Anything], endpoint: str) -> Call:
    options = built.options
    call = Call(
        endpoint=built.endpoint or endpoint,
        function=built.function,
        input=any_of(built.input),
        expiration=_duration(options.expiration_us or EXPIRATION_US),
        version=options.version,
    )
    if options.timeout_us is not None:
        call.timeout.CopyFrom(_duration(options.timeout_us))
    if options.delay_us is not None:
        call.delay.CopyFrom(_duration(options.delay_us))
    return call


def _duration(microseconds: int) -> Duration:
    seconds, rest = divmod(microseconds, 1_000_000)
    return Duration(seconds=seconds, nanos=rest * 1000)


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
