"""What a function takes and returns, as its arguments and results are coded by it."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from inspect import Parameter
from typing import Any, Final

from dispatcher.sdk.values.codec import Codec
from dispatcher.sdk.values.fields import type_parameters
from dispatcher.sdk.values.hints import codec_of
from dispatcher.sdk.values.misfit import Misfit
from dispatcher.sdk.values.unresolved import Unresolved

VARIADIC: Final = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
_POSITIONAL: Final = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """A parameter. Of `*items` and `**options` the codec is that of one of them."""

    name: str
    kind: inspect._ParameterKind
    codec: Codec
    is_required: bool


class Signature:
    """The parameters of a function and its result. Hints are looked at when the first value comes:
    they may name what is defined later. `name` is the function's in errors.
    """

    def __init__(
        self,
        function: Callable[..., object],
        name: str = "",
        *,
        names: Mapping[str, object] | None = None,
    ) -> None:
        """`names` are those that hints may use beyond the globals of the function's module.

        Raises:
            ValueError, TypeError: it has no signature that Python can tell.
        """
        self.name: Final = name or getattr(function, "__name__", type(function).__name__)
        self.plain: Final = inspect.signature(function)
        self._function: Final = function
        self._names: Final = names

    def __repr__(self) -> str:
        return f"<signature {self.name}{self.plain}>"

    @cached_property
    def parameters(self) -> dict[str, Taken]:
        """By their names, in their order."""
        return {
            name: Taken(
                name,
                parameter.kind,
                codec_of(_with_default(self._hints.get(name), parameter.default)),
                parameter.default is Parameter.empty and parameter.kind not in VARIADIC,
            )
            for name, parameter in self.plain.parameters.items()
        }

    @cached_property
    def first(self) -> Taken | None:
        """What takes one argument that is given by position."""
        for one in self.parameters.values():
            if one.kind in _POSITIONAL or one.kind is Parameter.VAR_POSITIONAL:
                return one
        return None

    @cached_property
    def required(self) -> list[Taken]:
        """The parameters without a default."""
        return [one for one in self.parameters.values() if one.is_required]

    @cached_property
    def required_names(self) -> frozenset[str]:
        """Their names."""
        return frozenset(one.name for one in self.required)

    @cached_property
    def named(self) -> frozenset[str]:
        """The names of all parameters but `**options`."""
        variadic = Parameter.VAR_KEYWORD
        return frozenset(one.name for one in self.parameters.values() if one.kind is not variadic)

    @cached_property
    def takes_one(self) -> bool:
        """Whether it can be called with one positional argument and nothing else."""
        return self.first is not None and all(one is self.first for one in self.required)

    @cached_property
    def returns(self) -> object:
        """The hint of its result, None without one: for `encode` and `decode`."""
        return self._hints.get("return")

    @cached_property
    def _hints(self) -> dict[str, object]:
        function = inspect.unwrap(self._function)
        try:
            return _hints(function, self._names)
        except Misfit:
            return _one_by_one(function, self._names)


def _with_default(hint: Any, default: object) -> object:
    """`x: int = None` means what `x: int | None = None` says."""
    is_known = hint is not None and not isinstance(hint, Unresolved)
    return hint | None if default is None and is_known else hint


def _hints(function: Any, names: Mapping[str, object] | None) -> dict[str, object]:
    while hasattr(function, "func"):  # functools.partial
        function = function.func
    if not hasattr(function, "__annotations__") and callable(function):
        function = type(function).__call__
    known = {**type_parameters(function), **_closure(function), **(names or {})}
    try:
        return typing.get_type_hints(function, localns=known or None, include_extras=True)
    except (NameError, TypeError, AttributeError, SyntaxError) as error:
        raise Misfit(str(error)) from error


def _closure(function: object) -> dict[str, object]:
    """The variables of the function around it which it uses."""
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    cells = getattr(function, "__closure__", None) or ()
    found = {}
    for name, cell in zip(getattr(code, "co_freevars", ()), cells, strict=False):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not set yet
            continue
    return found


def _one_by_one(function: Any, names: Mapping[str, object] | None) -> dict[str, object]:
    """Each hint by itself; of one that can't be resolved, a codec for what needs none."""
    hints: dict[str, object] = {}
    for name, hint in getattr(function, "__annotations__", {}).items():

        def alone() -> None: ...

        alone.__annotations__ = {name: hint}
        known = getattr(function, "__globals__", {}) | type_parameters(function)
        known = {**known, **_closure(function), **(names or {})}
        try:
            hints[name] = typing.get_type_hints(alone, globalns=known, include_extras=True)[name]
        except (NameError, TypeError, AttributeError, SyntaxError) as error:
            hints[name] = Unresolved(str(hint), str(error))
    return hints
