"""The record as it is written: what the state held, and what is new since."""

from __future__ import annotations

import sys
from zlib import crc32

from dispatcher.sdk.replay.journal import Columns, compacted, encode
from dispatcher.sdk.replay.model import Kind, Operation
from dispatcher.sdk.replay.results import Recorded

TIMER = "timer"
"""The kind, in a place, of a timer of asyncio. It is no operation: nobody else knows of it."""


class Writer:
    """Appends operations and events. The bytes of what was written before are kept as they are:
    a state of 5 000 awaits that is serialised anew at each of them costs seconds."""

    def __init__(self, state: bytes, columns: Columns) -> None:
        self.started_us = columns.started_us
        self.operations = len(columns.place_of)
        """How many there are: the id of the next one."""
        self.clock_ms = sum(columns.event_ms)
        """When the last event was, in milliseconds since the body began."""
        self._places = {place: index for index, place in enumerate(columns.places)}
        self._paths = {path: index for index, path in enumerate(columns.paths)}
        self._outcomes = columns.outcomes
        self._nonce = self.given_nonce = columns.nonce
        self._base = bytearray(state)  # so that appending to it copies nothing
        self._sent_whole = b""
        self.refusable = columns.sent
        """The first operation that the poll before this one asked for."""
        self.untold = self.operations if columns.untold is None else columns.untold
        """The first operation that it did not ask for: nobody was told of that one yet."""
        self._held: int | None = None
        self._piece = Columns()
        self._bytes: bytes | None = None

    def operation(self, operation: Operation, path: str) -> int:
        """Record an operation of the task of this path; return its id."""
        place = f"{operation.kind.value}\0{operation.function}\0{operation.endpoint}\0"
        return self._add(place + operation.site, path, fingerprint(operation))

    def timer(self, path: str, index: int) -> int:
        """Record the timer of this name, which has ended; return the id that its event has."""
        return self._add(f"{TIMER}\0\0\0", path, index)

    def patch(self, operation: Operation, path: str, events: int) -> None:
        """Record that the body was at a patch, after that many events."""
        self._add(f"{Kind.PATCH.value}\0{operation.function}\0\0{operation.site}", path, events)

    def event(self, operation: int, at_ms: int, result: Recorded) -> None:
        """Record what was delivered, and when."""
        piece = self._piece
        self._bytes = None
        piece.event_of.append(operation)
        piece.event_ms.append(at_ms - self.clock_ms)
        piece.results.append(result)
        self.clock_ms = at_ms

    def piece(self) -> bytes:
        """Return what is new since the last mark."""
        self._sent_whole = b""
        return self._encoded()

    def whole(self) -> bytes:
        """Return everything, in one piece where many were appended."""
        self._sent_whole = compacted(bytes(self._base) + self._encoded())
        return self._sent_whole

    @property
    def nonce(self) -> int:
        """Of the record as it stands. It follows from the record: two that are equal have one."""
        self._encoded()
        return self._piece.nonce

    def hold(self, first: int) -> None:
        """Have it be on record, with the next mark, that nobody was told of this operation and
        those after it."""
        self._held = first
        self._bytes = None

    def mark(self) -> None:
        """Have the next piece extend the record as it stands; of `piece` and `whole`, whichever
        was asked for last is what the server has."""
        piece = self._encoded()
        if self._sent_whole:
            self._base = bytearray(self._sent_whole)
        else:
            self._base += piece
        self._nonce, self._outcomes = self._piece.nonce, self._piece.outcomes
        told = self.operations if self._held is None else self._held
        self.refusable, self.untold, self._held = self.untold, told, None
        self._piece = Columns()
        self._bytes = None

    def _encoded(self) -> bytes:
        if self._bytes is None:
            piece = self._piece
            is_whole = not self._base
            piece.started_us, piece.sent = self.started_us, self.untold
            piece.untold = self._held
            piece.python, piece.outcomes = sys.version_info.minor, self._outcomes + 1
            piece.nonce = self._nonce
            piece.nonce = crc32(encode(piece, whole=is_whole)) or 1
            self._bytes = encode(piece, whole=is_whole)
        return self._bytes

    def _add(self, place: str, path: str, number: int) -> int:
        piece = self._piece
        self._bytes = None
        at = self._places.get(place)
        if at is None:
            at = self._places[place] = len(self._places)
            piece.places.append(place)
        whose = self._paths.get(path)
        if whose is None:
            whose = self._paths[path] = len(self._paths)
            piece.paths.append(path)
        piece.place_of.append(at)
        piece.path_of.append(whose)
        piece.inputs.append(number)
        self.operations += 1
        return self.operations - 1


_LONG = 1 << 31


def fingerprint(operation: Operation) -> int:
    """What is recorded of an operation's input, 32 bits. Of a sleep it is how long it is, in
    milliseconds or, from 24 days on, in seconds: messages say so."""
    if operation.kind is Kind.SLEEP:
        ms = max(operation.duration_us, 0) // 1000
        return ms if ms < _LONG else _LONG | min(ms // 1000, _LONG - 1)
    value = operation.input
    return crc32(value.data, crc32(value.type.encode()))


def slept_ms(number: int) -> int:
    """How long the sleep with this fingerprint is, about."""
    return number if number < _LONG else (number - _LONG) * 1000
