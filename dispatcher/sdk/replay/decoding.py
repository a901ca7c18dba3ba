"""Reads a state, and checks that it is one: what comes from a server may be damaged, or of a later
version, and nothing but `BadState` may come of that."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from sys import byteorder
from typing import Final

from dispatcher.sdk.replay import results, varints
from dispatcher.sdk.replay.columns import BadState, Columns
from dispatcher.sdk.replay.model import Cancelled

VERSION: Final = 1
NONCE_TAG: Final = 2 << 3 | 5
VARINT, BYTES, FIXED32 = 0, 2, 5
"""Wire types of protobuf."""


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


def first_piece(state: bytes) -> int:
    """How many bytes there are before the first piece that was appended."""
    nonces = 0
    for at, tag, _ in _fields(state):
        nonces += tag == NONCE_TAG
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
            columns.nonce, columns.untold = value, None
        case 3:
            columns.started_us = value
        case 4:
            columns.python = value
        case 5:
            columns.outcomes = value
        case 6:
            columns.sent = value
        case 15:
            columns.untold = value
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
    if max(columns.sent, columns.untold or 0) > operations or not columns.nonce:
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
        if wire == VARINT:
            number, at = varints.get(state, at)
            yield begins, tag, number
            continue
        if wire == BYTES:
            size, at = varints.get(state, at)
        elif wire == FIXED32:
            size = 4
        else:
            raise BadState(f"the state has a field of wire type {wire}")
        if at + size > end:
            raise BadState("the state ends too early")
        value = state[at : at + size]
        at += size
        yield begins, tag, value if wire == BYTES else int.from_bytes(value, "little")


def _get_fixed(data: bytes) -> list[int]:
    column = array("I")
    column.frombytes(data)
    if byteorder == "big":
        column.byteswap()
    return column.tolist()
