"""The destination's answer, for a caller who waited for it. Pure.

Its status, its headers but for those that end with its own connection (RFC 9110 section 7.6.1), and
its body. What was read of its head was not as strict as what callers may rely on, so a field that
could be read as two, or as none, is left out.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final

from dispatcher.core.answer import Answer
from dispatcher.core.options import PREFIX
from dispatcher.core.tokens import TOKEN
from dispatcher.ingress.answers import CLOSE, KEEP_ALIVE, NO_BODY

_HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_OURS: Final = PREFIX.lower().encode("ascii")
_LENGTH: Final = b"content-length"
_NAME: Final = re.compile(TOKEN)
_UNSAFE: Final = re.compile(rb"[\x00\r\n]")
_PHRASES: Final = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}
_WITHOUT_BODY: Final = frozenset({204, 304})


def relayed(answer: Answer, wire_id: bytes, *, outcome: bytes, style: int, date: bytes) -> bytes:
    """The answer of a destination, with the id of the message and what became of it (`delivered` or
    `dead`). `style` and `date` are as in `answers`."""
    dropped = _HOP_BY_HOP | _named_in_connection(answer)
    lines: list[bytes] = []
    length = b""
    for name, value in answer.fields:
        low = name.lower()
        if low == _LENGTH:
            length = value
        elif low not in dropped and not low.startswith(_OURS) and _is_safe(name, value):
            lines.append(b"%b: %b\r\n" % (name, value))
            if low == b"date":
                date = b""
    return b"HTTP/1.1 %d %b\r\n%b%bX-Dispatcher-Message-Id: %b\r\n%b%b%b\r\n%b" % (
        answer.status,
        _PHRASES.get(answer.status, b""),
        date,
        b"".join(lines),
        wire_id,
        b"X-Dispatcher-Outcome: %b\r\n" % outcome,
        _length_line(answer, length, style),
        _connection_line(style),
        b"" if style & NO_BODY or answer.status in _WITHOUT_BODY else answer.body,
    )


def _named_in_connection(answer: Answer) -> frozenset[bytes]:
    values = [value for name, value in answer.fields if name.lower() == b"connection"]
    return frozenset(one.strip(b" \t") for one in b",".join(values).lower().split(b","))


def _is_safe(name: bytes, value: bytes) -> bool:
    return _NAME.fullmatch(name) is not None and _UNSAFE.search(value) is None


def _length_line(answer: Answer, said: bytes, style: int) -> bytes:
    """Where there is no body the length is what the destination said that it would be, if it said
    anything; a 204 has none (RFC 9110 section 8.6)."""
    if answer.status == 204:
        return b""
    if style & NO_BODY or answer.status in _WITHOUT_BODY:
        return b"Content-Length: %b\r\n" % said if said.isdigit() else b""
    return b"Content-Length: %d\r\n" % len(answer.body)


def _connection_line(style: int) -> bytes:
    if style & CLOSE:
        return b"Connection: close\r\n"
    return b"Connection: keep-alive\r\n" if style & KEEP_ALIVE else b""
