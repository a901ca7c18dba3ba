"""What callers are told, byte for byte."""

from __future__ import annotations

import json

import pytest

from dispatcher.errors import Refusal
from dispatcher.ingress import answers, refusals

DATE = answers.date_line(784111777.0)
ID = b"0001" + b"0" * 24


def test_date_is_in_the_format_of_http() -> None:
    """RFC 9110 section 5.6.7."""
    assert DATE == b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"


def test_202_is_the_same_whichever_way_it_is_made() -> None:
    """The short way for the plain answer and the general one agree."""
    quick = answers.accepted_start(DATE) + ID + answers.ACCEPTED_TAIL
    assert quick == answers.accepted(ID, style=answers.PLAIN, date=DATE)
    assert quick == (
        b"HTTP/1.1 202 Accepted\r\n" + DATE + b"X-Dispatcher-Message-Id: " + ID + b"\r\n"
        b"Content-Length: 0\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("style", "line"),
    [
        (answers.CLOSE, b"Connection: close\r\n"),
        (answers.KEEP_ALIVE, b"Connection: keep-alive\r\n"),
    ],
)
def test_connection_is_told_when_it_is_not_the_default(style: int, line: bytes) -> None:
    """Callers see whether they may send more."""
    assert line in answers.accepted(ID, style=style, date=DATE)
    assert line in answers.refused(Refusal(400, "x", "y"), style=style, date=DATE)
    assert line in answers.health(200, b"{}", style=style, date=DATE)


def test_202_tells_the_id_in_json_when_asked() -> None:
    """The body is there, has a type, and its length is right; HEAD gets everything but the body."""
    answer = answers.accepted(ID, style=answers.JSON, date=DATE)
    head, body = answer.split(b"\r\n\r\n")
    assert json.loads(body) == {"id": ID.decode()}
    assert b"Content-Type: application/json" in head
    assert b"Content-Length: %d" % len(body) in head
    assert (
        answers.accepted(ID, style=answers.JSON | answers.NO_BODY, date=DATE) == head + b"\r\n\r\n"
    )


def test_refusal_says_what_is_wrong_in_json() -> None:
    """`error` is the slug, `message` the text; Retry-After where there is one."""
    refusal = Refusal(503, "disk_full", 'Full. "Quoted" äöü.', retry_after_s=7)
    answer = answers.refused(refusal, style=answers.PLAIN, date=DATE)
    head, body = answer.split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"\r\nRetry-After: 7\r\n" in head
    assert json.loads(body) == {"error": "disk_full", "message": 'Full. "Quoted" äöü.'}
    assert head.endswith(b"Content-Length: %d" % len(body))


def test_405_tells_what_is_allowed() -> None:
    """RFC 9110 section 15.5.6; other refusals have neither Allow nor Retry-After."""
    assert b"\r\nAllow: " in answers.refused(Refusal(405, "x", "y"), style=0, date=DATE)
    other = answers.refused(Refusal(400, "x", "y"), style=0, date=DATE)
    assert b"Allow" not in other
    assert b"Retry-After" not in other


def test_401_tells_how_to_show_a_key() -> None:
    """RFC 9110 section 15.5.2: without it Java's client throws instead of returning the answer."""
    answer = answers.refused(refusals.KEY, style=0, date=DATE)
    assert b'\r\nWWW-Authenticate: X-Dispatcher-Key realm="dispatcher"\r\n' in answer


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (b"application/json", True),
        (b" Application/JSON ", True),
        (b"text/html, application/json;charset=utf-8;q=0.1", True),
        (b"application/json;q=1.000", True),
        (b"application/json ; q=0", False),
        (b"application/json;q=0.000", False),
        (b"*/*", False),
        (b"application/*", False),
        (b"", False),
        (b"application/jsonp", False),
        (b"application/problem+json", False),
        (b"text/json", False),
        (b"text/html;x=application/json", False),
        (b"application/json;q=0, application/json", True),
    ],
)
def test_json_is_named_only_by_its_own_name(accept: bytes, expected: bool) -> None:
    """Ranges do not count: nearly every client sends `*/*` without meaning it."""
    assert answers.names_json(accept) is expected
