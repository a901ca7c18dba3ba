"""Heads of requests and answers, as they are passed on. Pure.

Answers are those of this program's own API: what is not as it writes them is `Broken`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

RawHeaders = Sequence[tuple[bytes, bytes]]

CLIENT: Final = b"X-Dispatcher-Client"
"""Names the address of the caller, to the API alone."""
_OF_CONNECTION: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade")
)
_SIZE: Final = re.compile(rb"[0-9A-Fa-f]{1,12}")
_EMPTY: Final = frozenset((204, 304))


class Broken(ConnectionError):
    """What came is no answer, or not all of one."""


def request_head(
    method: str, target: str, headers: RawHeaders, *, client: str | None, is_chunked: bool
) -> bytes:
    """The head of a request as it is passed on. `client` is the address of the caller; the body,
    where its length is not among the headers, is sent in chunks."""
    lines = [f"{method} {target} HTTP/1.1".encode("utf-8", "surrogateescape")]
    lines += [b"%b: %b" % one for one in _lasting(headers) if one[0].lower() != CLIENT.lower()]
    if client:
        lines.append(b"%b: %b" % (CLIENT, client.encode("utf-8", "surrogateescape")))
    if is_chunked:
        lines.append(b"Transfer-Encoding: chunked")
    return b"\r\n".join([*lines, b"", b""])


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """The head of an answer. `size_bytes` is that of its body; None: that comes in chunks.
    `headers` are those that do not belong to the connection, which `closes` after it."""

    status: int
    reason: str
    headers: Sequence[tuple[str, str]]
    size_bytes: int | None
    closes: bool


def answer_head(head: bytes, method: str) -> AnswerHead:
    """Read the head of an answer to a request with this method.

    Raises:
        Broken: it is none.
    """
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    version, _, rest = first.partition(b" ")
    status, _, reason = rest.partition(b" ")
    if version != b"HTTP/1.1" or not (len(status) == 3 and status.isdigit()):
        raise Broken("that is no answer")
    headers = [_field(line) for line in lines]
    fields = {name.lower(): value for name, value in headers}
    number = int(status)
    return AnswerHead(
        number,
        _text(reason),
        [(_text(name), _text(value)) for name, value in _lasting(headers)],
        0 if method == "HEAD" or number in _EMPTY or number < 200 else _size(fields),
        fields.get(b"connection", b"").lower() == b"close",
    )


def _size(fields: dict[bytes, bytes]) -> int | None:
    if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
        return None
    size = fields.get(b"content-length", b"")
    if not size.isdigit():
        raise Broken("the answer does not say how long it is")
    return int(size)


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon:
        raise Broken("that is no header")
    return name, value.strip(b" \t")


def _lasting(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[bytes, bytes]]:
    return (one for one in headers if one[0].lower() not in _OF_CONNECTION)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def chunk_size(line: bytes) -> int:
    """How many bytes follow in a chunk; 0 after the last one.

    Raises:
        Broken: it is no beginning of a chunk.
    """
    size = line.partition(b";")[0].strip(b" \t")
    if not _SIZE.fullmatch(size):
        raise Broken("that is no chunk")
    return int(size, 16)
