"""What a chain of names means, as far as that can be known without running anything.

Attributes are looked up with `inspect.getattr_static`, so that no property and no `__getattr__` of
the user's runs. A parameter stands for some object of the class that its hint names.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
import typing
from collections.abc import Iterator
from functools import cached_property
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any, Final

from dispatcher.sdk.functions.deciding.chains import CALLED, Chain, Root
from dispatcher.sdk.functions.deciding.scanning import inner, scanned
from dispatcher.sdk.functions.deciding.things import Bound, Instance, class_of, is_a

_NOTHING: Final = object()
_MOST_ALIASES: Final = 8


class Names:
    """The names in one function, with the functions inside of it. `owner` is the object of a
    method, None where there is none."""

    def __init__(self, function: FunctionType, owner: object) -> None:
        self._function = function
        self._owner = owner
        self._globals: dict[str, Any] = function.__globals__

    def roots(self, chain: Chain, depth: int = 0) -> Iterator[tuple[object, Chain]]:
        """Yield what the first name of a chain may be, with the chain: that of what a variable
        stands for, where it is one."""
        if chain.root is Root.MODULE:
            module = self._module(chain.name)
            if module is not None:
                yield module, chain
        elif chain.root is Root.GLOBAL:
            if chain.name == "super" and chain.attributes[:1] == (CALLED,):
                yield from self._super(chain)
            elif chain.name in self._globals:
                yield self._globals[chain.name], chain
        else:
            yield from self._variable(chain, depth)

    def _variable(self, chain: Chain, depth: int) -> Iterator[tuple[object, Chain]]:
        for alias in self._aliases.get(chain.name, ()):
            if depth < _MOST_ALIASES:
                longer = Chain(alias.root, alias.name, alias.attributes + chain.attributes)
                yield from self.roots(longer, depth + 1)
        for thing in (self._parameters.get(chain.name), self._cells.get(chain.name)):
            if thing is not None:
                yield thing, chain

    @cached_property
    def _aliases(self) -> dict[str, list[Chain]]:
        aliases: dict[str, list[Chain]] = {}
        codes = [self._function.__code__]
        while codes:
            code = codes.pop()
            codes += inner(code)
            for name, chain in scanned(code).aliases:
                if chain.name != name or chain.root is not Root.LOCAL:
                    aliases.setdefault(name, []).append(chain)
        return aliases

    @cached_property
    def _parameters(self) -> dict[str, object]:
        code = self._function.__code__
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        hints = hints_of(self._function)
        known = {name: Instance(hints[name]) for name in names if is_a(hints.get(name), type)}
        owned = {names[0]: self._owner} if names and self._owner is not None else {}
        return {**known, **owned}

    @cached_property
    def _cells(self) -> dict[str, object]:
        cells: tuple[CellType, ...] = self._function.__closure__ or ()
        return dict(zip(self._function.__code__.co_freevars, map(_contents, cells), strict=False))

    def _module(self, name: str) -> ModuleType | None:
        if name.startswith("."):
            try:
                name = importlib.util.resolve_name(name, self._globals.get("__package__") or "")
            except ImportError:
                return None
        return sys.modules.get(name)

    def _super(self, chain: Chain) -> Iterator[tuple[object, Chain]]:
        """What comes behind the class of the method in the order of its object's classes."""
        here = self._cells.get("__class__")
        if self._owner is None or not is_a(here, type) or len(chain.attributes) < 2:
            return
        name, rest = chain.attributes[1], chain.attributes[2:]
        order = class_of(self._owner).__mro__
        for cls in order[order.index(here) + 1 :] if here in order else ():
            if name in vars(cls):
                for thing in _bound(vars(cls)[name], self._owner):
                    yield thing, Chain(chain.root, f"super.{name}", rest)
                return


def attribute(thing: object, name: str) -> list[object]:
    """Return what an attribute may be, or a call where `name` is `CALLED`. [] for nothing known."""
    if name == CALLED:
        return _called(thing)
    if is_a(thing, ModuleType):
        value = vars(thing).get(name, sys.modules.get(f"{thing.__name__}.{name}", _NOTHING))
        return [] if value is _NOTHING else [value]
    target = thing.cls if is_a(thing, Instance) else thing
    value = inspect.getattr_static(target, name, _NOTHING)
    found = [] if value is _NOTHING else _bound(value, thing)
    hint = hints_of(class_of(thing)).get(name)
    # Of `client: Client` in a class the hint says more than a default None.
    if is_a(hint, type) and (value is _NOTHING or value is None or is_a(thing, Instance)):
        found.append(Instance(hint))
    return found


def _bound(value: object, owner: object) -> list[object]:
    """What a class has, as an attribute of `owner`."""
    if is_a(value, FunctionType):
        return [value if is_a(owner, type) else Bound(value, owner)]
    if is_a(value, staticmethod):
        return [value.__func__]
    if is_a(value, classmethod):
        # Another decorator may stand below it, as lru_cache, which makes no function of Python's.
        below: object = value.__func__
        return [Bound(below, class_of(owner)) if is_a(below, FunctionType) else below]
    getter = _getter(value)
    if getter is None:
        return [value]
    returns = hints_of(getter).get("return")
    return [Bound(getter, owner), *([Instance(returns)] if is_a(returns, type) else [])]


def _getter(value: object) -> FunctionType | None:
    """What runs when a property is looked at, None where it is none."""
    if is_a(value, property):
        getter: object = value.fget
    else:
        getter = inspect.getattr_static(value, "func", None) if _is_cached(value) else None
    return getter if is_a(getter, FunctionType) else None


def _is_cached(value: object) -> bool:
    return type(value).__name__ in ("cached_property", "cachedproperty")


def _called(thing: object) -> list[object]:
    """What a call gives: an object of a class, or of the class that a function's hint names."""
    if is_a(thing, type):
        return [Instance(thing)]
    function = thing.function if is_a(thing, Bound) else thing
    if is_a(function, MethodType):
        function = function.__func__
    returns = hints_of(function).get("return") if is_a(function, FunctionType) else None
    return [Instance(returns)] if is_a(returns, type) else []


def hints_of(thing: Any) -> dict[str, Any]:
    """Return the type hints of a function or a class, {} where they can't be known; of `T | None`
    and `Annotated[T, …]` it is T."""
    try:
        hints = typing.get_type_hints(thing)
    except Exception:  # a hint may be any expression
        return {}
    return {name: _plain(hint) for name, hint in hints.items()}


def _plain(hint: Any) -> Any:
    kinds = [each for each in typing.get_args(hint) if each is not type(None)]
    return kinds[0] if len(kinds) == 1 and type(None) in typing.get_args(hint) else hint


def _contents(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not set yet
        return None
