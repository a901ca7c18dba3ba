"""Is a call well-formed? The same rules for calls that are dispatched and for those of a poll."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from dispatcher.core.destination import Origin
from dispatcher.functions import limits
from dispatcher.functions.endpoints import BRIDGE, CHANNEL, OUTSIDE, PROMISE, WEB
from dispatcher.protocol.messages import Call, Duration

_FUNCTION: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_<>.]*")
_SESSION: Final = re.compile(r"[A-Za-z0-9._~-]+")
_LAMBDA: Final = "arn:aws:lambda"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a call. `where` names it and the field: `calls[3].function`."""

    where: str
    reason: str
    is_unimplemented: bool = False

    def __str__(self) -> str:
        return f"{self.where} {self.reason}"


def first_problem(calls: Iterable[Call], *, caller: str = "") -> Problem | None:
    """The first problem of some calls, None without one. `caller` as for `validate_call`."""
    for index, call in enumerate(calls):
        problem = validate_call(call, f"calls[{index}]", caller=caller)
        if problem is not None:
            return problem
    return None


def validate_call(call: Call, where: str, *, caller: str = "") -> Problem | None:
    """Say what is wrong with a call, None for nothing.

    Args:
        call: as it came; its correlation may be any, and need not be unique.
        where: what it is called in the message that it came in, `calls[3]`.
        caller: the endpoint that an empty one means; "" where there is none.
    """
    problem = _of_endpoint(call.endpoint or caller)
    if problem is not None:
        is_lambda = call.endpoint.startswith(_LAMBDA)
        return Problem(f"{where}.endpoint", problem, is_unimplemented=is_lambda)
    reason = _of_function(call)
    if reason is not None:
        return Problem(f"{where}.function", reason)
    if len(call.version) > limits.MOST_VERSION_CHARS:
        return Problem(f"{where}.version", _too_long(limits.MOST_VERSION_CHARS))
    if call.input.ByteSize() > limits.MOST_PAYLOAD_BYTES:
        return Problem(
            f"{where}.input",
            f"has {call.input.ByteSize()} bytes, and {limits.MOST_PAYLOAD_BYTES} is the most that "
            "can be sent to an application.",
        )
    if call.HasField("expiration") and duration_us(call.expiration) < 0:
        return Problem(f"{where}.expiration", "must not be negative.")
    return _of_extensions(call, where)


def _of_extensions(call: Call, where: str) -> Problem | None:
    if call.HasField("timeout") and not 0 < timeout_ms(call) <= limits.MOST_TIMEOUT_MS:
        return Problem(f"{where}.timeout", "must be 1 millisecond to 24 hours.")
    if call.HasField("delay"):
        delay_us = duration_us(call.delay)
        if delay_us < 0:
            return Problem(f"{where}.delay", "must not be negative.")
        if delay_us and 0 < duration_us(call.expiration) <= delay_us:
            return Problem(f"{where}.delay", "must be shorter than its expiration.")
    return None


def timeout_ms(call: Call) -> int:
    """How long a run of a call may take, in whole milliseconds; 0: not said."""
    return -(-duration_us(call.timeout) // 1000)


def duration_us(duration: Duration) -> int:
    """A duration in microseconds; part of one counts as none."""
    return duration.seconds * 1_000_000 + duration.nanos // 1000


def _of_function(call: Call) -> str | None:
    if not call.function:
        # Nothing is run for a promise: what it is called is its endpoint's name.
        return None if call.endpoint.startswith(OUTSIDE) else "is missing."
    if len(call.function) > limits.MOST_FUNCTION_CHARS:
        return _too_long(limits.MOST_FUNCTION_CHARS)
    if _FUNCTION.fullmatch(call.function) is None:
        return (
            "must be a letter or _, and then letters, digits, _, <, > and dots, "
            f"and is {_shown(call.function)}."
        )
    return None


def _of_endpoint(endpoint: str) -> str | None:
    if not endpoint:
        return "is missing: the URL that the application listens at."
    if len(endpoint) > limits.MOST_ENDPOINT_CHARS:
        return _too_long(limits.MOST_ENDPOINT_CHARS)
    if endpoint.startswith(WEB):
        return _of_web(endpoint)
    if endpoint.startswith(BRIDGE):
        return _of_session(endpoint.removeprefix(BRIDGE))
    if endpoint.startswith(OUTSIDE):
        prefix = PROMISE if endpoint.startswith(PROMISE) else CHANNEL
        return _of_name(endpoint.removeprefix(prefix))
    if endpoint.startswith(_LAMBDA):
        return "is a Lambda function, which this server does not invoke: give it a URL."
    return (
        "must begin with http://, https://, bridge://, promise: or channel:, "
        f"and is {_shown(endpoint)}."
    )


@lru_cache(1024)
def _of_web(endpoint: str) -> str | None:
    try:
        Origin.parse(endpoint.encode("utf-8", "surrogatepass"))
    except ValueError as error:
        return f"is not a URL of an application, {_shown(endpoint)}: {error}."
    return None


def is_session(name: str) -> bool:
    """Whether an application may have a session of this name."""
    return len(name) <= limits.MOST_NAME_CHARS and _SESSION.fullmatch(name) is not None


def _of_session(session: str) -> str | None:
    if not is_session(session):
        return (
            "must name a session after bridge://, "
            f"1 to {limits.MOST_NAME_CHARS} letters, digits, '.', '_', '~' and '-'."
        )
    return None


def _of_name(name: str) -> str | None:
    if not 0 < len(name) <= limits.MOST_NAME_CHARS or not name.isprintable():
        return (
            "must have a name after its colon, "
            f"1 to {limits.MOST_NAME_CHARS} characters and no control ones."
        )
    return None


def _too_long(most: int) -> str:
    return f"must have {most} characters at most."


def _shown(text: str) -> str:
    """Of a name that may be very long, what a person needs to find it."""
    return repr(text if len(text) <= 80 else text[:77] + "...")
