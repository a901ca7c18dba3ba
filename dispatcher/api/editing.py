"""What a dead letter is changed to as it is redriven, read from a request and checked: headers as a
caller's are, and where they are masked, as they were shown, with the values that are stored.

A body may be as large as one that is accepted. Of large ones one is read at a time: each is in
memory until it is stored.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from dispatcher.api.body_field import body_fields, most_line_bytes, read_body, without_body
from dispatcher.api.errors import ApiError
from dispatcher.api.letter_models import RedriveEdit
from dispatcher.api.lines import BadLine
from dispatcher.api.masking import Line, Masking
from dispatcher.api.pieces import pieces
from dispatcher.api.reading import check_type, checked_json
from dispatcher.api.room import too_large
from dispatcher.api.unpacking import coding_of
from dispatcher.core.destination import Destination
from dispatcher.core.options import PREFIX
from dispatcher.ingress.head import Kinds, read_head
from dispatcher.ingress.refusals import MAX_HEAD_BYTES, RequestError
from dispatcher.queue.admin.surface import LetterDetail, LetterEdit

SMALL_BYTES: Final = 1024 * 1024
"""What may be read at any time: it is bounded by the number of connections."""
_TURN_SECONDS: Final = 5.0
_ENDS_HERE: Final = frozenset(
    {
        *("connection", "keep-alive", "proxy-connection", "proxy-authorization", "te", "trailer"),
        *("transfer-encoding", "upgrade", "expect"),
    }
)
"""Headers that no message is sent with."""
_MADE: Final = ("host", "content-length")
"""Headers that are made for destination and body."""
_KINDS: Final = Kinds()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody wants to change: `edit` without the body, and that, if it is changed, in
    pieces."""

    edit: RedriveEdit
    body: Sequence[bytes] | None

    @property
    def parts(self) -> list[str]:
        """The names of what is changed."""
        given = self.edit.model_fields_set
        return [name for name in ("destination", "headers", "body") if name in given]


class Edits:
    """Reads them."""

    def __init__(self, masking: Masking, *, max_body: int) -> None:
        """Bodies have at most `max_body` bytes."""
        self._masking = masking
        self._max_body = max_body
        self._one_at_a_time = asyncio.Lock()

    @asynccontextmanager
    async def read(self, request: web.Request) -> AsyncIterator[Wanted]:
        """Read a request, and keep its turn for as long as its body is needed.

        Raises:
            ApiError: 400, 408, 413 or 415; or 503, where another large one has its turn.
        """
        raw = bytearray()
        came = pieces(request.content, coding_of(request))
        while len(raw) <= SMALL_BYTES and (data := await anext(came, b"")):
            raw += data
        if raw:
            check_type(request)
        if len(raw) <= SMALL_BYTES:
            yield await self._wanted(raw)
            return
        await self._take_turn()
        try:
            most = most_line_bytes(self._max_body)
            async for data in came:
                raw += data
                if len(raw) > most:
                    raise too_large(most)
            yield await self._wanted(raw)
        finally:
            self._one_at_a_time.release()

    async def _take_turn(self) -> None:
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                await self._one_at_a_time.acquire()
        except TimeoutError:
            raise ApiError(
                503,
                "api_busy",
                "Another large body is being read; ask again later.",
                headers={"Retry-After": "1"},
            ) from None

    async def _wanted(self, raw: bytearray) -> Wanted:
        if not raw:
            return Wanted(RedriveEdit.model_validate({}), None)
        try:
            rest, encoded = without_body(raw)
            edit = checked_json(rest, RedriveEdit)
            if "body" not in edit.model_fields_set:
                return Wanted(edit, None)
            if edit.body or len(body_fields(rest)) > 1:
                raise BadLine("body: it is there twice, or its name is spelled with escapes")
            body = await read_body(encoded)
        except BadLine as error:
            raise ApiError(400, "body_invalid", f"The body: {error}.") from error
        size = sum(map(len, body))
        if size > self._max_body:
            raise too_large(self._max_body)
        return Wanted(edit, body)

    def applied(self, wanted: Wanted, detail: LetterDetail) -> LetterEdit:
        """What a letter is changed to.

        Raises:
            ApiError: 400; its headers cannot be sent, or are masked otherwise than they were shown.
        """
        edit = wanted.edit
        lines = None
        if edit.headers is not None:
            try:
                given = [(name, value) for name, value in edit.headers]
                restored = self._masking.restored(given, detail.headers)
                lines = header_lines(restored, detail.headers)
            except ValueError as error:
                text = f"The body: field `headers`: {error}."
                raise ApiError(400, "body_invalid", text) from error
        to = edit.destination
        destination = None if to is None else Destination.parse(to)
        return LetterEdit(detail.redrives, destination, lines, wanted.body)


def header_lines(headers: Sequence[tuple[str, str]], stored: Sequence[Line]) -> bytes:
    """Headers as they are sent, each with its line end. Of those of our own only such as are
    stored may be there.

    Raises:
        ValueError: they could not be sent, or not as they are; with a sentence that says why.
    """
    try:
        lines = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    except UnicodeEncodeError:
        raise ValueError("names and values are Latin-1: one character a byte") from None
    for (name, _), line in zip(headers, lines, strict=True):
        lower = name.lower()
        if lower in _ENDS_HERE:
            raise ValueError(f"{name} is of a connection, and never sent with a message")
        if lower.startswith(PREFIX.lower()) and line not in stored:
            raise ValueError(f"{name} is for the dispatcher, and never sent with a message")
    names = Counter(name.lower() for name, _ in headers)
    for made in _MADE:
        if names[made] > 1:
            raise ValueError(f"{made} is there more than once")
    _check_syntax(lines)
    return b"".join(name + b": " + value + b"\r\n" for name, value in lines)


def _check_syntax(lines: Sequence[Line]) -> None:
    """See that a caller could have sent these."""
    plain = [
        name + b": " + value
        for name, value in lines
        if name.lower().decode("latin-1") not in _MADE and not name.lower().startswith(_OURS)
    ]
    raw = b"\r\n".join([b"POST / HTTP/1.1", b"Host: edited", *plain])
    if len(raw) > MAX_HEAD_BYTES:
        raise ValueError(f"they have more than {MAX_HEAD_BYTES} bytes")
    # Of those that are made too: only what lies before a line end would be made anew.
    if any(b"\r" in part or b"\n" in part for line in lines for part in line):
        raise ValueError("there is a line end in one of them")
    try:
        read_head(raw, _KINDS)
    except RequestError as error:
        raise ValueError(error.refusal.message.rstrip(".")) from error


_OURS: Final = PREFIX.lower().encode("ascii")
