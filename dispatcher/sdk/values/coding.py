"""Encode a value of Python by its type hint, and decode it."""

from __future__ import annotations

from typing import TypeVar, overload

from dispatcher.sdk.exceptions import DecodeError, EncodeError
from dispatcher.sdk.replay.model import Value
from dispatcher.sdk.values.hints import codec_of
from dispatcher.sdk.values.misfit import Misfit
from dispatcher.sdk.values.wire import from_wire, to_wire

T = TypeVar("T")


def encode(value: object, hint: object = None, where: str = "the value") -> Value:
    """Encode a value that has this type hint; None where there is no hint, `FOREIGN` for somebody
    who knows nothing of Python's classes. `where` is how an error names it: "argument 'order'".

    Raises:
        EncodeError: it does not fit the hint, or can't be sent. The text says which part of it, and
            what to write instead.
    """
    codec = codec_of(hint)
    try:
        return to_wire(codec.lower(value), codec.fallback)
    except Misfit as misfit:
        raise EncodeError(f"{misfit.told(where)}.") from misfit.__cause__


@overload
def decode(value: Value, hint: type[T], where: str = ...) -> T: ...


@overload
def decode(value: Value, hint: object = None, where: str = ...) -> object: ...


def decode(value: Value, hint: object = None, where: str = "the value") -> object:
    """Decode a value to what the hint says; None where there is no hint.

    Raises:
        DecodeError: it is damaged, of a type that is not known here, or does not fit the hint.
    """
    codec = codec_of(hint)
    try:
        return codec.lift(from_wire(value))
    except Misfit as misfit:
        raise DecodeError(f"{misfit.told(where)}.") from misfit.__cause__
