"""The arguments of a call, of the value that came; see `arguments` for what is meant by which."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from inspect import BoundArguments, Parameter
from itertools import islice

from google.protobuf.message import DecodeError as Damaged

from dispatcher.protocol.messages import MarkedValue
from dispatcher.sdk.exceptions import InvalidArgumentError
from dispatcher.sdk.replay.model import Value
from dispatcher.sdk.values import marks
from dispatcher.sdk.values.codec import Change, Codec
from dispatcher.sdk.values.misfit import Misfit, shown
from dispatcher.sdk.values.reading import read
from dispatcher.sdk.values.signature import Signature, Taken
from dispatcher.sdk.values.variadic import named, several
from dispatcher.sdk.values.wire import VALUE, from_wire


def decode_arguments(value: Value, signature: Signature) -> BoundArguments:
    """Decode the arguments of a call; defaults are not filled in.

    Raises:
        InvalidArgumentError: the function can't be called with these. The text names the parameter
            and what it has to be.
    """
    try:
        mark, plain = _read(value)
    except Misfit as found:
        told = found.told(f"the input of {signature.name}")
        raise InvalidArgumentError(f"{told}.") from found
    if mark == marks.KEYWORDS and isinstance(plain, dict):
        return _by_name(signature, plain, is_own=True)
    if mark:
        return _one(signature, plain)
    return _of_others(signature, plain)


def _read(value: Value) -> tuple[int, object]:
    """The mark of a Value, 0 without one, and the plain value."""
    if value.type != VALUE:
        return 0, from_wire(value)
    try:
        message = MarkedValue.FromString(value.data)
    except Damaged as error:
        raise Misfit(f"is damaged: no Value in {len(value.data)} bytes") from error
    return message.mark, read(message)


def _of_others(signature: Signature, plain: object) -> BoundArguments:
    if plain is None and not signature.required:
        return _bound(signature, {})
    if isinstance(plain, dict):
        return _of_struct(signature, plain)
    if type(plain) is list and len(signature.required) > 1:
        return _in_order(signature, plain)
    return _one(signature, plain)


def _of_struct(signature: Signature, plain: dict[str, object]) -> BoundArguments:
    first = signature.first
    if first is None or not signature.takes_one or not _takes_struct(first.codec):
        return _by_name(signature, plain, is_own=False)
    if not signature.named.issuperset(plain) or not plain.keys() >= signature.required_names:
        return _one(signature, plain)
    try:
        return _by_name(signature, plain, is_own=False)
    except InvalidArgumentError as by_name:
        try:
            return _one(signature, plain)
        except InvalidArgumentError:
            raise by_name from None


def _takes_struct(codec: Codec) -> bool:
    return codec.fields is not None or dict in codec.plain or not codec.plain


def _one(signature: Signature, plain: object) -> BoundArguments:
    first = signature.first
    if first is None or not signature.takes_one:
        raise _not_one(signature, plain)
    lifted = _lifted(signature, first, plain, first.codec.lift)
    is_variadic = first.kind is Parameter.VAR_POSITIONAL
    return _bound(signature, {first.name: (lifted,) if is_variadic else lifted})


def _not_one(signature: Signature, plain: object) -> InvalidArgumentError:
    if not signature.parameters:
        return InvalidArgumentError(
            f"{signature.name} takes no arguments, and was given {shown(plain)}."
        )
    return InvalidArgumentError(
        f"{signature.name} was given {shown(plain)}, and it needs {_listed(signature.required)}: "
        "send a dict with these names."
    )


def _in_order(signature: Signature, plain: list[object]) -> BoundArguments:
    try:
        bound = signature.plain.bind(*plain)
    except TypeError as error:
        raise InvalidArgumentError(
            f"{signature.name} was given a list of {len(plain)}: {error}; it needs "
            f"{_listed(signature.required)}."
        ) from None
    return _by_name(signature, bound.arguments, is_own=True)


def _by_name(signature: Signature, plain: Mapping[str, object], *, is_own: bool) -> BoundArguments:
    """`is_own`: what `**options` takes stands under its name, else beside the others."""
    given: dict[str, object] = {}
    known = signature.parameters.keys() if is_own else signature.named
    rest = {name: item for name, item in plain.items() if name not in known}
    for taken in signature.parameters.values():
        if taken.kind is Parameter.VAR_KEYWORD and not is_own:
            given[taken.name] = _of_kind(signature, taken, rest)
            rest = {}
        elif taken.name in plain:
            given[taken.name] = _of_kind(signature, taken, plain[taken.name])
        elif taken.is_required:
            raise _missing(signature, taken, plain)
    if rest:
        raise InvalidArgumentError(
            f"{signature.name} has no parameter {next(iter(rest))!r}; {_has(signature)}."
        )
    return _bound(signature, given)


def _of_kind(signature: Signature, taken: Taken, plain: object) -> object:
    lift = taken.codec.lift
    if taken.kind is Parameter.VAR_POSITIONAL:
        return _lifted(signature, taken, plain, lambda items: tuple(several(items, lift)))
    if taken.kind is Parameter.VAR_KEYWORD:
        return _lifted(signature, taken, plain, lambda items: named(items, lift))
    return _lifted(signature, taken, plain, lift)


def _lifted(signature: Signature, taken: Taken, plain: object, lift: Change) -> object:
    try:
        return lift(plain)
    except Misfit as found:
        where = f"parameter {taken.name!r} of {signature.name}"
        raise InvalidArgumentError(f"{found.told(where)}.") from found.__cause__


def _missing(
    signature: Signature, taken: Taken, plain: Mapping[str, object]
) -> InvalidArgumentError:
    given = f"it was given {_quoted(plain)}" if plain else "it was given none"
    return InvalidArgumentError(
        f"{signature.name} needs the parameter {taken.name!r}, which is missing: {given}."
    )


def _has(signature: Signature) -> str:
    return (
        f"it has {_listed(signature.parameters.values())}"
        if signature.parameters
        else "it has none"
    )


def _listed(taken: Iterable[Taken]) -> str:
    return _quoted(one.name for one in taken)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(repr(name[:60]) for name in islice(names, 20))


def _bound(signature: Signature, given: dict[str, object]) -> BoundArguments:
    """`BoundArguments` gives what stands behind a gap by keyword; what can't be given so gets the
    defaults before it."""
    arguments: dict[str, object] = {}
    skipped: list[str] = []
    for name, taken in signature.parameters.items():
        if name not in given:
            skipped.append(name)
            continue
        if skipped and taken.kind in (Parameter.POSITIONAL_ONLY, Parameter.VAR_POSITIONAL):
            for before in skipped:
                arguments[before] = signature.plain.parameters[before].default
        arguments[name] = given[name]
    return BoundArguments(signature.plain, OrderedDict(arguments))
