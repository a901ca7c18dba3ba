"""Messages on their way to another process, and what is said of them there. Pure.

A payload begins with a head, of which a later version may have more: its own size says where it
ends. In it is the place, as far as that says more than the message does. A message is the record
that the log will have of it (`queue.records.messages`), which a version that does not know all of
it refuses.

    ACCEPT          head | record
    ACCEPT_ALL      head | size of the body u32 | body | (size u32, record without a body)*
    ACCEPT_STREAM   opened with a head | the keys, in JSON; its pieces are the body, if that is
                    large; its end is a head again, which says who waits, and (size u32, record
                    without that body)*, or the record of a message that is not large
    KNOWN           head | the keys, in JSON ─▶ in decimal digits, a bit for each that is known

An answer is a letter, and ids with commas between them: `A` stored, `D` duplicates. In a stream it
is a piece, and the stream's end says the outcome, where that is waited for: nothing for "there will
be a retry", or JSON, a line feed, and the body of the destination's answer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

from dispatcher.core.answer import Answer
from dispatcher.core.meeting import Key, KeyKind, Keys
from dispatcher.core.message import Message
from dispatcher.queue.records.messages import decode_message, encode_message

# size of the head in bytes, partition, flags, copies, bytes of all heads, of the place; the place
_HEAD: Final = Struct("<HHHHIH")
_SIZE: Final = Struct("<I")
_WAITS: Final = 1
_LARGE: Final = 2
_GROUP: Final = 4
STORED: Final = b"A"
DUPLICATE: Final = b"D"


@dataclass(frozen=True, slots=True)
class Head:
    """`partition` is the one that has to take it. `waits`: the caller waits for the outcome.
    `is_large`: the body comes in pieces. `is_group`: of a group, with so many `copies` and bytes of
    heads together. `place` is where a group, or a large body, meets others; b"" where that is
    decided."""

    partition: int
    waits: bool = False
    is_large: bool = False
    is_group: bool = False
    copies: int = 1
    head_bytes: int = 0
    place: bytes = b""

    def encode(self) -> bytes:
        """As a payload begins."""
        flags = self.waits * _WAITS | self.is_large * _LARGE | self.is_group * _GROUP
        size = _HEAD.size + len(self.place)
        fixed = (size, self.partition, flags, self.copies, self.head_bytes, len(self.place))
        return _HEAD.pack(*fixed) + self.place


def read_head(payload: bytes) -> tuple[Head, int]:
    """The head of a payload, and where what follows it begins.

    Raises:
        struct.error: there is none.
    """
    size, partition, flags, copies, head_bytes, place_size = _HEAD.unpack_from(payload)
    head = Head(
        partition,
        waits=bool(flags & _WAITS),
        is_large=bool(flags & _LARGE),
        is_group=bool(flags & _GROUP),
        copies=copies,
        head_bytes=head_bytes,
        place=payload[_HEAD.size : _HEAD.size + place_size],
    )
    return head, size


def partition_in(payload: bytes) -> tuple[int, int]:
    """The partition of such a message, and where its record begins: no more is looked at."""
    size, partition, _, _, _, _ = _HEAD.unpack_from(payload)
    return partition, size


def encode_keys(keys: Keys) -> bytes:
    """As a payload ends."""
    return json.dumps([[kind, place.decode("latin-1"), text] for kind, place, text in keys]).encode(
        "ascii"
    )


def read_keys(payload: bytes, start: int) -> Keys:
    """Those keys; none where there is nothing.

    Raises:
        ValueError, TypeError: there are some that this version does not know.
    """
    if start == len(payload):
        return ()
    said = json.loads(payload[start:])
    return [Key(KeyKind(kind), place.encode("latin-1"), text) for kind, place, text in said]


def encode_group(head: bytes, messages: Sequence[Message]) -> bytes:
    """The messages of a group, which have one body."""
    body = messages[0].body
    return b"".join((head, _SIZE.pack(len(body)), body, encode_without_body(messages)))


def read_group(payload: bytes, start: int) -> list[Message]:
    """Those messages.

    Raises:
        RecordError, LogTooNew, struct.error: they are not as this version has them.
    """
    (size,) = _SIZE.unpack_from(payload, start)
    start += _SIZE.size
    body = payload[start : start + size]
    return read_without_body(payload, start + size, body, len(body))


def encode_without_body(messages: Sequence[Message]) -> bytes:
    """Messages whose body is elsewhere."""
    parts: list[bytes] = []
    for message in messages:
        bare = Message(
            message.destination,
            message.head,
            b"",
            timeout_ms=message.timeout_ms,
            accepted_at=message.accepted_at,
        )
        bare.terms = message.terms
        record = encode_message(bare)
        parts += (_SIZE.pack(len(record)), record)
    return b"".join(parts)


def read_without_body(payload: bytes, start: int, body: bytes, body_size: int) -> list[Message]:
    """Those messages, with a body, or with b"" and the size of what was uploaded.

    Raises:
        RecordError, LogTooNew, struct.error: they are not as this version has them.
    """
    messages: list[Message] = []
    while start < len(payload):
        (size,) = _SIZE.unpack_from(payload, start)
        start += _SIZE.size
        message = decode_message(payload[start : start + size])
        message.body, message.body_size = body, body_size
        messages.append(message)
        start += size
    return messages


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a message that is waited for: the destination's answer, if there was one, and
    the slug of why it was given up, if it was."""

    answer: Answer | None
    error: str | None


def encode_outcome(answer: Answer | None, error: str | None) -> bytes:
    """As the end of a stream; the answer may be released then."""
    said: dict[str, Any] = {"error": error}
    body = b""
    if answer is not None:
        body = answer.body
        retry_after = answer.retry_after
        said |= {
            "status": answer.status,
            "content_type": answer.content_type.decode("latin-1"),
            "retry_after": None if retry_after is None else retry_after.decode("latin-1"),
            "is_whole": answer.is_whole,
            "fields": [[one.decode("latin-1") for one in field] for field in answer.fields],
        }
    return json.dumps(said).encode("ascii") + b"\n" + body


def read_outcome(payload: bytes) -> Outcome | None:
    """What the end of a stream says; None: there will be a retry.

    Raises:
        ValueError, KeyError: nothing that this version knows.
    """
    if not payload:
        return None
    line, _, body = payload.partition(b"\n")
    said = json.loads(line)
    if "status" not in said:
        return Outcome(None, said["error"])
    retry_after = said["retry_after"]
    fields = ((name.encode("latin-1"), value.encode("latin-1")) for name, value in said["fields"])
    answer = Answer(
        said["status"],
        said["content_type"].encode("latin-1"),
        None if retry_after is None else retry_after.encode("latin-1"),
        body,
        is_whole=said["is_whole"],
        fields=tuple(fields),
    )
    return Outcome(answer, said["error"])
