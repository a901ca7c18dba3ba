"""The records of the audit's log.

The first byte is the kind. Integers are little endian. The kinds are counted from 96, so that no
number means different things in different logs:

    ENTRY  96  an operator did something

ENTRY:

    offset  size  field
         0     1  kind 96
         1     8  number       of the entry, from 1
         9     8  at           microseconds since the epoch, by the wall clock
        17     1  length of the action
        18     2  length of the name of the key; 65535: there is none
        20        action, name of the key, in UTF-8
                  a JSON object in UTF-8: where there is one `selection`, `count`, `error`, `job`

To add something to an entry, add a name: names that are not known are ignored, and those that are
missing are nothing. A name never gets another meaning. A kind is never used twice either; a program
that meets one that it does not know does not use the log. Golden files: `tests/golden/audit_v*`.
"""

from __future__ import annotations

import json
from enum import IntEnum
from struct import Struct
from struct import error as StructError  # noqa: N812  # as other exceptions are spelled
from typing import Final, NamedTuple

from dispatcher.audit.entries import Entry
from dispatcher.errors import LogTooNew
from dispatcher.queue.records.kinds import RecordError

MOST_BYTES: Final = 16 * 1024
"""Of one record; the selection of a larger one is left out."""
_LEFT_OUT: Final = {"left_out": "too large"}
_HEAD: Final = Struct("<BQQBH")
_NO_KEY: Final = 0xFFFF


class AuditKind(IntEnum):
    """First byte of every payload."""

    ENTRY = 96


class Head(NamedTuple):
    """What an entry is found by."""

    number: int
    at_us: int
    action: str
    key: str | None


def encode_entry(entry: Entry) -> bytes:
    """Return the record of an entry that has a number."""
    payload = _encoded(entry, dict(entry.selection))
    return payload if len(payload) <= MOST_BYTES else _encoded(entry, dict(_LEFT_OUT))


def decode_entry(payload: bytes) -> Entry:
    """Return the entry of a record.

    Raises:
        LogTooNew: a later version wrote it.
        RecordError: it is none.
    """
    head, end = _head(payload)
    try:
        found = json.loads(payload[end:])
    except ValueError as error:
        raise _bad(error) from error
    if not isinstance(found, dict):
        raise RecordError("no entry of the audit: no object")
    selection, count = found.get("selection"), found.get("count")
    return Entry(
        at_us=head.at_us,
        action=head.action,
        key=head.key,
        selection=selection if isinstance(selection, dict) else {},
        count=count if isinstance(count, int) else None,
        error=_text(found.get("error")),
        job=_text(found.get("job")),
        number=head.number,
    )


def head_of(payload: bytes) -> Head:
    """Return what an entry is found by. Raises as `decode_entry`."""
    return _head(payload)[0]


def _encoded(entry: Entry, selection: dict[str, object]) -> bytes:
    given = {
        "selection": selection or None,
        "count": entry.count,
        "error": entry.error,
        "job": entry.job,
    }
    told = {name: value for name, value in given.items() if value is not None}
    text = json.dumps(told, ensure_ascii=False, separators=(",", ":"), default=str)
    action = entry.action.encode("utf-8")
    key = b"" if entry.key is None else entry.key.encode("utf-8")
    length = _NO_KEY if entry.key is None else len(key)
    head = _HEAD.pack(AuditKind.ENTRY, entry.number, entry.at_us, len(action), length)
    return head + action + key + text.encode("utf-8", "backslashreplace")


def _head(payload: bytes) -> tuple[Head, int]:
    """What an entry is found by, and where the rest of it begins."""
    if payload and payload[0] != AuditKind.ENTRY:
        raise LogTooNew(payload[0])
    try:
        _, number, at_us, action_bytes, key_bytes = _HEAD.unpack_from(payload)
        middle = _HEAD.size + action_bytes
        end = middle + (0 if key_bytes == _NO_KEY else key_bytes)
        action = payload[_HEAD.size : middle].decode("utf-8")
        key = None if key_bytes == _NO_KEY else payload[middle:end].decode("utf-8")
    except (StructError, ValueError) as error:
        raise _bad(error) from error
    if end > len(payload):
        raise RecordError("no entry of the audit: too short")
    return Head(number, at_us, action, key), end


def _bad(error: Exception) -> RecordError:
    return RecordError(f"no entry of the audit: {error}")


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
