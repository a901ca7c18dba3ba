"""Callbacks: a message that tells somebody what became of another one.

It is a POST of JSON to a URL that the caller of the other one named. Pure: what is known of an
outcome comes in, the head and the body that are sent come out.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from dispatcher.core.answer import Answer
from dispatcher.core.destination import Destination, Origin
from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult, cause
from dispatcher.core.terms import Terms

MAX_URL_BYTES: Final = 2048
BODY_BYTES: Final = 64 * 1024
"""Of the body of a response so many go into a callback."""
MOST_BYTES: Final = 256 * 1024
"""What the JSON takes at most: a larger body would be stored in pieces. Headers that do not fit are
left out, the last ones first."""

_URL: Final = re.compile(r"(https?://[^/?#]+)(/[^?#]*)?(\?[^#]*)?", re.IGNORECASE)
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a callback goes: its destination, the `Host` line, and the target."""

    destination: Destination
    host_line: bytes
    target: bytes


def place_of(url: str) -> Place:
    """Read the URL of a callback.

    Raises:
        ValueError: with a sentence that says what is wrong.
    """
    if len(url) > MAX_URL_BYTES or not _VISIBLE.fullmatch(url):
        raise ValueError("it is too long, or not visible ASCII")
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError("it must be a URL with http:// or https://, without a fragment")
    origin = Origin.parse(match[1].encode("ascii"))
    target = (match[2] or "/") + (match[3] or "")
    return Place(origin.destination, origin.host_line, target.encode("ascii"))


def callback_url(text: str) -> str | None:
    """What reads the value of an option: the URL as it was given, or None for what is none."""
    try:
        place_of(text)
    except ValueError:
        return None
    return text


def url_for(terms: Terms | None, *, delivered: bool) -> str:
    """Who is told of this outcome of a message with these terms; "": nobody."""
    if terms is None:
        return ""
    return terms.callback if delivered else terms.failure_callback


@dataclass(frozen=True, slots=True)
class Ending:
    """What became of a message. `error` is the slug of why it was given up, None of one that was
    delivered; `status` that of the last response, None without one. `fields` and `body` are those
    of that response."""

    delivered: bool
    status: int | None
    error: str | None
    fields: Sequence[tuple[bytes, bytes]] = ()
    body: bytes = b""

    @staticmethod
    def of_delivered(answer: Answer | None, result: AttemptResult | None) -> Ending:
        """A message was delivered; `result` is None after a plain 2xx."""
        status = answer.status if answer is not None else None
        if result is not None:
            status = result.status
        if answer is None:
            return Ending(True, status, None)
        return Ending(True, status, None, answer.fields, answer.body)

    @staticmethod
    def of_dead(answer: Answer | None, result: AttemptResult, *, told: str | None) -> Ending:
        """A message was given up after its last attempt, or for what is `told`
        (`DeadReason.told`)."""
        if told is not None:
            return Ending(False, None, told)
        error = cause(result.status, result.failure)
        if answer is None:
            return Ending(False, result.status, error, body=result.response_start)
        return Ending(False, result.status, error, answer.fields, answer.body)


def callback_of(message: Message, url: str, ending: Ending, accepted_at: int) -> Message:
    """The callback for a message that has its id; it is accepted at this instant.

    Raises:
        ValueError: the URL is none, so it was not read by `callback_url`.
    """
    place = place_of(url)
    body = _body(message, ending)
    head = (
        b"POST %b HTTP/1.1\r\n%bContent-Type: application/json\r\n"
        b"X-Dispatcher-Callback-Of: %b\r\nContent-Length: %d\r\n"
        % (place.target, place.host_line, message.wire_id, len(body))
    )
    return Message(place.destination, head, body, timeout_ms=0, accepted_at=accepted_at)


def mark_callback(message: Message, of: str) -> None:
    """Let a message that came from elsewhere be the callback that it was there, for the message
    with that id."""
    message.head += b"X-Dispatcher-Callback-Of: %b\r\n" % of.encode("ascii")


def is_callback(message: Message) -> bool:
    """Whether a message tells what became of another one. No caller's has that header."""
    return b"\r\nX-Dispatcher-Callback-Of: " in message.head


def _body(message: Message, ending: Ending) -> bytes:
    shown: dict[str, object] = {
        "id": message.wire_id.decode("ascii"),
        "outcome": "delivered" if ending.delivered else "dead",
        "destination": str(message.destination),
        "method": message.method,
        "target": message.target,
        "attempts": message.attempt,
        "status": ending.status,
        "headers": [],
        "body": base64.b64encode(ending.body[:BODY_BYTES]).decode("ascii"),
        "error": ending.error,
    }
    shown["headers"] = list(_pairs(ending.fields, MOST_BYTES - len(_json(shown))))
    return _json(shown)


def _pairs(fields: Sequence[tuple[bytes, bytes]], left_bytes: int) -> Iterator[list[str]]:
    """The first pairs that fit. Every byte of a value is a character of Latin-1."""
    for name, value in fields:
        pair = [name.decode("latin-1"), value.decode("latin-1")]
        left_bytes -= len(_json(pair)) + 1
        if left_bytes < 0:
            return
        yield pair


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
