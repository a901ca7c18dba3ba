"""A message as a line of NDJSON, as an import reads it; `written` writes it. A line may be a dead
call instead: `carried_calls`.

What an import needs is `destination`, `method`, `target`, `headers`, `body`, `timeout_ms` and
`options` (`core.options`), and `key_place` where its idempotency key belongs to something else than
its destination; of a dead letter also why it died. The rest is for who reads the file.
The header block is that of the request as it is sent, so a message that is carried to another
dispatcher is sent byte for byte as it would have been here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import Discriminator, Field, Tag, TypeAdapter, ValidationError

from dispatcher.api.body_field import body_fields, decoded, read_body, without_body
from dispatcher.api.carried_calls import CarriedCallLine, incoming_call
from dispatcher.api.errors import ApiError
from dispatcher.api.fields import DestinationIn, InstantIn
from dispatcher.api.lines import MAX_RUNS, BadLine, NotBeforeEpoch, known_id
from dispatcher.api.models import DEFERRED, Input
from dispatcher.core.callbacks import mark_callback
from dispatcher.core.message import Message
from dispatcher.core.options import BY_KEY, OPTIONS, ORIGIN, TIMEOUT
from dispatcher.core.outcome import Failure
from dispatcher.core.terms import Terms
from dispatcher.core.verdict import DeadReason
from dispatcher.ingress.config import IngressConfig
from dispatcher.ingress.forward import forward
from dispatcher.ingress.head import Kinds, read_head
from dispatcher.ingress.refusals import RequestError
from dispatcher.queue.admin.surface import AttemptView, Carrier, Death, IncomingCall

MAX_HEAD_BYTES: Final = 64 * 1024
MAX_ATTEMPTS: Final = MAX_RUNS
_MAX_HEADERS: Final = MAX_HEAD_BYTES // len("a:\r\n")
_CALLBACK_OF: Final = "x-dispatcher-callback-of"
_KINDS: Final = Kinds()

Text = Annotated[str, Field(pattern=r"^[^\r\n\x00]*$")]

HeaderLine = Annotated[tuple[Text, ...], Field(min_length=1, max_length=2)]
"""Name and value, or a line as it is, where something else than one blank follows the colon."""

KeyPlace = Annotated[
    str,
    Field(pattern=r"^(|https?://[\x21-\x7e]{1,300}|group:[\x21-\x7e]{1,300}/[0-9]{1,4})$"),
]
"""What its idempotency key belongs to in place of its destination (`core.terms`)."""


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
    options: dict[str, Text] = Field({}, max_length=len(OPTIONS))
    key_place: KeyPlace = ""
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
    ],
    config=DEFERRED,
)


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

    async def store(self, carrier: Carrier) -> bool:
        """Store it, unless it is there already; see `Carrier.take`."""
        return await carrier.take(self.message, self.body, self.death)


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

    async def store(self, carrier: Carrier) -> bool:
        return await carrier.take_call(self.call, self.body)


async def read_line(line: bytes | bytearray, max_body: int) -> Incoming | IncomingLetter:
    """Read a line. The body is taken apart a piece at a time, with a rest after each: in one call a
    large one would hold up every message for a tenth of a second.

    Raises:
        BadLine: it is not as `CarriedLine` or `CarriedCallLine` says, or not what could be
            accepted.
    """
    rest, encoded = without_body(line)
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
    if given.body or len(body_fields(rest)) > 1:
        raise BadLine("body: it is there twice, or its name is spelled with escapes")
    body = await read_body(encoded)
    if isinstance(given, CarriedCallLine):
        return IncomingLetter(incoming_call(given, b"".join(body)), body)
    message = _message(given, sum(map(len, body)), max_body)
    return Incoming(message, body, _death(given) if given.state == "dead" else None)


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
    for key, value in given.options.items():
        option = BY_KEY.get(key)
        if option is None or not option.is_term:
            raise BadLine(f"options.{key}: it is no option that a line may have")
        lines.append(f"{option.title}: {value}")
    try:
        raw = "\r\n".join(lines).encode("latin-1")
        if len(raw) > MAX_HEAD_BYTES:
            raise BadLine(f"method, target and headers have more than {MAX_HEAD_BYTES} bytes")
        wanted = forward(
            read_head(raw, _KINDS), IngressConfig("", 0, max_body=max_body), is_new=False
        )
    except UnicodeEncodeError as error:
        raise BadLine("method, target and headers are Latin-1: one character a byte") from error
    except RequestError as error:
        raise BadLine(error.refusal.message) from error
    options = wanted.options
    message = Message(
        wanted.destination,
        wanted.head_with_length(size),
        b"",
        timeout_ms=options.timeout_ms or 0,
        accepted_at=0,
        body_size=size,
    )
    if options.has_terms:
        message.terms = options.terms(time.time_ns() // 1000)
    for name, *values in given.headers:
        if name.lower() == _CALLBACK_OF and (first := known_id("".join(values))):
            mark_callback(message, first)
            break
    if copy_of := known_id(given.id):
        message.terms = replace(message.terms or Terms(), copy_of=copy_of)
    if given.key_place and message.terms is not None and message.terms.stands_for_one:
        message.terms = replace(message.terms, key_place=given.key_place)
    return message


def _death(given: CarriedLine) -> Death:
    attempts = max(given.attempts, len(given.history))
    return Death(
        dead_at_us=0,
        reason=given.reason.value,
        detail=given.detail,
        response_start=decoded(given.response_start, "response_start"),
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
