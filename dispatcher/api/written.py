"""A message as a line of NDJSON on its way out: what `carried` reads."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from dispatcher.core.instants import rfc3339
from dispatcher.core.options import written
from dispatcher.queue.admin.surface import (
    AnyCarried,
    AttemptView,
    Carried,
    CarriedCall,
    LetterDetail,
    LetterGone,
    Unreadable,
)

INCOMPLETE: Final = b', "incomplete": true}\n'
"""The end of a line that no import takes."""


async def write_line(carried: AnyCarried) -> AsyncIterator[bytes]:
    """The line of a message or a dead call, in pieces. One that cannot be read, or ends while its
    body is read, has a line that no import takes."""
    if isinstance(carried, Unreadable):
        yield json.dumps(_named(carried)).encode("ascii")[:-1] + INCOMPLETE
        return
    if isinstance(carried, CarriedCall):
        described, pieces = _described_call(carried.detail), carried.detail.body
    else:
        described, pieces = _described(carried), carried.body
    yield json.dumps(described).encode("ascii")[:-1] + b', "body": "'
    left = b""
    ending = b'"}\n'
    try:
        async for piece in pieces:
            data = left + piece
            # Of a multiple of 3 bytes: then the parts, one after the other, are the same as all.
            size = len(data) // 3 * 3
            yield base64.b64encode(data[:size])
            left = data[size:]
    except LetterGone:
        left, ending = b"", b'"' + INCOMPLETE
    yield base64.b64encode(left) + ending


def _named(unreadable: Unreadable) -> dict[str, Any]:
    return {
        "state": "dead" if unreadable.is_dead else "waiting",
        "id": unreadable.id.decode("ascii"),
        "destination": unreadable.destination,
        "method": "",
        "target": "",
    }


def _described(carried: Carried) -> dict[str, Any]:
    message, death = carried.message, carried.death
    described: dict[str, Any] = {
        "state": "waiting" if death is None else "dead",
        "id": message.wire_id.decode("ascii"),
        "destination": str(message.destination),
        "method": message.method,
        "target": message.target,
        "headers": _headers(message.head),
        "accepted_at": rfc3339(message.accepted_at),
        "attempts": message.attempt,
    }
    if message.timeout_ms:
        described["timeout_ms"] = message.timeout_ms
    if options := written(message.terms):
        described["options"] = options
    if message.terms is not None and message.terms.key_place:
        described["key_place"] = message.terms.key_place
    if death is not None:
        described |= {
            "dead_at": rfc3339(death.dead_at_us),
            "reason": death.reason,
            "detail": death.detail,
            "response_start": base64.b64encode(death.response_start).decode("ascii"),
            "history": _attempts(death.history),
        }
    return described


def _described_call(detail: LetterDetail) -> dict[str, Any]:
    letter, call = detail.letter, detail.call
    assert call is not None, "it is a call"
    return {
        "kind": letter.kind.value,
        "state": "dead",
        "id": letter.id,
        "destination": letter.destination,
        "function": letter.function,
        "application": call.application,
        "version": call.version,
        "correlation": call.correlation,
        "accepted_at": rfc3339(letter.accepted_at_us),
        "expiration_ms": call.expiration_ms,
        "timeout_ms": call.timeout_ms,
        "attempts": letter.attempts,
        "dead_at": rfc3339(letter.dead_at_us),
        "reason": letter.reason,
        "error": letter.last_error,
        "error_type": call.error_type,
        "detail": detail.detail,
        "history": _attempts(detail.history),
    }


def _headers(head: bytes) -> list[list[str]]:
    """The header lines of a request, as they will be sent (`carried.HeaderLine`)."""
    headers = []
    for line in head.split(b"\r\n")[1:-1]:
        name, _, value = line.partition(b":")
        parts = [name, value[1:]] if value.startswith(b" ") else [line]
        headers.append([part.decode("latin-1") for part in parts])
    return headers


def _attempts(history: Sequence[AttemptView]) -> list[dict[str, Any]]:
    found = []
    for one in history:
        attempt: dict[str, Any] = {
            "started_at": rfc3339(one.started_at_us),
            "duration_ms": one.duration_ms,
        }
        if one.status is not None:
            attempt["status"] = one.status
        if one.error is not None:
            attempt["error"] = one.error
        found.append(attempt)
    return found
