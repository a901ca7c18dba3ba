"""What happens in a moment, in words: a message or a call is given up, letters are dropped."""

from __future__ import annotations

from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult, cause
from dispatcher.core.rules.notify import Kind
from dispatcher.node.notifying.happening import Happening, State


def of_letter(message: Message, reason: str, result: AttemptResult, at_us: int) -> Happening:
    """A message was given up."""
    name = message.wire_id.decode("ascii")
    error = cause(result.status, result.failure)
    tries = "1 attempt" if message.attempt == 1 else f"{message.attempt} attempts"
    label = f", label {message.label}" if message.label else ""
    return Happening(
        Kind.DEAD_LETTER,
        State.HAPPENED,
        at_us,
        f"A message to {message.destination} was given up after {tries} "
        f"({error or reason}{label}): dispatcher dead show {name}",
        {
            "id": name,
            "destination": str(message.destination),
            "method": message.method,
            "attempts": message.attempt,
            "reason": reason,
            "last_status": result.status,
            "last_error": error,
            "label": message.label or None,
        },
    )


def of_call(
    call_id: bytes,
    endpoint: str,
    function: str,
    *,
    attempts: int,
    reason: str,
    error: str | None,
    at_us: int,
) -> Happening:
    """A root call was given up."""
    name = call_id.decode("ascii")
    why = f" ({error})" if error else ""
    return Happening(
        Kind.CALL_FAILED,
        State.HAPPENED,
        at_us,
        f"A call of {function} at {endpoint} {reason}{why}: dispatcher dead show {name}",
        {
            "id": name,
            "endpoint": endpoint,
            "function": function,
            "attempts": attempts,
            "reason": reason,
            "last_error": error,
        },
    )


def of_dropped(count: int, why: str, at_us: int) -> Happening:
    """Dead letters are gone for good."""
    letters = "1 dead letter was" if count == 1 else f"{count} dead letters were"
    setting = "DEAD_LETTER_RETENTION" if why == "age" else "DEAD_LETTER_MAX_BYTES"
    return Happening(
        Kind.LETTERS_DROPPED,
        State.HAPPENED,
        at_us,
        f"{letters} dropped for good, by {setting}.",
        {"count": count, "reason": why},
    )
