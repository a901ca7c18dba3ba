"""The field `body` of a line, or of another JSON object: a body in base64, of any size.

It is taken out before the object is read, and then taken apart a piece at a time, with a rest after
each: in one call a large one would hold up every message for a tenth of a second.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from typing import Final

from dispatcher.api.lines import BadLine
from dispatcher.queue.admin.pace import REST_SECONDS
from dispatcher.queue.ports import CHUNK_BYTES

MAX_REST_BYTES: Final = 1024 * 1024
"""What a line may have besides its body; one that is exported has half of it at most."""
_BODY: Final = re.compile(rb'"body"\s*:\s*"')
_ENCODED_BYTES: Final = CHUNK_BYTES // 3 * 4
"""A multiple of 4: so many characters of base64 are at most a chunk."""
_ESCAPE_BYTES: Final = len(r"\u002B")


def most_line_bytes(max_body: int) -> int:
    """How long a line may be when bodies have at most `max_body` bytes."""
    return max_body // 3 * 4 + MAX_REST_BYTES


def without_body(line: bytes | bytearray) -> tuple[bytes, memoryview]:
    """A line with an empty body, and what its body was."""
    view = memoryview(line)
    start = end = 0
    if found := body_fields(line):
        start = found[0].end()
        end = line.find(b'"', start)
        if end < 0:
            raise BadLine("it is not JSON: a string does not end")
    if len(line) - (end - start) > MAX_REST_BYTES:
        raise BadLine(f"besides its body it has more than {MAX_REST_BYTES} bytes")
    return b"".join((view[:start], view[end:])), view[start:end]


def body_fields(line: bytes | bytearray) -> list[re.Match[bytes]]:
    """Where fields of the name `body` are. Quotes within a string are escaped, so what is found is
    a field; what lies behind so many bytes is one of a line that is refused, or within a body."""
    found = _BODY.finditer(line, 0, MAX_REST_BYTES)
    return [one for one in found if line[one.start() - 1 : one.start()] != b"\\"]


async def read_body(encoded: memoryview) -> list[bytes]:
    """What such a body is, in pieces of at most `ports.CHUNK_BYTES`.

    Raises:
        BadLine: it is not base64.
    """
    body: list[bytes] = []
    text = bytearray()  # what is not decoded yet
    at = 0
    while at < len(encoded):
        if at:
            await asyncio.sleep(REST_SECONDS)
        piece = bytes(encoded[at : at + _ENCODED_BYTES])
        is_last = at + len(piece) == len(encoded)
        escape = -1 if is_last else piece.rfind(b"\\", -_ESCAPE_BYTES)
        if escape > 0:  # the next piece has all of it
            piece = piece[:escape]
        at += len(piece)
        text += _unescaped(piece)
        while len(text) >= _ENCODED_BYTES:
            body.append(decoded(text[:_ENCODED_BYTES], "body"))
            del text[:_ENCODED_BYTES]
    if text:
        body.append(decoded(text, "body"))
    return body


def _unescaped(piece: bytes) -> bytes:
    """A piece of a string of JSON: some writers escape the slash, or the plus."""
    if b"\\" not in piece:
        return piece
    try:
        return str(json.loads(b'"%b"' % piece)).encode("ascii")
    except ValueError as error:
        raise BadLine("body: not base64") from error


def decoded(text: str | bytes | bytearray, name: str) -> bytes:
    """What a field says in base64.

    Raises:
        BadLine: it is not that.
    """
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise BadLine(f"{name}: not base64: {error}") from error
