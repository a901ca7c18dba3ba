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
    15     varint           the first operation that nobody was told of yet, where this outcome has
                            not all calls: the next ones have the rest

Of fields 1 to 6 the last one counts; of 15 only one in the last piece. Texts are UTF-8. The index
of an operation in its task is nowhere: it is the n-th of that task. A timer of asyncio is there
once it has ended; timers and patches don't count in the index.

To change the format: give it another version, add a golden file of it in tests/golden/sdk, and go
on reading the old ones for as long as calls that have them may be suspended, a year.
"""

from __future__ import annotations

from array import array
from sys import byteorder
from typing import Final

from dispatcher.sdk.replay import results, varints
from dispatcher.sdk.replay.columns import BadState, Columns
from dispatcher.sdk.replay.decoding import (
    BYTES,
    NONCE_TAG,
    VARINT,
    VERSION,
    decode,
    first_piece,
)

__all__ = ["COMPACTED_FROM", "BadState", "Columns", "compacted", "decode", "encode"]

COMPACTED_FROM: Final = 4096
"""Bytes below which a state is not worth being written anew."""


def encode(columns: Columns, *, whole: bool) -> bytes:
    """Return a state, or (not `whole`) the piece that extends the one before it."""
    out = bytearray()
    if whole:
        _put_number(out, 1, VERSION)
    out.append(NONCE_TAG)
    out += columns.nonce.to_bytes(4, "little")
    if whole:
        _put_number(out, 3, columns.started_us)
        _put_number(out, 4, columns.python)
    _put_number(out, 5, columns.outcomes)
    _put_number(out, 6, columns.sent)
    if columns.untold is not None:
        _put_number(out, 15, columns.untold)
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


def compacted(state: bytes) -> bytes:
    """Return the same state in one piece where what was appended has doubled it, else as it is."""
    if len(state) < COMPACTED_FROM or len(state) < 2 * first_piece(state):
        return state
    return encode(decode(state), whole=True)


def _put_number(out: bytearray, number: int, value: int) -> None:
    out.append(number << 3 | VARINT)
    varints.put(out, value)


def _put_bytes(out: bytearray, number: int, value: bytes) -> None:
    out.append(number << 3 | BYTES)
    varints.put(out, len(value))
    out += value


def _put_fixed(numbers: list[int]) -> bytes:
    column = array("I", numbers)
    if byteorder == "big":
        column.byteswap()
    return column.tobytes()
