"""Plain values of Python into a `MarkedValue`: what needs no hint.

None, bool, int, float, str, bytes, datetime, date, time, timedelta, UUID, Decimal, and list, tuple,
set, frozenset and dict of these. A value of a subclass is written as one of its base. Equal values
have equal bytes, but dicts keep the order of their keys; sets are put in order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Final, TypeAlias
from uuid import UUID

from dispatcher.protocol.messages import MarkedValue
from dispatcher.sdk.values import marks, texts
from dispatcher.sdk.values.misfit import Misfit

EXACT: Final = 2**53
"""Up to here a double holds every integer."""

# Parsers of protobuf give up on messages nested deeper than 100. A list is two messages deep and a
# dict three, and what is around the value needs a few as well.
_MOST_LEVELS: Final = 30

Fallback: TypeAlias = Callable[[object], object]
"""Turns a value of an unknown class into a plain one, or raises Misfit."""

_Writer: TypeAlias = Callable[[MarkedValue, object, Fallback, int], None]


class Record(dict[str, object]):
    """The fields of an object, and the name of its class: which of a union it is."""

    __slots__ = ("name",)

    def __init__(self, name: str, fields: Mapping[str, object]) -> None:
        super().__init__(fields)
        self.name = name


def write(message: MarkedValue, value: object, fallback: Fallback, level: int = 0) -> None:
    """Fill an empty message. `level` counts the lists and dicts around it.

    Raises:
        Misfit: it can't be written.
    """
    writer = _WRITERS.get(type(value))
    if writer is None:
        value, writer = _of_base(value, fallback)
    writer(message, value, fallback, level)


def _of_base(value: object, fallback: Fallback) -> tuple[object, _Writer]:
    value = based(value)
    writer = _WRITERS.get(type(value))
    return (value, writer) if writer is not None else _of_base(fallback(value), fallback)


def based(value: object) -> object:
    """A value of a subclass as one of the plain class beneath it; others as they are."""
    if type(value) not in _WRITERS:
        for kind, plain in _BASES:
            if isinstance(value, kind):
                return plain(value)
    return value


def _none(message: MarkedValue, value: object, fallback: Fallback, level: int) -> None:
    message.null_value = 0


def _bool(message: MarkedValue, value: bool, fallback: Fallback, level: int) -> None:
    message.bool_value = value


def _int(message: MarkedValue, value: int, fallback: Fallback, level: int) -> None:
    if -EXACT <= value <= EXACT:
        message.number_value = value
    else:
        message.string_value = text_of_integer(value)
        message.mark = marks.INTEGER


def text_of_integer(value: int) -> str:
    """Its decimal digits. Raises Misfit beyond `sys.get_int_max_str_digits()` of them."""
    try:
        return str(value)
    except ValueError:
        raise Misfit("is an integer of too many digits: send it as bytes or a text") from None


def _float(message: MarkedValue, value: float, fallback: Fallback, level: int) -> None:
    message.number_value = value
    if value.is_integer() and -EXACT <= value <= EXACT and math.isfinite(value):
        message.mark = marks.DOUBLE


def _str(message: MarkedValue, value: str, fallback: Fallback, level: int) -> None:
    try:
        message.string_value = value
    except UnicodeEncodeError:
        raise Misfit(HALF) from None


HALF: Final = "is a text with half of a surrogate pair, which has no UTF-8: send it as bytes"


def _marked(mark: int, text: Callable[..., str]) -> _Writer:
    def writer(message: MarkedValue, value: object, fallback: Fallback, level: int) -> None:
        message.string_value = text(value)
        message.mark = mark

    return writer


def _list(message: MarkedValue, value: Iterable[object], fallback: Fallback, level: int) -> None:
    message.list_value.SetInParent()
    items = message.list_value.values
    _not_too_deep(level)
    try:
        for item in value:
            write(items.add(), item, fallback, level + 1)
    except Misfit as misfit:
        raise misfit.at(f"[{len(items) - 1}]") from misfit.__cause__


def _tuple(message: MarkedValue, value: Iterable[object], fallback: Fallback, level: int) -> None:
    _list(message, value, fallback, level)
    message.mark = marks.TUPLE


def _set(mark: int) -> _Writer:
    def writer(message: MarkedValue, value: object, fallback: Fallback, level: int) -> None:
        assert isinstance(value, set | frozenset)
        _list(message, value, fallback, level)
        # The order in which a set is walked differs from process to process.
        inside = message.list_value.values
        ordered = sorted(item.SerializeToString(deterministic=True) for item in inside)
        del inside[:]
        for item in ordered:
            inside.add().MergeFromString(item)
        message.mark = mark

    return writer


def _dict(
    message: MarkedValue, value: dict[object, object], fallback: Fallback, level: int
) -> None:
    kinds = set(map(type, value))
    if kinds <= _TEXT:
        _struct(message, value.items(), fallback, level)
    elif kinds == {int}:
        _struct(message, ((str(k), v) for k, v in value.items()), fallback, level)
        message.mark = marks.INT_KEYS
    else:
        _list(message, map(list, value.items()), fallback, level)
        message.mark = marks.PAIRS


_TEXT: Final = frozenset({str})


def _struct(
    message: MarkedValue,
    items: Iterable[tuple[object, object]],
    fallback: Fallback,
    level: int,
) -> None:
    message.struct_value.SetInParent()
    fields = message.struct_value.fields
    _not_too_deep(level)
    key: object = ""
    try:
        for key, item in items:
            entry = fields.add()
            entry.key = key  # type: ignore[assignment]  # the caller gives texts only
            write(entry.value, item, fallback, level + 1)
    except UnicodeEncodeError:
        raise Misfit(f"has the key {key!r}, which has half of a surrogate pair") from None
    except Misfit as misfit:
        raise misfit.at(f"[{key!r}]") from misfit.__cause__


def _not_too_deep(level: int) -> None:
    if level >= _MOST_LEVELS:
        raise Misfit(
            f"has more than {_MOST_LEVELS} lists and dicts in one another, or stands in itself: "
            "send a flatter one"
        )


def _record(message: MarkedValue, value: Record, fallback: Fallback, level: int) -> None:
    _struct(message, value.items(), fallback, level)
    message.class_name = value.name
    message.mark = marks.RECORD


_WRITERS: Final[dict[type, _Writer]] = {
    type(None): _none,
    bool: _bool,  # type: ignore[dict-item]  # each is only called with what stands before it
    int: _int,  # type: ignore[dict-item]
    float: _float,  # type: ignore[dict-item]
    str: _str,  # type: ignore[dict-item]
    list: _list,  # type: ignore[dict-item]
    tuple: _tuple,  # type: ignore[dict-item]
    dict: _dict,  # type: ignore[dict-item]
    set: _set(marks.SET),
    frozenset: _set(marks.FROZENSET),
    Record: _record,  # type: ignore[dict-item]
    bytes: _marked(marks.BYTES, texts.text_of_bytes),
    datetime: _marked(marks.DATETIME, texts.text_of_instant),
    date: _marked(marks.DATE, date.isoformat),
    time: _marked(marks.TIME, texts.text_of_time),
    timedelta: _marked(marks.TIMEDELTA, texts.text_of_span),
    UUID: _marked(marks.UUID, str),
    Decimal: _marked(marks.DECIMAL, str),
}

# What a value of a subclass is written as; a datetime is a date, so it comes first.
_BASES: Final[tuple[tuple[type, Callable[..., object]], ...]] = (
    (int, int.__int__),
    (float, float.__float__),
    (str, str.__str__),
    (bytes, bytes),
    (bytearray, bytes),
    (memoryview, bytes),
    (datetime, lambda value: datetime.combine(value.date(), value.timetz())),
    (date, lambda value: date(value.year, value.month, value.day)),
    (timedelta, lambda value: timedelta(value.days, value.seconds, value.microseconds)),
    (UUID, lambda value: UUID(int=value.int)),
    (Decimal, Decimal),
    (dict, dict),
    (list, list),
    (tuple, tuple),
    (set, set),
    (frozenset, frozenset),
)
