"""Numbers, texts, times: what is lifted is more than what is lowered, as others send JSON."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from typing import Final, TypeVar
from uuid import UUID

from dispatcher.sdk.values import texts
from dispatcher.sdk.values.codec import Change, Codec, misfit
from dispatcher.sdk.values.misfit import Misfit
from dispatcher.sdk.values.writing import EXACT

T = TypeVar("T")


def _lower_int(value: object) -> object:
    if type(value) is int:
        return value
    index = getattr(type(value), "__index__", None)  # bool, IntEnum, the integers of numpy
    if index is None:
        raise misfit("int", value)
    return int(index(value))


def _lift_int(value: object) -> object:
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is str and value.lstrip("-").isdecimal() and len(value) <= 100:
        number = int(value)
        if abs(number) > EXACT:  # which JSON can only carry as a text
            return number
    raise misfit("int", value)


def _lower_float(value: object) -> object:
    if not isinstance(value, int | float):
        raise misfit("float", value)
    try:
        double = float(value)
    except OverflowError:
        raise Misfit("is an integer that no float holds: write the hint int for it") from None
    if double != value and isinstance(value, int):
        raise Misfit("is an integer that no float holds exactly: write the hint int for it")
    return double


_NO_NUMBERS: Final = ("NaN", "Infinity", "-Infinity")  # as protobuf's JSON has them


def _lift_float(value: object) -> object:
    if type(value) is float:
        return value
    if type(value) is int or (type(value) is str and value in _NO_NUMBERS):
        try:
            return float(value)
        except OverflowError:
            pass
    raise misfit("float", value)


def _lower_date(value: object) -> object:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise misfit("date", value)


def _lift_span(value: object) -> object:
    if type(value) in (int, float):
        try:
            return timedelta(seconds=value)  # type: ignore[arg-type]  # one of the two
        except (OverflowError, ValueError):
            raise misfit("timedelta", value) from None
    return _lift_text(timedelta, texts.span_of)(value)


def _lower_decimal(value: object) -> object:
    if type(value) is int:
        return Decimal(value)
    return _lower(Decimal)(value)


def _lift_decimal(value: object) -> object:
    if type(value) in (int, float):
        return Decimal(str(value))
    return _lift_text(Decimal, texts.decimal_of)(value)


def _lower(*kinds: type) -> Change:
    name = kinds[0].__name__

    def lower(value: object) -> object:
        if isinstance(value, kinds):
            return value
        raise misfit(name, value)

    return lower


def _lift(kind: type) -> Change:
    def lift(value: object) -> object:
        if type(value) is kind:
            return value
        raise misfit(kind.__name__, value)

    return lift


def _lift_text(kind: type, parse: Callable[[str], object]) -> Change:
    def lift(value: object) -> object:
        if type(value) is kind:
            return value
        if type(value) is not str:
            raise misfit(kind.__name__, value)
        try:
            return parse(value)
        except ValueError:
            raise misfit(kind.__name__, value) from None

    return lift


def _lift_bytearray(value: object) -> object:
    return bytearray(_lift_bytes(value))  # type: ignore[call-overload]  # bytes


_lift_bytes: Final = _lift_text(bytes, texts.bytes_of)


def _scalar(kind: type, lower: Change, lift: Change, rank: int) -> Codec:
    return Codec(kind.__name__, lower, lift, (kind,), frozenset({kind}), rank=rank)


def _by_text(kind: type, rank: int, text: Callable[..., str] = str) -> Codec:
    """Of a class that is made of its text and has no mark."""
    fits = _lower(kind)
    return Codec(
        kind.__name__,
        lambda value: text(fits(value)),
        _lift_text(kind, kind),
        (kind,),
        rank=rank,
    )


_PATHS: Final = (
    pathlib.PurePath,
    pathlib.PurePosixPath,
    pathlib.PureWindowsPath,
    pathlib.Path,
    pathlib.PosixPath,
)

SCALARS: Final[dict[object, Codec]] = {
    codec.classes[0]: codec
    for codec in (
        _scalar(type(None), _lower(type(None)), _lift(type(None)), 0),
        _scalar(bool, _lower(bool), _lift(bool), 1),
        _scalar(int, _lower_int, _lift_int, 2),
        _scalar(float, _lower_float, _lift_float, 3),
        _scalar(UUID, _lower(UUID), _lift_text(UUID, texts.uuid_of), 10),
        _scalar(datetime, _lower(datetime), _lift_text(datetime, texts.instant_of), 11),
        _scalar(date, _lower_date, _lift_text(date, texts.date_of), 12),
        _scalar(time, _lower(time), _lift_text(time, texts.time_of), 13),
        _scalar(timedelta, _lower(timedelta), _lift_span, 14),
        _scalar(Decimal, _lower_decimal, _lift_decimal, 15),
        _by_text(IPv4Address, 16),
        _by_text(IPv6Address, 17),
        _scalar(str, _lower(str), _lift(str), 80),
        _scalar(bytes, _lower(bytes, bytearray, memoryview), _lift_bytes, 81),
        Codec("bytearray", _lower(bytearray, bytes), _lift_bytearray, (bytearray,), rank=82),
        *(_by_text(path, 83) for path in _PATHS),
    )
}
"""The codec of each class."""
