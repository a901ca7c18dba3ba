"""The files of the first Dispatcher, for `dispatcher import`.

`transaction.log` is a series of records, each a payload and then a trailer of 13 bytes: id (u64),
type (u8), length of the payload (u32), little endian. It is read backwards.

    1  a message: a gob of it
    2  its end: two u32, how many records back the message is, and the oldest that has not ended
    3  it is to be tried again: a gob as it is by now, and those two

`deadletter.log` is a series of gobs, each followed by its length (u32). Neither has a checksum: a
file that was cut in the middle of a record ends with the last whole one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from mmap import mmap
from struct import Struct
from typing import Any, Final, NamedTuple, TypeVar

from dispatcher.cli.carrying.gob import GobError, read_value

_TRAILER = Struct("<QBI")
_BACK = Struct("<II")
_LENGTH = Struct("<I")
_MESSAGE, _ENDED, _RETRY = 1, 2, 3
_MAX_TORN_BYTES = 64 * 1024 * 1024
_WINDOW_BYTES = 1024 * 1024

_T = TypeVar("_T")

Buffer = bytes | mmap
"""A file: read, or mapped where it may be large."""


_BEGINNING_BYTES: Final = 4096
_ID_BYTES: Final = 16


class NotFirstDispatchers(ValueError):
    """A file is none of the first Dispatcher's, or is damaged; the text says where."""


@dataclass(frozen=True, slots=True)
class FirstMessage:
    """A message of the first Dispatcher.

    `url` is the value of the caller's header and the target, so it may lack the scheme.
    `timeout_ms` 0: none was given. `retries` were made, the last ended with `error` ("": none did).
    """

    url: str
    method: str
    headers: list[tuple[str, str]]
    body: bytes
    timeout_ms: int
    retries: int
    error: str


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file holds: messages, oldest first, and the bytes at its end that are no whole record.

    `spans` is start and size of each message's gob. A gob is decoded when its turn comes, so that
    one that cannot be read does not keep the others from being taken.
    """

    data: Buffer
    is_dead: bool
    spans: list[tuple[int, int]]
    torn_bytes: int

    def __len__(self) -> int:
        return len(self.spans)

    def id(self, number: int) -> str:
        """What one of the messages, from 0, is known by: where it lies in which file, and what it
        is. They have no ids that are never used again. A file is known by its beginning, so that
        another one, in which the same lies at the same place, has other messages."""
        begin, size = self.spans[number]
        hashed = hashlib.blake2b(self.data[:_BEGINNING_BYTES], digest_size=_ID_BYTES)
        hashed.update(begin.to_bytes(8, "little"))
        hashed.update(self.data[begin : begin + size])
        return f"first-{hashed.hexdigest()}"

    def message(self, number: int) -> FirstMessage:
        """One of the messages, from 0.

        Raises:
            GobError: it cannot be read.
        """
        begin, size = self.spans[number]
        return _decode(self.data[begin : begin + size])


def read_log(data: Buffer) -> Contents:
    """The messages of a `transaction.log` that have not ended, or those of a `deadletter.log`.

    Neither has a mark of its own: a file is the one in which whole records reach further.

    Raises:
        NotFirstDispatchers: it is neither.
    """
    if not data:
        return Contents(data, False, [], 0)
    waiting, dead = _Series(data, _transaction_record), _Series(data, _dead_record)
    for end in _ends(data):
        if records := waiting.before(end):
            return Contents(data, False, _waiting(data, records), len(data) - end)
        if records := dead.before(end):
            spans = [(one.begin, one.size) for one in records]
            return Contents(data, True, spans, len(data) - end)
    raise NotFirstDispatchers("no record of the first Dispatcher is in it")


class _Record(NamedTuple):
    """A record: its id, its type, and where its payload is. It ends at `end`."""

    id: int
    kind: int
    begin: int
    size: int
    end: int


def _waiting(data: Buffer, records: list[_Record]) -> list[tuple[int, int]]:
    """The payloads of the messages that have not ended, each as it is by now."""
    latest: dict[int, tuple[int, int]] = {}  # by the number of the message's record: its payload
    ended: set[int] = set()
    of: dict[int, int] = {}  # numbers of records of type 3, to the message they are about
    for number, (_, kind, begin, size, _) in enumerate(records):
        if kind == _MESSAGE:
            latest[number] = (begin, size)
            continue
        back, _ = _BACK.unpack_from(data, begin + size - _BACK.size)
        message = of.get(number - back, number - back)
        if message not in latest or not back:
            raise NotFirstDispatchers(
                f"the record at byte {begin} is about a message {back} records back: none is there"
            )
        if kind == _ENDED:
            ended.add(message)
        else:
            of[number] = message
            latest[message] = (begin, size - _BACK.size)
            ended.discard(message)
    return [span for message, span in sorted(latest.items()) if message not in ended]


def _transaction_record(data: Buffer, end: int) -> _Record | None:
    """The record of a transaction log that ends there; None where none can."""
    if end < _TRAILER.size:
        return None
    record_id, kind, size = _TRAILER.unpack_from(data, end - _TRAILER.size)
    begin = end - _TRAILER.size - size
    if begin < 0 or not _is_plausible(kind, size):
        return None
    return _Record(record_id, kind, begin, size, end)


def _is_plausible(kind: int, size: int) -> bool:
    """Whether a record of this type can have a payload of this size."""
    if kind == _ENDED:
        return size == _BACK.size
    return size > (_BACK.size if kind == _RETRY else 0) and kind in (_MESSAGE, _RETRY)


def _dead_record(data: Buffer, end: int) -> _Record | None:
    """The same for dead letters."""
    if end < _LENGTH.size:
        return None
    (size,) = _LENGTH.unpack_from(data, end - _LENGTH.size)
    begin = end - _LENGTH.size - size
    return _Record(0, _MESSAGE, begin, size, end) if begin >= 0 and size else None


@dataclass(slots=True)
class _Series:
    """Records of one kind, read backwards. An end that leads nowhere is not followed twice."""

    data: Buffer
    record: Callable[[Buffer, int], _Record | None]
    nowhere: set[int] = field(default_factory=set)

    def before(self, end: int) -> list[_Record] | None:
        """All records before `end`, oldest first; None where they do not reach back to the start of
        the file, each with an id that is not below that of the one before."""
        records: list[_Record] = []
        while end:
            one = None if end in self.nowhere else self.record(self.data, end)
            if one is None or (records and one.id > records[-1].id):
                self.nowhere.update(read.end for read in records)
                return None
            records.append(one)
            end = one.begin
        records.reverse()
        return records


def _ends(data: Buffer) -> Iterator[int]:
    """Where a record may end, from the end of the file backwards.

    Where the last record was cut off, the series is looked for from each byte before: only the true
    end leads back to the start of the file, except by a chance of one in billions. Both kinds end
    with a length; a regular expression finds those that the file has room for. Asking at every byte
    would take minutes.
    """
    largest = re.escape(bytes([min(len(data) >> 24, 0xFF)]))
    length = re.compile(rb"(?s)(?=(?!\0{4}).{3}[\0-" + largest + rb"])")
    lowest = max(0, len(data) - _MAX_TORN_BYTES)
    for stop in range(len(data), lowest, -_WINDOW_BYTES):
        start = max(0, stop - _WINDOW_BYTES - _LENGTH.size + 1)
        yield from [one.start() + _LENGTH.size for one in length.finditer(data, start, stop)][::-1]


def _decode(payload: bytes) -> FirstMessage:
    value, _ = read_value(payload)
    if not isinstance(value, dict) or not value.get("Url") or not value.get("Method"):
        raise GobError("it is no message: it has no URL or no method")
    return FirstMessage(
        url=_field(value, "Url", ""),
        method=_field(value, "Method", ""),
        headers=_headers(_field(value, "Header", {})),
        body=_field(value, "Body", b""),
        timeout_ms=_field(value, "Timeout", 0),
        retries=_field(value, "RetryCount", 0),
        error=_field(value, "Error", ""),
    )


def _field(value: dict[str, Any], name: str, zero: _T) -> _T:
    """A field, which must be of the type of its zero value: that is not stored."""
    found = value.get(name, zero)
    if not isinstance(found, type(zero)):
        raise GobError(f"its {name} is of another type")
    return found


def _headers(fields: dict[Any, Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, values in fields.items():
        if not isinstance(name, str) or not isinstance(values, list):
            raise GobError("its Header is of another type")
        for value in values:
            if not isinstance(value, str):
                raise GobError("its Header is of another type")
            found.append((name, value))
    return found
