"""A reader of Go's gob encoding, as far as plain data needs it.

A gob is a series of messages, each with its length: definitions of types, then one value. So a
value can be read without knowing its type beforehand. Integers, strings, bytes, lists, maps and
structs become Python's; a field that holds its zero value is not in the bytes, and is missing here.
Source: the documentation of the Go package encoding/gob, "Encoding Details".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any, NoReturn

_BOOL, _INT, _UINT, _FLOAT, _BYTES, _STRING = 1, 2, 3, 4, 5, 6
_WIRE_TYPE, _COMMON, _FIELDS = 16, 18, 22
_FIRST_DEFINED = 64
_MAX_DEPTH = 32


class GobError(ValueError):
    """These bytes are not a gob, or hold something that is not plain data."""


@dataclass(frozen=True, slots=True)
class _Struct:
    fields: list[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class _List:
    element: int


@dataclass(frozen=True, slots=True)
class _Map:
    key: int
    element: int


_Type = _Struct | _List | _Map

# How types themselves are described: the same types in every stream, with fixed numbers.
_BOOTSTRAP: dict[int, _Type] = {
    _WIRE_TYPE: _Struct([("array", 17), ("slice", 19), ("struct", 20), ("map", 23)]),
    17: _Struct([("common", _COMMON), ("element", _INT), ("length", _INT)]),
    _COMMON: _Struct([("name", _STRING), ("id", _INT)]),
    19: _Struct([("common", _COMMON), ("element", _INT)]),
    20: _Struct([("common", _COMMON), ("fields", _FIELDS)]),
    21: _Struct([("name", _STRING), ("id", _INT)]),
    _FIELDS: _List(21),
    23: _Struct([("common", _COMMON), ("key", _INT), ("element", _INT)]),
}


def read_value(data: bytes) -> tuple[Any, int]:
    """The first value of a stream that begins at `data`, and how many bytes it took.

    Raises:
        GobError: what is there is not a gob, or is cut off.
    """
    return _Stream(data).read()


@dataclass(slots=True)
class _Stream:
    data: bytes
    at: int = 0
    types: dict[int, _Type] = field(default_factory=lambda: dict(_BOOTSTRAP))

    def read(self) -> tuple[Any, int]:
        while True:
            length = self._unsigned()
            end = self.at + length
            if not length or end > len(self.data):
                self._fail(f"a message of {length} bytes goes beyond the end")
            number = self._signed()
            if number < 0:
                if -number < _FIRST_DEFINED:
                    self._fail(f"type {-number} is defined by the encoding itself")
                self.types[-number] = _described(self._value(_WIRE_TYPE, 0))
                self._expect_end(end)
                continue
            if not isinstance(self.types.get(number), _Struct) and self._unsigned() != 0:
                self._fail("a value that is no struct begins with a 0")
            value = self._value(number, 0)
            self._expect_end(end)
            return value, self.at

    def _value(self, number: int, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            self._fail(f"nested more than {_MAX_DEPTH} deep")
        match self.types.get(number):
            case _Struct(fields):
                return self._struct(fields, depth)
            case _List(element):
                return [self._value(element, depth + 1) for _ in range(self._count())]
            case _Map(key, element):
                return self._map(key, element, depth)
        return self._plain(number)

    def _struct(self, fields: list[tuple[str, int]], depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        place = -1
        while delta := self._unsigned():
            place += delta
            if place >= len(fields):
                self._fail(f"field {place} of a struct of {len(fields)}")
            name, number = fields[place]
            values[name] = self._value(number, depth + 1)
        return values

    def _map(self, key: int, element: int, depth: int) -> dict[Any, Any]:
        values: dict[Any, Any] = {}
        for _ in range(self._count()):
            name = self._value(key, depth + 1)
            if isinstance(name, dict | list):
                self._fail("a key of a map that is no plain value")
            values[name] = self._value(element, depth + 1)
        return values

    def _plain(self, number: int) -> Any:
        if number == _BOOL:
            return self._unsigned() != 0
        if number == _INT:
            return self._signed()
        if number == _UINT:
            return self._unsigned()
        if number == _FLOAT:  # turned round, so that the zeros of a round number's bytes vanish
            return struct.unpack("<d", self._unsigned().to_bytes(8, "big"))[0]
        if number == _BYTES:
            return self._bytes(self._count())
        if number == _STRING:
            return self._bytes(self._count()).decode("utf-8", "surrogateescape")
        return self._fail(f"type {number} is not plain data")

    def _count(self) -> int:
        """How many elements follow. Each takes a byte at least."""
        count = self._unsigned()
        if count > len(self.data) - self.at:
            self._fail(f"{count} elements go beyond the end")
        return count

    def _unsigned(self) -> int:
        first = self._bytes(1)[0]
        if first < 0x80:
            return first
        size = 0x100 - first
        if size > 8:
            self._fail(f"an integer of {size} bytes")
        return int.from_bytes(self._bytes(size), "big")

    def _signed(self) -> int:
        value = self._unsigned()
        return ~(value >> 1) if value & 1 else value >> 1

    def _bytes(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.data):
            self._fail("cut off")
        read, self.at = self.data[self.at : end], end
        return read

    def _expect_end(self, end: int) -> None:
        if self.at != end:
            self._fail(f"a message ends at {end}, what is in it at {self.at}")

    def _fail(self, what: str) -> NoReturn:
        raise GobError(f"not a gob at byte {self.at}: {what}")


def _described(wire: dict[str, Any]) -> _Type:
    """The type that a definition describes. Zero values are missing in it."""
    match wire:
        case {"struct": described}:
            fields = described.get("fields", [])
            return _Struct([(one.get("name", ""), one.get("id", 0)) for one in fields])
        case {"map": described}:
            return _Map(described.get("key", 0), described.get("element", 0))
        case {"slice": described} | {"array": described}:
            return _List(described.get("element", 0))
    raise GobError("a type that is not plain data")
