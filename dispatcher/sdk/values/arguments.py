"""The arguments of a call as one value.

    f(x)               x itself, so that curl, a schedule and other SDKs call f as we do
    anything else      a struct of the parameters by name, with a mark that says so

A dict that is x itself has a mark as well, and is plain for others. Who sends none of these marks
is somebody else, and what is meant follows from the function:

    nothing            no arguments, where all parameters have defaults
    a struct           the parameters by name; the value of the only parameter where it does not
                       name that, or of the first where others have defaults and it has other names
    a list             the arguments in their order, where two or more have no default
    anything else      the first argument
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import Parameter

from dispatcher.protocol.messages import MarkedValue
from dispatcher.sdk.exceptions import EncodeError
from dispatcher.sdk.replay.model import Value
from dispatcher.sdk.values import marks
from dispatcher.sdk.values.misfit import Misfit
from dispatcher.sdk.values.signature import Signature, Taken
from dispatcher.sdk.values.variadic import named, several
from dispatcher.sdk.values.wire import VALUE, packed, to_wire
from dispatcher.sdk.values.writing import write


def encode_arguments(
    signature: Signature, args: Sequence[object], kwargs: Mapping[str, object]
) -> Value:
    """Encode the arguments of a call.

    Raises:
        TypeError: the function can't be called with these; as Python says it.
        EncodeError: an argument does not fit its hint, or can't be sent.
    """
    if len(args) == 1 and not kwargs and signature.takes_one and signature.first is not None:
        return _encoded_one(signature, signature.first, args[0])
    try:
        bound = signature.plain.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{signature.name}(): {error}") from None
    return _encoded_by_name(signature, bound.arguments)


def _encoded_one(signature: Signature, taken: Taken, value: object) -> Value:
    try:
        plain = taken.codec.lower(value)
        if isinstance(plain, dict) or (plain is None and not signature.required):
            return packed(plain, taken.codec.fallback, marks.WHOLE)
        return to_wire(plain, taken.codec.fallback)
    except Misfit as found:
        raise _unsent(signature, taken.name, found) from found.__cause__


def _encoded_by_name(signature: Signature, arguments: Mapping[str, object]) -> Value:
    message = MarkedValue(mark=marks.KEYWORDS)
    message.struct_value.SetInParent()
    for name, value in arguments.items():
        taken = signature.parameters[name]
        try:
            _add(message, taken, value)
        except Misfit as found:
            raise _unsent(signature, name, found) from found.__cause__
    return Value(VALUE, message.SerializeToString(deterministic=True))


def _add(message: MarkedValue, taken: Taken, value: object) -> None:
    plain: object
    if taken.kind is Parameter.VAR_POSITIONAL:
        plain = several(value, taken.codec.lower)
    elif taken.kind is Parameter.VAR_KEYWORD:
        plain = named(value, taken.codec.lower)
    else:
        plain = taken.codec.lower(value)
    entry = message.struct_value.fields.add(key=taken.name)
    write(entry.value, plain, taken.codec.fallback, 1)


def _unsent(signature: Signature, name: str, found: Misfit) -> EncodeError:
    return EncodeError(f"{found.told(f'argument {name!r} of {signature.name}')}.")
