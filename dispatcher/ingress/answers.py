"""Renders what callers are told. Pure: everything that changes comes in as an argument."""

from __future__ import annotations

import json
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from dispatcher.core.options import KEY
from dispatcher.errors import Refusal

# How an answer has to look; bits, ored together.
PLAIN: Final = 0
JSON: Final = 1  # the caller named application/json: tell the id in the body too
CLOSE: Final = 2  # say that the connection ends with this answer
KEEP_ALIVE: Final = 4  # say that it does not: an HTTP/1.0 caller asked for that
NO_BODY: Final = 8  # the answer to HEAD: lengths as for GET, without the body
GROUP: Final = 16  # there are several ids, with commas between them

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
ACCEPTED_TAIL: Final = b"\r\nContent-Length: 0\r\n\r\n"
ALLOW: Final = b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"
CHALLENGE: Final = b'WWW-Authenticate: %b realm="dispatcher"\r\n' % KEY.title.encode("ascii")
"""Every 401 has one (RFC 9110 section 15.5.2). The scheme is the header that takes the key."""
PROXY_CHALLENGE: Final = b'Proxy-Authenticate: Basic realm="dispatcher"\r\n'
"""Every 407 has one (section 15.5.8). The scheme is the one that every client knows."""

_PHRASES: Final = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}


def date_line(now_s: float) -> bytes:
    """The `Date` header for this instant, in seconds since the epoch, with its line end."""
    return b"Date: " + formatdate(now_s, usegmt=True).encode("ascii") + b"\r\n"


def accepted_start(date: bytes) -> bytes:
    """What stands before the id in every plain 202: the same bytes for a whole second."""
    return b"HTTP/1.1 202 Accepted\r\n" + date + b"X-Dispatcher-Message-Id: "


def accepted(
    wire_id: bytes, *, style: int, date: bytes, is_duplicate: bool = False, outcome: bytes = b""
) -> bytes:
    """A 202 in any style but the plain one, which is `accepted_start` + id + ACCEPTED_TAIL; or one
    that says that nothing was stored, as the message with this id `is_duplicate` of; or one that
    says what became of the message. In the style GROUP there are several ids, with commas between
    them."""
    body = b""
    if style & JSON:
        ids = wire_id.replace(b",", b'", "')
        body = b'{"ids": ["%b"]}' % ids if style & GROUP else b'{"id": "%b"}' % wire_id
    extra = b"X-Dispatcher-Message-Id: %b\r\n" % wire_id
    if is_duplicate:
        extra += b"X-Dispatcher-Duplicate: true\r\n"
    if outcome:
        extra += b"X-Dispatcher-Outcome: %b\r\n" % outcome
    if body:
        extra += b"Content-Type: application/json\r\n"
    return _answer(202, extra, body, style=style, date=date)


def unanswered(wire_id: bytes, error: str, *, style: int, date: bytes) -> bytes:
    """What a caller gets who waited for a message that was given up without a response."""
    message = (
        f"The message was given up ({error}) without a whole response of its destination. It is "
        "kept as a dead letter; redrive it when the cause is gone."
    )
    extra = (
        b"Content-Type: application/json\r\nX-Dispatcher-Message-Id: %b\r\n"
        b"X-Dispatcher-Outcome: dead\r\n" % wire_id
    )
    body = json.dumps({"error": error, "message": message}).encode("utf-8")
    return _answer(502, extra, body, style=style, date=date)


def refused(refusal: Refusal, *, style: int, date: bytes) -> bytes:
    """The answer of a refusal, in the shape that every error has."""
    extra = b"Content-Type: application/json\r\n"
    if refusal.retry_after_s is not None:
        extra += b"Retry-After: %d\r\n" % refusal.retry_after_s
    if refusal.status == HTTPStatus.METHOD_NOT_ALLOWED:
        extra += ALLOW
    elif refusal.status == HTTPStatus.UNAUTHORIZED:
        extra += CHALLENGE
    elif refusal.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        extra += PROXY_CHALLENGE
    body = json.dumps({"error": refusal.slug, "message": refusal.message}).encode("utf-8")
    phrase = refusal.phrase.encode("ascii")
    return _answer(refusal.status, extra, body, style=style, date=date, phrase=phrase)


def health(status: int, body: bytes, *, style: int, date: bytes) -> bytes:
    """The answer to a load balancer; `body` is JSON."""
    extra = b"Content-Type: application/json\r\nCache-Control: no-store\r\n"
    return _answer(status, extra, body, style=style, date=date)


def names_json(accept: bytes) -> bool:
    """Whether `Accept` names application/json itself and does not refuse it with `q=0`.

    `*/*` and `application/*` do not count: nearly every client sends them without meaning it.
    """
    if b"json" not in accept.lower():
        return False
    return any(_is_json(media_range) for media_range in accept.lower().split(b","))


def _is_json(media_range: bytes) -> bool:
    name, *parameters = (part.strip(b" \t") for part in media_range.split(b";"))
    if name != b"application/json":
        return False
    return not any(_is_zero_weight(parameter) for parameter in parameters)


def _is_zero_weight(parameter: bytes) -> bool:
    name, _, value = parameter.partition(b"=")
    return name.strip(b" \t") == b"q" and value.strip(b" \t") in {
        b"0",
        b"0.",
        b"0.0",
        b"0.00",
        b"0.000",
    }


def _answer(
    status: int, extra: bytes, body: bytes, *, style: int, date: bytes, phrase: bytes = b""
) -> bytes:
    """`body` is JSON, if there is one; it gets a line end, for whoever reads it in a shell."""
    if body:
        body += b"\n"
    connection = b""
    if style & CLOSE:
        connection = b"Connection: close\r\n"
    elif style & KEEP_ALIVE:
        connection = b"Connection: keep-alive\r\n"
    return b"HTTP/1.1 %d %b\r\n%b%b%bContent-Length: %d\r\n\r\n%b" % (
        status,
        phrase or _PHRASES[status],
        date,
        extra,
        connection,
        len(body),
        b"" if style & NO_BODY else body,
    )
