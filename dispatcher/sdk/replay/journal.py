"""The record of a durable call: what its body asked for, what it was told, and when.

It is the state that the server keeps while the body is suspended. This file is its format, and
`Columns` is what it holds.

A state is a protobuf message, written by hand because columns of numbers are faster so. Fields that
are repeated are columns: the n-th operation is the n-th number of each of the fields 9, 10 and 11,
the n-th event that of 12 and 13, and the n-th result in 14. So two states, one behind the other,
are one state with the columns of both: who appends does not parse.

    field  wire             what
    1      varint           version of the format, 1. First of all, and in a whole state only
    2      fixed 32         nonce: which state this is. Each piece that was appended begins with it
    3      varint           microseconds since the epoch at which the body began
    4      varint           minor version of the Python that began it, for messages only
    5      varint           how many outcomes were answered, with this one
    6      varint           the first operation that the outcome before this one did not have
    7      bytes, repeated  a place: kind, function, endpoint and site, with zero bytes between
    8      bytes, repeated  a task: its parent's path, ".", and its number; "" is the body
    9      packed varint    per operation: its place, counted from 0 in all of field 7
    10     packed varint    per operation: its task, likewise of field 8
    11     packed fixed 32  per operation: CRC-32 of its input; milliseconds of a sleep, or with the
                            highest bit set its seconds; the number of a timer in its task; of a
                            patch how many events were before it
    12     packed varint    per event: its operation; zigzag, from the event before in this piece
    13     packed varint    per event: milliseconds since the event before, or since the beginning
    14     bytes, repeated  per event: what it brought, see `results`

Of fields 1 to 6 the last one counts. Texts are UTF-8. The index of an operation in its task is
nowhere: it is the n-th of that task. A timer of asyncio is there once it has ended; timers and
patches don't count in the index.

To change the format: give it another version, add a golden file of it in tests/golden/sdk, and go
on reading the old ones for as long as calls that have them may be suspended, a year.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from sys import byteorder
from typing import Final

from dispatcher.sdk.replay import results, varints
from dispatcher.sdk.replay.model import Cancelled
from dispatcher.sdk.replay.results import Recorded

VERSION: Final = 1
COMPACTED_FROM: Final = 4096
"""Bytes below which a state is not worth being written anew."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_NONCE_TAG = 2 << 3 | _FIXED32


class BadState(ValueError):
    """These bytes are no state of this SDK, or of a later version of it."""


@dataclass(slots=True)
class Columns:
    """A whole state, or a piece that extends one. See the module for what the fields hold."""

    nonce: int = 0
    started_us: int = 0
    python: int = 0
    outcomes: int = 0
    sent: int = 0
    places: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    place_of: list[int] = field(default_factory=list)
    path_of: list[int] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    event_of: list[int] = field(default_factory=list)
    event_ms: list[int] = field(default_factory=list)
    results: list[Recorded] = field(default_factory=list)


def encode(columns: Columns, *, whole: bool) -> bytes:
    """Return a state, or (not `whole`) the piece that extends the one before it."""
    out = bytearray()
    if whole:
        _put_number(out, 1, VERSION)
    out.append(_NONCE_TAG)
    out += columns.nonce.to_bytes(4, "little")
    if whole:
        _put_number(out, 3, columns.started_us)
        _put_number(out, 4, columns.python)
    _put_number(out, 5, columns.outcomes)
    _put_number(out, 6, columns.sent)
    for place in columns.places:
        _put_bytes(out, 7, place.encode("utf-8", "surrogatepass"))
    for path in columns.paths:
        _put_bytes(out, 8, path.encode())
    if columns.place_of:
        _put_bytes(out, 9, varints.put_column(columns.place_of))
        _put_bytes(out, 10, varints.put_column(columns.path_of))
        _put_bytes(out, 11, _put_fixed(columns.inputs))
    if columns.event_of:
        _put_bytes(out, 12, varints.put_steps(columns.event_of))
        _put_bytes(out, 13, varints.put_column(columns.event_ms))
        _put_bytes(out, 14, results.encode(columns.results))
    return bytes(out)


def decode(state: bytes) -> Columns:
    """Return what a state holds, checked: no number in it points to nothing.

    Raises:
        BadState: it can't be read.
    """
    try:
        columns = _read(state)
        _check(columns)
    except BadState:
        raise
    except (ValueError, IndexError, OverflowError) as error:
        raise BadState(f"the state is damaged: {error}") from error
    return columns


def compacted(state: bytes) -> bytes:
    """Return the same state in one piece where what was appended has doubled it, else as it is."""
    if len(state) < COMPACTED_FROM or len(state) < 2 * _first_piece(state):
        return state
    return encode(decode(state), whole=True)


def _first_piece(state: bytes) -> int:
    """How many bytes there are before the first piece that was appended."""
    nonces = 0
    for at, tag, _ in _fields(state):
        nonces += tag == _NONCE_TAG
        if nonces == 2:
            return at
    return len(state)


def _read(state: bytes) -> Columns:
    if state[:2] != bytes((1 << 3, VERSION)):
        raise BadState(_why_not_ours(state))
    columns = Columns()
    for _, tag, value in _fields(state):
        if isinstance(value, int):
            _take_number(columns, tag, value)
        else:
            _take_bytes(columns, tag, value)
    return columns


def _why_not_ours(state: bytes) -> str:
    if state[:1] == bytes((1 << 3,)):
        return (
            f"the state has version {varints.get(state, 1)[0]} of the format, this SDK knows "
            f"{VERSION}: a later version of the SDK wrote it"
        )
    return "the state is none that this SDK wrote"


def _take_number(columns: Columns, tag: int, value: int) -> None:
    match tag >> 3:
        case 1:
            if value != VERSION:
                raise BadState("the state has parts in another version")
        case 2:
            columns.nonce = value
        case 3:
            columns.started_us = value
        case 4:
            columns.python = value
        case 5:
            columns.outcomes = value
        case 6:
            columns.sent = value
        case number:
            raise BadState(f"the state has a field {number}, which nothing is known of")


def _take_bytes(columns: Columns, tag: int, value: bytes) -> None:
    match tag >> 3:
        case 7:
            columns.places.append(value.decode("utf-8", "surrogatepass"))
        case 8:
            columns.paths.append(value.decode())
        case 9:
            columns.place_of += varints.get_column(value)
        case 10:
            columns.path_of += varints.get_column(value)
        case 11:
            columns.inputs += _get_fixed(value)
        case 12:
            columns.event_of += varints.get_steps(value)
        case 13:
            columns.event_ms += varints.get_column(value)
        case 14:
            columns.results += results.decode(value)
        case number:
            raise BadState(f"the state has a field {number}, which nothing is known of")


def _check(columns: Columns) -> None:
    operations, events = len(columns.place_of), len(columns.event_of)
    if not len(columns.path_of) == len(columns.inputs) == operations:
        raise BadState("the state has operations in part")
    if not len(columns.event_ms) == len(columns.results) == events:
        raise BadState("the state has events in part")
    if columns.sent > operations or not columns.nonce:
        raise BadState("the state begins wrongly")
    _check_range(columns.place_of, len(columns.places), "a place")
    _check_range(columns.path_of, len(columns.paths), "a path")
    # The end of the call is an event of the body, and has no operation: it says 0.
    ended = sum(isinstance(result, Cancelled) for result in columns.results)
    end = max(operations, 1) if ended == events else operations
    _check_range(columns.event_of, end, "an operation")
    for place in columns.places:
        if place.count("\0") != 3:
            raise BadState("the state has a place in other than four parts")
    if len(set(columns.paths)) != len(columns.paths):
        raise BadState("the state has a path twice")


def _check_range(numbers: list[int], end: int, what: str) -> None:
    if numbers and (min(numbers) < 0 or max(numbers) >= end):
        raise BadState(f"the state names {what} that it does not have")


def _fields(state: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Where each field begins, its tag and its value."""
    at, end = 0, len(state)
    while at < end:
        begins = at
        tag, at = varints.get(state, at)
        wire = tag & 7
        if wire == _VARINT:
            number, at = varints.get(state, at)
            yield begins, tag, number
            continue
        if wire == _BYTES:
            size, at = varints.get(state, at)
        elif wire == _FIXED32:
            size = 4
        else:
            raise BadState(f"the state has a field of wire type {wire}")
        if at + size > end:
            raise BadState("the state ends too early")
        value = state[at : at + size]
        at += size
        yield begins, tag, value if wire == _BYTES else int.from_bytes(value, "little")


def _put_number(out: bytearray, number: int, value: int) -> None:
    out.append(number << 3 | _VARINT)
    varints.put(out, value)


def _put_bytes(out: bytearray, number: int, value: bytes) -> None:
    out.append(number << 3 | _BYTES)
    varints.put(out, len(value))
    out += value


def _put_fixed(numbers: list[int]) -> bytes:
    column = array("I", numbers)
    if byteorder == "big":
        column.byteswap()
    return column.tobytes()


def _get_fixed(data: bytes) -> list[int]:
    column = array("I")
    column.frombytes(data)
    if byteorder == "big":
        column.byteswap()
    return column.tolist()
