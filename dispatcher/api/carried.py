"""A message as a line of NDJSON, as an import reads it; `written` writes it. A line may be a dead
call instead: `carried_calls`.

What an import needs is `destination`, `method`, `target`, `headers`, `body` and `timeout_ms`; of a
dead letter also why it died. The rest is for who reads the file. The header block is that of the
request as it is sent, so a message that is carried to another dispatcher is sent byte for byte as
it would have been here.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import Discriminator, Field, Tag, TypeAdapter, ValidationError

from dispatcher.api.carried_calls import CarriedCallLine, incoming_call
from dispatcher.api.errors import ApiError
from dispatcher.api.fields import DestinationIn, InstantIn
from dispatcher.api.lines import MAX_RUNS, BadLine, NotBeforeEpoch
from dispatcher.api.models import Input
from dispatcher.core.message import Message
from dispatcher.core.options import ORIGIN, TIMEOUT
from dispatcher.core.outcome import Failure
from dispatcher.core.verdict import DeadReason
from dispatcher.ingress.config import IngressConfig
from dispatcher.ingress.forward import forward
from dispatcher.ingress.head import Kinds, read_head
from dispatcher.ingress.refusals import RequestError
from dispatcher.queue.admin.pace import REST_SECONDS
from dispatcher.queue.admin.surface import AttemptView, Carrier, Death, IncomingCall
from dispatcher.queue.ports import CHUNK_BYTES

MAX_HEAD_BYTES: Final = 64 * 1024
MAX_ATTEMPTS: Final = MAX_RUNS
_MAX_REST_BYTES: Final = 1024 * 1024
"""What a line may have besides its body; one that is exported has half of it at most."""
_MAX_HEADERS: Final = MAX_HEAD_BYTES // len("a:\r\n")
_KINDS: Final = Kinds()
_BODY: Final = re.compile(rb'"body"\s*:\s*"')
_ENCODED_BYTES: Final = CHUNK_BYTES // 3 * 4
"""A multiple of 4: so many characters of base64 are at most a chunk."""
_ESCAPE_BYTES: Final = len(r"\u002B")

Text = Annotated[str, Field(pattern=r"^[^\r\n\x00]*$")]

HeaderLine = Annotated[tuple[Text, ...], Field(min_length=1, max_length=2)]
"""Name and value, or a line as it is, where something else than one blank follows the colon."""


class CarriedAttempt(Input):
    """One attempt of a dead letter."""

    started_at: NotBeforeEpoch
    duration_ms: int = Field(ge=0, le=0xFFFFFFFF)
    status: int | None = Field(None, ge=100, le=999)
    error: Failure | None = None


class CarriedLine(Input):
    """One line of an export."""

    kind: Literal["message"] = "message"
    state: Literal["waiting", "dead"] = "waiting"
    destination: DestinationIn
    method: str
    target: str
    headers: tuple[HeaderLine, ...] = Field((), max_length=_MAX_HEADERS)
    body: str = ""
    timeout_ms: int | None = Field(None, ge=1, le=3_600_000)
    reason: DeadReason = DeadReason.REJECTED
    detail: str = Field("", max_length=512)
    attempts: int = Field(0, ge=0, le=0xFFFF)
    history: tuple[CarriedAttempt, ...] = Field((), max_length=MAX_ATTEMPTS)
    response_start: str = Field("", description="Base64.")
    id: str = ""
    accepted_at: InstantIn | None = None
    dead_at: InstantIn | None = None
    incomplete: bool = False


def _kind(value: object) -> str:
    return "call" if isinstance(value, Mapping) and value.get("kind") == "call" else "message"


_LINES: Final[TypeAdapter[CarriedLine | CarriedCallLine]] = TypeAdapter(
    Annotated[
        Annotated[CarriedLine, Tag("message")] | Annotated[CarriedCallLine, Tag("call")],
        Discriminator(_kind),
    ]
)


def most_line_bytes(max_body: int) -> int:
    """How long a line may be when bodies have at most `max_body` bytes."""
    return max_body // 3 * 4 + _MAX_REST_BYTES


class Incoming(NamedTuple):
    """A message of a line; its body is in pieces of at most `ports.CHUNK_BYTES`."""

    message: Message
    body: list[bytes]
    death: Death | None

    @property
    def is_large(self) -> bool:
        """Whether its body is stored in records of its own."""
        return len(self.body) > 1

    @property
    def is_dead(self) -> bool:
        """Whether it goes into the dead-letter log."""
        return self.death is not None

    async def store(self, carrier: Carrier) -> None:
        """Store it; see `Carrier.take`."""
        await carrier.take(self.message, self.body, self.death)


class IncomingLetter(NamedTuple):
    """A dead call of a line; its input is in pieces as of `Incoming`."""

    call: IncomingCall
    body: list[bytes]

    @property
    def is_large(self) -> bool:
        """As of `Incoming`, like the next two."""
        return len(self.body) > 1

    @property
    def is_dead(self) -> bool:
        return True

    async def store(self, carrier: Carrier) -> None:
        await carrier.take_call(self.call, self.body)


async def read_line(line: bytes | bytearray, max_body: int) -> Incoming | IncomingLetter:
    """Read a line. The body is taken apart a piece at a time, with a rest after each: in one call a
    large one would hold up every message for a tenth of a second.

    Raises:
        BadLine: it is not as `CarriedLine` or `CarriedCallLine` says, or not what could be
            accepted.
    """
    rest, encoded = _without_body(line)
    try:
        given = _LINES.validate_json(rest)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"][1:]))  # behind the tag
        raise BadLine(f"{where}: {problem['msg']}" if where else problem["msg"]) from error
    except ApiError as error:
        raise BadLine(error.message) from error
    if given.incomplete:
        raise BadLine(
            "it is not whole: the message ended, or could not be read, while it was exported"
        )
    if given.body or len(_body_fields(rest)) > 1:
        raise BadLine("body: it is there twice, or its name is spelled with escapes")
    body = await _read_body(encoded)
    if isinstance(given, CarriedCallLine):
        return IncomingLetter(incoming_call(given, b"".join(body)), body)
    message = _message(given, sum(map(len, body)), max_body)
    return Incoming(message, body, _death(given) if given.state == "dead" else None)


def _without_body(line: bytes | bytearray) -> tuple[bytes, memoryview]:
    """A line with an empty body, and what its body was."""
    view = memoryview(line)
    start = end = 0
    if found := _body_fields(line):
        start = found[0].end()
        end = line.find(b'"', start)
        if end < 0:
            raise BadLine("it is not JSON: a string does not end")
    if len(line) - (end - start) > _MAX_REST_BYTES:
        raise BadLine(f"besides its body it has more than {_MAX_REST_BYTES} bytes")
    return b"".join((view[:start], view[end:])), view[start:end]


def _body_fields(line: bytes | bytearray) -> list[re.Match[bytes]]:
    """Where fields of the name `body` are. Quotes within a string are escaped, so what is found is
    a field; what lies behind so many bytes is one of a line that is refused, or within a body."""
    found = _BODY.finditer(line, 0, _MAX_REST_BYTES)
    return [one for one in found if line[one.start() - 1 : one.start()] != b"\\"]


async def _read_body(encoded: memoryview) -> list[bytes]:
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
            body.append(_decoded(text[:_ENCODED_BYTES], "body"))
            del text[:_ENCODED_BYTES]
    if text:
        body.append(_decoded(text, "body"))
    return body


def _unescaped(piece: bytes) -> bytes:
    """A piece of a string of JSON: some writers escape the slash, or the plus."""
    if b"\\" not in piece:
        return piece
    try:
        return str(json.loads(b'"%b"' % piece)).encode("ascii")
    except ValueError as error:
        raise BadLine("body: not base64") from error


def _message(given: CarriedLine, size: int, max_body: int) -> Message:
    lines = [f"{given.method} {given.target} HTTP/1.1", f"{ORIGIN.title}: {given.destination}"]
    has_host = has_length = False
    for header in given.headers:
        name = header[0].partition(":")[0]
        lower = name.lower()
        if lower == "content-length":
            has_length = True
            lines.append(f"{name}: {size}")
        else:
            has_host |= lower == "host"
            lines.append(": ".join(header))
    if not has_host:
        lines.insert(1, "Host: imported")
    if size and not has_length:
        lines.append(f"Content-Length: {size}")
    if given.timeout_ms is not None:
        lines.append(f"{TIMEOUT.title}: {given.timeout_ms}")
    try:
        raw = "\r\n".join(lines).encode("latin-1")
        if len(raw) > MAX_HEAD_BYTES:
            raise BadLine(f"method, target and headers have more than {MAX_HEAD_BYTES} bytes")
        wanted = forward(read_head(raw, _KINDS), IngressConfig("", 0, max_body=max_body))
    except UnicodeEncodeError as error:
        raise BadLine("method, target and headers are Latin-1: one character a byte") from error
    except RequestError as error:
        raise BadLine(error.refusal.message) from error
    return Message(
        wanted.destination,
        wanted.head_with_length(size),
        b"",
        timeout_ms=wanted.options.timeout_ms or 0,
        accepted_at=0,
        body_size=size,
    )


def _death(given: CarriedLine) -> Death:
    attempts = max(given.attempts, len(given.history))
    return Death(
        dead_at_us=0,
        reason=given.reason.value,
        detail=given.detail,
        response_start=_decoded(given.response_start, "response_start"),
        attempts=attempts,
        history=[
            AttemptView(
                number,
                one.started_at,
                one.duration_ms,
                one.status,
                None if one.error is None else one.error.value,
                None,
            )
            for number, one in enumerate(given.history, attempts - len(given.history) + 1)
        ],
    )


def _decoded(text: str | bytes | bytearray, name: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise BadLine(f"{name}: not base64: {error}") from error
