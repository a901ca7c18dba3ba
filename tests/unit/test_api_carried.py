"""A line of an import: what is read of it, and what is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from dispatcher.api import carried
from dispatcher.api.carried import MAX_ATTEMPTS, Incoming, IncomingLetter, read_line
from dispatcher.api.lines import BadLine
from dispatcher.api.written import write_line
from dispatcher.core.calls import CallReason
from dispatcher.core.message import Message
from dispatcher.core.option_reading import read_options
from dispatcher.core.options import DEADLINE, DELAY, NOT_BEFORE, OPTIONS, TIMEOUT, WAIT, written
from dispatcher.protocol.messages import Any as Any_
from dispatcher.queue.admin.surface import Carried, CarriedCall, InMemory
from dispatcher.queue.admin.views import letter_detail
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.records.dead_calls import CallLetter
from dispatcher.queue.records.history import Attempt, encode_history
from dispatcher.testing.deadcalls import call_letter
from dispatcher.testing.loop import others, run
from dispatcher.testing.queue import destination

LINE = {"destination": "a.example", "method": "POST", "target": "/x"}
ATTEMPT = {"started_at": "2026-01-31T12:00:00Z", "duration_ms": 5, "status": 503}
MAX_BODY = 4 * 1024 * 1024


def read(line: bytes | dict[str, Any]) -> Incoming:
    """What a line says."""
    found = _read(line)
    assert isinstance(found, Incoming)
    return found


def read_call(line: bytes | dict[str, Any]) -> IncomingLetter:
    """What a line of a call says."""
    found = _read(line)
    assert isinstance(found, IncomingLetter)
    return found


def _read(line: bytes | dict[str, Any]) -> Incoming | IncomingLetter:
    data = line if isinstance(line, bytes) else json.dumps(line).encode()
    return run(lambda _: read_line(bytearray(data), MAX_BODY))


def refused(line: bytes | dict[str, Any]) -> str:
    """Why a line is refused."""
    with pytest.raises(BadLine) as error:
        read(line)
    return str(error.value)


def test_more_attempts_than_a_message_has_are_refused() -> None:
    """A letter with all of them would fit into no batch of the log."""
    history = [ATTEMPT] * MAX_ATTEMPTS
    assert read({**LINE, "state": "dead", "history": history}).death is not None
    assert "history" in refused({**LINE, "state": "dead", "history": [*history, ATTEMPT]})


INPUT = base64.b64encode(Any_(type_url="t", value=b"in").SerializeToString()).decode()
CALL = {"kind": "call", "destination": "http://a/base", "function": "f", "body": INPUT}


def test_kind_says_what_a_line_is() -> None:
    """A message, unless it says that it is a call; no other."""
    assert read({**LINE, "kind": "message"}).message.target == "/x"
    assert read_call(CALL).call.function == "f"
    assert "kind" in refused({**LINE, "kind": "letter"})


def test_dead_call_that_was_exported_is_read_with_all_that_is_known_of_it() -> None:
    """Its endpoint as it was spelled, and what every run came to."""
    history = encode_history(
        [
            Attempt(1_704_067_200_000_001, 12, 503, None, 6),
            Attempt(1_704_067_200_000_002, 13, None, None, 0),
            Attempt(1_704_067_200_000_003, 14, None, None, 1),
        ]
    )
    data = Any_(type_url="t", value=bytes(CHUNK_BYTES)).SerializeToString()
    for changed in (
        {"status": 15, "endpoint": "http://A.example:80/base"},
        {"status": 0, "error_type": "Key Error", "endpoint": "bridge://s"},
        {"status": 0, "reason": CallReason.EXPIRED, "endpoint": "promise:order-7"},
    ):
        letter = call_letter(1, attempts=9, history=history, body=data, **changed)

        async def carry(_: object, letter: CallLetter = letter) -> Incoming | IncomingLetter:
            detail = letter_detail(letter, InMemory(letter.body))
            line = b"".join([piece async for piece in write_line(CarriedCall(detail))])
            return await read_line(line, MAX_BODY)

        read_back = run(carry)
        assert isinstance(read_back, IncomingLetter)
        call, detail = read_back.call, letter_detail(letter, InMemory(b""))
        assert b"".join(read_back.body) == data
        assert max(map(len, read_back.body)) <= CHUNK_BYTES
        assert (call.endpoint, call.function, call.call) == (
            letter.endpoint, letter.function, detail.call,
        )  # fmt: skip
        assert (call.reason, call.status, call.detail) == (
            letter.reason, letter.status, letter.detail,
        )  # fmt: skip
        assert (call.attempts, call.history) == (9, detail.history)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"destination": "arn:aws:lambda:x"}, "destination is a Lambda function"),
        ({"destination": "ftp://a"}, "destination must begin with http://"),
        ({"function": "no name"}, "function must be a letter or _"),
        ({"body": base64.b64encode(b"\xff\xff").decode()}, "body: it is no serialized"),
        ({"state": "waiting"}, "state"),
        ({"error": "no such thing"}, "error"),
        ({"history": [{**ATTEMPT, "error": "error:KeyError"}]}, "no status of a run"),
        ({"correlation": -1}, "correlation"),
        ({"headers": []}, "headers"),
        ({"incomplete": True}, "it is not whole"),
    ],
)
def test_call_that_nobody_could_dispatch_is_refused(changed: dict[str, Any], why: str) -> None:
    """With the field, and what is wrong with it."""
    assert why in refused({**CALL, **changed})


def test_line_with_an_attempt_before_1970_is_refused() -> None:
    """No record can hold it."""
    history = [{**ATTEMPT, "started_at": "1969-12-31T23:59:59.999999Z"}]
    assert "it is before 1970" in refused({**LINE, "state": "dead", "history": history})


@pytest.mark.parametrize(
    "line",
    [
        b'{"b\\u006fdy": "aGk=", "destination": "a", "method": "POST", "target": "/"}',
        b'{"body": "", "body": "aGk=", "destination": "a", "method": "POST", "target": "/"}',
        b'{"body": "aGk=", "body": "", "destination": "a", "method": "POST", "target": "/"}',
        b'{"body": "aGk=", "b\\u006fdy": "aG8=", "destination": "a", "method": "G", "target": "/"}',
    ],
)
def test_body_spelled_otherwise_is_not_lost(line: bytes) -> None:
    """It would be imported empty, or another one would be."""
    assert refused(line).startswith("body: ")


@pytest.mark.parametrize("size", [0, 5, 700, CHUNK_BYTES, 3 * CHUNK_BYTES + 1])
@pytest.mark.parametrize(
    "escapes", [{}, {"/": "\\/"}, {"+": "\\u002B", "/": "\\/", "=": "\\u003d"}]
)
def test_escapes_within_a_body_are_read(size: int, escapes: dict[str, str]) -> None:
    """Some writers escape a slash, some a plus; a piece ends within no escape."""
    body = (bytes(range(256)) * (size // 256 + 1))[:size]
    text = base64.b64encode(body).decode()
    for character, escape in escapes.items():
        text = text.replace(character, escape)
    pieces = read(json.dumps(LINE).encode()[:-1] + f', "body" : "{text}"}}'.encode()).body
    assert b"".join(pieces) == body
    assert len({len(piece) for piece in pieces[:-1]}) <= 1


@pytest.mark.parametrize(
    "text", ["aGk", "aGk=\\n", "\\u00e4GVsbG8=", "a\\\\Gk=", "aGk=\\", "\\ud800"]
)
def test_body_that_is_not_base64_is_refused(text: str) -> None:
    """Whatever is escaped in it."""
    assert refused(json.dumps(LINE).encode()[:-1] + f', "body": "{text}"}}'.encode())


def test_quotes_of_a_body_within_a_text_are_no_body() -> None:
    """They are escaped there."""
    line = {**LINE, "detail": '"body": "', "body": "aGk="}
    assert read(line).body == [b"hi"]


def test_line_of_headers_only_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not the body is parsed at once, into objects many times as large; so it is refused
    before that."""
    line = b'{"headers": [' + b'["",""],' * 2_000_000
    with monkeypatch.context() as patched:
        patched.setattr(carried, "_LINES", None)
        assert "besides its body it has more than" in refused(line + b"]}")
    many = {**LINE, "headers": [["a", ""]] * 17_000}
    assert "headers" in refused(many)


def test_header_lines_are_carried_byte_for_byte() -> None:
    """Whatever follows the colon."""
    lines = [b"Host: a.example", b"A:b: c", b"B:", b"C:\td", b"D:  e ", b"E: ", b"f: \xff:"]
    head = b"\r\n".join([b"PUT /x?y HTTP/1.1", *lines, b"Content-Length: 0", b""])
    sent = Message(destination(), head, b"", timeout_ms=0, accepted_at=0)

    async def carry(_: object) -> bytes:
        pieces = [piece async for piece in write_line(Carried(sent, InMemory(b""), None))]
        found = await read_line(b"".join(pieces), MAX_BODY)
        assert isinstance(found, Incoming)
        return found.message.head

    assert run(carry) == head


def test_every_option_that_is_stored_is_carried() -> None:
    """As what it was: instants stay, also where the file is imported long after."""
    values = ("90s", "7", "2027-01-31T12:00:00Z", "https://a.example/told", "rate=10/1m", "abc")
    alone = {DELAY, TIMEOUT, WAIT}
    given = [
        (option, next(one for one in values if option.read(one) is not None))
        for option in OPTIONS
        if option not in {*alone, NOT_BEFORE, DEADLINE}
    ]
    given += [(NOT_BEFORE, "2027-01-31T12:00:00Z"), (DEADLINE, "2028-01-31T12:00:00Z")]
    sent = Message(
        destination(), b"POST / HTTP/1.1\r\nHost: a\r\n", b"", timeout_ms=0, accepted_at=0
    )
    sent.terms = read_options(given, None).terms(0)
    asked = written(sent.terms)
    assert set(asked) == {option.key for option in OPTIONS if option not in alone}

    async def carry(_: object) -> Message:
        pieces = [piece async for piece in write_line(Carried(sent, InMemory(b""), None))]
        found = await read_line(b"".join(pieces), MAX_BODY)
        assert isinstance(found, Incoming)
        return found.message

    found = run(carry)
    # An instant that has passed when this runs is one at which the message may be sent: now.
    assert written(found.terms) in (asked, {k: v for k, v in asked.items() if k != NOT_BEFORE.key})


@pytest.mark.parametrize("name", ["timeout", "wait", "unheard"])
def test_option_that_no_line_may_have_is_refused(name: str) -> None:
    """A timeout has a field of its own, and nobody waits for an import."""
    assert f"options.{name}" in refused({**LINE, "options": {name: "1s"}})


def test_large_body_is_read_in_slices() -> None:
    """Others get their turn meanwhile."""

    async def test(_: object) -> int:
        body = base64.b64encode(bytes(8 * CHUNK_BYTES)).decode()
        with others(every_s=0.001) as seen:
            await read_line(bytearray(json.dumps({**LINE, "body": body}).encode()), MAX_BODY)
        return seen.turns

    assert run(test) >= 8
