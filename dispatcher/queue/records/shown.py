"""What a record says, for people: kind, ids, destination. Used where a log is looked at from
outside (`dispatcher log dump`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from struct import error as StructError  # noqa: N812  # as other exceptions are spelled
from typing import Final

from dispatcher.core.instants import rfc3339
from dispatcher.core.message import Message
from dispatcher.core.options import written
from dispatcher.queue.records.dead_calls import decode_call
from dispatcher.queue.records.ids import wire_id
from dispatcher.queue.records.keys import decode_keys
from dispatcher.queue.records.kinds import Kind, RecordError
from dispatcher.queue.records.letters import decode_dead
from dispatcher.queue.records.messages import decode_stored
from dispatcher.queue.records.paused import decode_paused
from dispatcher.queue.records.removed import decode_removals
from dispatcher.queue.records.retry import decode_retry
from dispatcher.queue.records.settled import decode_settled
from dispatcher.queue.records.uptime import decode_uptime

Shown = dict[str, str | int | list[str]]
"""Fields by name: `kind`, and what a record of that kind has."""

_NAMES: Final = {
    Kind.SETTLED_V1: "settled",
    Kind.RETRY_V1: "retry",
    Kind.DEAD_V1: "dead",
    Kind.DEAD_TERMS: "dead",
    Kind.DEAD_OPERATOR: "dead",
    Kind.MESSAGE_TERMS: "message",
    Kind.MOVED_TERMS: "moved",
    Kind.REMOVED_MANY: "removed",
    Kind.PAUSED: "held",
    Kind.SETTLED_PACKED: "settled",
}
_IDS_IN_A_LINE: Final = 6


def show_record(position: int, payload: bytes, *, partition: int = 0) -> Shown:
    """Return the fields of a record. One that cannot be read says so in `unreadable`: this is for
    logs that are looked at because something is wrong."""
    if not payload:
        return {"kind": "empty"}
    try:
        kind = Kind(payload[0])
    except ValueError:
        return {"kind": f"{payload[0]:#04x}", "unreadable": "not known to this version"}
    shown: Shown = {"kind": _NAMES.get(kind, kind.name.lower())}
    decode = _FIELDS.get(kind)
    try:
        return shown if decode is None else {**shown, **decode(position, payload, partition)}
    except (RecordError, StructError, ValueError, IndexError) as error:
        return {**shown, "unreadable": str(error)}


def as_text(shown: Shown) -> str:
    """Return the fields in one line. Of many ids the first ones, and how many more there are."""
    words = []
    for name, value in shown.items():
        if isinstance(value, list):
            rest = len(value) - _IDS_IN_A_LINE
            words.append(f"{name}={','.join(value[:_IDS_IN_A_LINE])}")
            words += [f"and {rest} more"] if rest > 0 else []
        else:
            words.append(str(value) if name == "kind" else f"{name}={value}")
    return " ".join(words)


def _stored(position: int, payload: bytes, partition: int) -> Shown:
    message = decode_stored(position, payload, partition)
    return _message(message) | ({"attempts": message.attempt} if message.attempt else {})


def _message(message: Message) -> Shown:
    shown: Shown = {
        "id": message.wire_id.decode(),
        "destination": message.destination.key.decode("ascii", "replace"),
        "method": message.head.split(b" ", 1)[0].decode("latin-1"),
        "body_bytes": message.body_size,
    }
    shown |= {"chunks": len(message.chunks)} if message.chunks else {}
    return shown | written(message.terms)


def _retry(position: int, payload: bytes, partition: int) -> Shown:
    retry = decode_retry(payload)
    names = _names(partition, retry.incarnation, [retry.position])
    return {**names, "attempts": retry.attempts, "due_at": rfc3339(retry.due_at)}


def _settled(position: int, payload: bytes, partition: int) -> Shown:
    return _names(partition, *decode_settled(payload))


def _names(partition: int, incarnation: int | None, positions: Iterable[int]) -> Shown:
    """Ids; positions where the record is of version 1, which names messages by them."""
    if incarnation is None:
        return {"positions": [f"{position:#x}" for position in positions]}
    return {"ids": [wire_id(partition, incarnation, one).decode() for one in positions]}


def _keys(position: int, payload: bytes, partition: int) -> Shown:
    keys = decode_keys(payload)
    return {"ids": [wire_id(partition, key.incarnation, key.position).decode() for key in keys]}


def _dead(position: int, payload: bytes, partition: int) -> Shown:
    letter = decode_dead(payload)
    return {**_message(letter.message), "reason": letter.reason}


def _dead_call(position: int, payload: bytes, partition: int) -> Shown:
    letter = decode_call(payload)
    shown: Shown = {
        "id": letter.id.decode(),
        "destination": letter.endpoint,
        "function": letter.function,
        "body_bytes": letter.body_size,
    }
    shown |= {"chunks": len(letter.chunks)} if letter.chunks else {}
    return shown | {"reason": letter.reason.value}


def _removed(position: int, payload: bytes, partition: int) -> Shown:
    return {"ids": [removal.message_id.decode() for removal in decode_removals(payload)]}


def _paused(position: int, payload: bytes, partition: int) -> Shown:
    return {"destinations": [key.decode("ascii", "replace") for key in decode_paused(payload)]}


def _uptime(position: int, payload: bytes, partition: int) -> Shown:
    return {"seconds": decode_uptime(payload)}


def _chunk(position: int, payload: bytes, partition: int) -> Shown:
    return {"body_bytes": len(payload) - 1}


_FIELDS: Final[dict[Kind, Callable[[int, bytes, int], Shown]]] = {
    Kind.MESSAGE: _stored,
    Kind.MOVED: _stored,
    Kind.MESSAGE_TERMS: _stored,
    Kind.MOVED_TERMS: _stored,
    Kind.CHUNK: _chunk,
    Kind.SETTLED: _settled,
    Kind.SETTLED_V1: _settled,
    Kind.SETTLED_PACKED: _settled,
    Kind.DELIVERED: _settled,
    Kind.UNDELIVERED: _settled,
    Kind.KEYS: _keys,
    Kind.RETRY: _retry,
    Kind.RETRY_V1: _retry,
    Kind.DEAD: _dead,
    Kind.DEAD_V1: _dead,
    Kind.DEAD_TERMS: _dead,
    Kind.DEAD_OPERATOR: _dead,
    Kind.DEAD_CALL: _dead_call,
    Kind.UPTIME: _uptime,
    Kind.REMOVED: _removed,
    Kind.REMOVED_MANY: _removed,
    Kind.PAUSED: _paused,
}
