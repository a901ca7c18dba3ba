"""A line of an import: what is read of it, and what is refused."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest

from dispatcher.api.carried import MAX_ATTEMPTS, BadLine, Incoming, read_line
from dispatcher.api.written import write_line
from dispatcher.core.message import Message
from dispatcher.queue.admin.surface import Carried, InMemory
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.testing.loop import others, run
from dispatcher.testing.queue import destination

LINE = {"destination": "a.example", "method": "POST", "target": "/x"}
ATTEMPT = {"started_at": "2026-01-31T12:00:00Z", "duration_ms": 5, "status": 503}
MAX_BODY = 4 * 1024 * 1024


def read(line: bytes | dict[str, Any]) -> Incoming:
    """What a line says."""
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


def test_dead_call_is_refused_with_what_to_do() -> None:
    """The others of an import go on; a line may say that it is a message."""
    assert read({**LINE, "kind": "message"}).message.target == "/x"
    line = {"kind": "call", "state": "dead", "destination": "http://a", "function": "f"}
    assert "function call, which can't be imported; dispatch it again" in refused(line)


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


def test_line_of_headers_only_is_bounded() -> None:
    """What is not the body is parsed at once, into objects many times as large."""
    line = b'{"headers": [' + b'["",""],' * 2_000_000
    began = time.perf_counter()
    assert "besides its body it has more than" in refused(line + b"]}")
    assert time.perf_counter() - began < 0.5
    many = {**LINE, "headers": [["a", ""]] * 17_000}
    assert "headers" in refused(many)


def test_header_lines_are_carried_byte_for_byte() -> None:
    """Whatever follows the colon."""
    lines = [b"Host: a.example", b"A:b: c", b"B:", b"C:\td", b"D:  e ", b"E: ", b"f: \xff:"]
    head = b"\r\n".join([b"PUT /x?y HTTP/1.1", *lines, b"Content-Length: 0", b""])
    sent = Message(destination(), head, b"", timeout_ms=0, accepted_at=0)

    async def carry(_: object) -> bytes:
        pieces = [piece async for piece in write_line(Carried(sent, InMemory(b""), None))]
        return (await read_line(b"".join(pieces), MAX_BODY)).message.head

    assert run(carry) == head


def test_large_body_is_read_in_slices() -> None:
    """Others get their turn meanwhile."""

    async def test(_: object) -> int:
        body = base64.b64encode(bytes(8 * CHUNK_BYTES)).decode()
        with others(every_s=0.001) as seen:
            await read_line(bytearray(json.dumps({**LINE, "body": body}).encode()), MAX_BODY)
        return seen.turns

    assert run(test) >= 8
