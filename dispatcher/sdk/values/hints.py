"""Which codec serves a type hint. Each is made once."""

from __future__ import annotations

import collections
import types
import typing
from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any, Final, Literal, NewType, NoReturn, TypeVar, Union

from dispatcher.sdk.values.choices import enumeration, literal
from dispatcher.sdk.values.codec import ANY, Codec, same
from dispatcher.sdk.values.containers import (
    COLLECTIONS,
    MAPPINGS,
    collection,
    mapping,
    tuple_like,
    tuple_of,
)
from dispatcher.sdk.values.fields import is_qualified
from dispatcher.sdk.values.misfit import Misfit, named
from dispatcher.sdk.values.models import is_model, model
from dispatcher.sdk.values.records import is_record, record
from dispatcher.sdk.values.refusing import refuse
from dispatcher.sdk.values.scalars import SCALARS
from dispatcher.sdk.values.unions import optional, union
from dispatcher.sdk.values.unresolved import Unresolved

_MADE: Final[dict[object, Codec]] = {
    None: ANY,
    Any: ANY,
    object: ANY,
    NoReturn: ANY,
    **SCALARS,
}


def codec_of(hint: object) -> Codec:
    """The codec of a hint; None is no hint. One that nothing can be made of refuses each value."""
    try:
        codec = _MADE.get(hint)
    except TypeError:  # it can't be hashed, as Annotated with a list
        return _made(hint)
    if codec is None:
        codec = _MADE[hint] = _made(hint)
    return codec


def _foreign(value: object) -> object:
    codec = codec_of(type(value))
    if codec.rank == _REFUSES:
        refuse(value)
    return codec.lower(value)


FOREIGN: Final = object()
"""A hint for what somebody else is sent, who knows nothing of Python's classes: values of classes
with fields and of Enums are sent by what their own class says."""

_MADE[FOREIGN] = Codec("anything", same, same, (object,), fallback=_foreign, rank=99)


def _made(hint: Any) -> Codec:
    if isinstance(hint, str | typing.ForwardRef):
        hint = Unresolved(getattr(hint, "__forward_arg__", str(hint)), "it is a text")
    if isinstance(hint, Unresolved):
        return hint.codec
    origin = typing.get_origin(hint)
    if origin is not None:
        return _of_generic(hint, origin, typing.get_args(hint))
    if isinstance(hint, NewType):
        return codec_of(hint.__supertype__)
    if isinstance(hint, TypeVar):
        return codec_of(union_of(hint.__constraints__) if hint.__constraints__ else hint.__bound__)
    if hasattr(hint, "__value__"):  # `type X = …` of Python 3.12
        return _later(named(hint), lambda: codec_of(hint.__value__))
    return _of_class(hint) if isinstance(hint, type) else _unknown(hint)


def _of_class(kind: type) -> Codec:
    if is_model(kind):
        return model(kind)
    if is_record(kind):
        return record(kind, kind, {}, codec_of)
    if issubclass(kind, Enum):
        return enumeration(kind)
    return _of_generic(kind, kind, ())


def _of_generic(hint: object, origin: Any, arguments: tuple[Any, ...]) -> Codec:
    if origin in (Union, types.UnionType):
        return _union(arguments)
    if origin is Literal:
        return literal(arguments)
    if origin is Annotated or is_qualified(hint):
        return codec_of(arguments[0])
    if origin is tuple:
        return _tuple(hint, arguments)
    if origin in COLLECTIONS:
        return collection(named(hint), COLLECTIONS[origin], codec_of(_at(arguments, 0)))
    if origin in MAPPINGS:
        item = int if origin is collections.Counter else _at(arguments, 1)
        key = codec_of(_at(arguments, 0))
        return mapping(named(hint), MAPPINGS[origin], key, codec_of(item))
    if is_record(origin):
        free = getattr(origin, "__parameters__", ())
        return record(hint, origin, dict(zip(free, arguments, strict=False)), codec_of)
    if hasattr(origin, "__value__"):  # `type X[T] = …`
        return _later(named(hint), lambda: codec_of(origin.__value__[arguments]))
    return _unknown(hint)


def _at(arguments: tuple[Any, ...], index: int) -> Any:
    return arguments[index] if index < len(arguments) else Any


def _tuple(hint: object, arguments: tuple[Any, ...]) -> Codec:
    if not arguments and hint is not tuple[()]:
        return tuple_like(named(hint), ANY) if hint is tuple else tuple_of(named(hint), ())
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple_like(named(hint), codec_of(arguments[0]))
    return tuple_of(named(hint), [codec_of(argument) for argument in arguments])


def _union(arguments: tuple[Any, ...]) -> Codec:
    members = [codec_of(one) for one in arguments if one is not type(None)]
    codec = members[0] if len(members) == 1 else union(members)
    if codec is ANY or len(members) == len(arguments):
        return codec
    return optional(codec)


def union_of(kinds: tuple[Any, ...]) -> object:
    """The hint that is any of these."""
    return Union[kinds]  # noqa: UP007  # a tuple can't be written with |


def _later(name: str, find: Callable[[], Codec]) -> Codec:
    """Of a hint that may stand in itself: looked at when the first value comes."""
    return Codec(name, lambda value: find().lower(value), lambda value: find().lift(value))


_REFUSES: Final = 100


def refusing(why: str) -> Codec:
    """Of a hint that nothing can be made of; `why` is the predicate of a sentence."""

    def refused(value: object) -> object:
        raise Misfit(why)

    return Codec("nothing", refused, refused, rank=_REFUSES)


def _unknown(hint: object) -> Codec:
    return refusing(
        f"has the type hint {named(hint)}, and values of that can't be sent: use a dataclass, a "
        "pydantic model, a TypedDict, an Enum, a number, a text, a list or a dict, or send what it "
        "needs to be looked up by"
    )
