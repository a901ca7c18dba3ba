"""What a callback says: JSON that always fits, whatever a destination answered."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.answer import Answer
from dispatcher.core.callbacks import (
    BODY_BYTES,
    MOST_BYTES,
    Ending,
    callback_of,
    callback_url,
    place_of,
    url_for,
)
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.core.terms import Terms
from dispatcher.testing.queue import message

URL = "http://told.example/hook"
ANSWER = Answer(201, b"", None, b"said", fields=((b"A", b"1"),))


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=30), st.binary(max_size=300)), max_size=20),
    st.binary(max_size=300),
    st.none() | st.integers(100, 599),
    st.booleans(),
)
def test_what_was_answered_is_in_the_callback(
    fields: list[tuple[bytes, bytes]], body: bytes, status: int | None, delivered: bool
) -> None:
    """Every byte of names, values and body can be had back, in order."""
    sent = message(name="a")
    sent.wire_id = b"0" * 32
    error = None if delivered else "timeout"
    callback = callback_of(sent, URL, Ending(delivered, status, error, fields, body), 5)
    shown = json.loads(callback.body)
    assert list(shown) == [
        *("id", "outcome", "destination", "method", "target", "attempts", "status", "headers"),
        *("body", "error"),
    ]
    pairs = [tuple(part.encode("latin-1") for part in pair) for pair in shown["headers"]]
    assert pairs == fields
    assert base64.b64decode(shown["body"]) == body
    assert (shown["status"], shown["error"]) == (status, error)
    assert callback.accepted_at == 5
    assert b"\r\nContent-Length: %d\r\n" % len(callback.body) in callback.head


def test_callback_is_never_too_large_for_one_record() -> None:
    """The first 64 KiB of the body, and as many headers as fit beside them."""
    sent = message(name="x" * 60_000)
    sent.wire_id = b"0" * 32
    fields = [(b"A", b"\x00" * 8_000) for _ in range(8)]
    callback = callback_of(sent, URL, Ending(True, 200, None, fields, b"y" * 100_000), 5)
    assert len(callback.body) <= MOST_BYTES
    shown = json.loads(callback.body)
    assert base64.b64decode(shown["body"]) == b"y" * BODY_BYTES
    assert 0 < len(shown["headers"]) < len(fields)


@pytest.mark.parametrize(
    ("url", "host", "target"),
    [
        ("http://a.example", b"a.example", b"/"),
        ("HTTPS://A.example:443/b?c=d", b"a.example", b"/b?c=d"),
        ("http://[::1]:81?x", b"[::1]:81", b"/?x"),
        ("http://a/%2F//", b"a", b"/%2F//"),
    ],
)
def test_url_says_where_a_callback_goes(url: str, host: bytes, target: bytes) -> None:
    """Path and query are sent as they were given."""
    place = place_of(url)
    assert (place.host_line, place.target) == (b"Host: " + host + b"\r\n", target)
    assert callback_url(url) == url


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=30))
def test_value_that_is_taken_never_breaks_a_head(rest: str) -> None:
    """Whatever a caller sends: it is refused, or a request line comes of it."""
    url = callback_url("http://" + rest)
    if url is not None:
        sent = message()
        sent.wire_id = b"0" * 32
        head = callback_of(sent, url, Ending(True, 200, None), 1).head
        assert len(head.split(b"\r\n")[0].split(b" ")) == 3
        assert head.count(b"\r\n") == 5


def test_ending_says_what_the_last_attempt_came_to() -> None:
    """What has expired came to nothing; a failure has its slug, also where there was a status."""
    plain = Ending.of_delivered(ANSWER, None)
    assert (plain.status, plain.error, plain.body) == (201, None, b"said")
    any_response = AttemptResult(500, None, "", 1)
    assert Ending.of_delivered(None, any_response).status == 500
    broken = AttemptResult(404, Failure.BROKEN, "", 1, None, b"sta")
    dead = Ending.of_dead(None, broken, told=None)
    assert (dead.status, dead.error, dead.body) == (404, "broken_response", b"sta")
    late = Ending.of_dead(ANSWER, any_response, told="expired")
    assert (late.status, late.error, late.body, late.fields) == (None, "expired", b"", ())


def test_each_outcome_has_its_own_url() -> None:
    """A message without terms has none."""
    terms = Terms(callback="http://a", failure_callback="http://b")
    assert url_for(terms, delivered=True) == "http://a"
    assert url_for(terms, delivered=False) == "http://b"
    assert not url_for(None, delivered=True)
    assert not Terms(label="x").calls_back
