"""Looks for what makes a body durable: from function to function, the nearest first."""

from __future__ import annotations

import functools
import inspect
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import FunctionType, MethodType, ModuleType
from typing import Any, Final

from dispatcher.sdk.functions import marks
from dispatcher.sdk.functions.deciding.chains import CALLED, Chain
from dispatcher.sdk.functions.deciding.resolving import Names, attribute
from dispatcher.sdk.functions.deciding.scanning import inner, scanned
from dispatcher.sdk.functions.deciding.scope import is_looked_into
from dispatcher.sdk.functions.deciding.things import Bound, Instance, class_of, is_a

MOST_CALLS: Final = 5
"""How far down is looked: the function, and so many that are called one by the other."""
_MOST_ENTRIES: Final = 100
_MOST_LOOKS: Final = 5_000  # some milliseconds; nobody's function reaches so much
_OF_OBJECTS: Final = (
    "__call__",
    "__await__",
    "__aenter__",
    "__aexit__",
    "__aiter__",
    "__anext__",
)


@dataclass(frozen=True, slots=True)
class _Look:
    """Something that was reached, by which names, how many calls down; `words` are the attributes
    that who named it uses."""

    thing: object
    trail: tuple[str, ...]
    calls: int
    words: frozenset[str] = frozenset()


def evidence(body: object, name: str) -> tuple[str, ...] | None:
    """Return the names that lead from a body to something durable, None where none do."""
    looks = deque([_Look(body, (name,), 0)])
    seen: set[tuple[int, int]] = set()
    kept: list[object] = []  # ids are of things that live
    while looks and len(kept) < _MOST_LOOKS:
        look = looks.popleft()
        if _mark(look.thing) is not None:
            return look.trail
        if _key(look.thing) in seen:
            continue
        seen.add(_key(look.thing))
        kept.append(look.thing)
        for found in _reached(look):
            if found.thing is _DURABLE:
                return found.trail
            looks.append(found)
    return None


_DURABLE: Final = object()
"""What a chain gives that ends at something durable."""


def _key(thing: object) -> tuple[int, int]:
    if is_a(thing, Bound):
        return id(thing.function), id(class_of(thing.owner))
    return (id(thing.cls), 1) if is_a(thing, Instance) else (id(thing), 0)


def _mark(thing: object) -> marks.Mark | None:
    target = thing.cls if is_a(thing, Instance) else thing
    mark = inspect.getattr_static(target, marks.ATTRIBUTE, None)
    return mark if is_a(mark, marks.Mark) else None


def _reached(look: _Look) -> Iterator[_Look]:
    """What is to be looked at next."""
    thing = look.thing
    if is_a(thing, FunctionType):
        yield from _in_function(look, thing, None)
    elif is_a(thing, Bound):
        yield from _in_function(look, thing.function, thing.owner)
    elif is_a(thing, MethodType):
        function: object = thing.__func__
        inside = Bound(function, thing.__self__) if is_a(function, FunctionType) else function
        yield _Look(inside, look.trail, look.calls)
    elif is_a(thing, staticmethod) or is_a(thing, classmethod):
        yield _Look(thing.__func__, look.trail, look.calls)
    elif not issubclass(type(thing), _SIMPLE):
        entries = _entries(thing)
        yield from _of_object(look) if entries is None else _each(look, entries)


_SIMPLE: Final = (ModuleType, str, bytes, int, float, type(None))


def _entries(thing: object) -> Iterable[object] | None:
    """What a container of Python's has in it, nothing of a large one; None for other things. The
    methods of its class are called, and no user's in their place."""
    if is_a(thing, functools.partial):
        return (thing.func, *thing.args, *thing.keywords.values())
    for kind in (list, tuple, set, frozenset):
        if issubclass(type(thing), kind):
            container: Any = thing
            return kind.__iter__(container) if kind.__len__(container) <= _MOST_ENTRIES else ()
    if is_a(thing, dict):
        return dict.values(thing) if dict.__len__(thing) <= _MOST_ENTRIES else ()
    return None


def _each(look: _Look, things: Iterable[object]) -> Iterator[_Look]:
    for thing in list(things):
        yield _Look(thing, look.trail, look.calls, look.words)


def _of_object(look: _Look) -> Iterator[_Look]:
    """Methods of an object, or of objects of a class: those that Python calls by itself, and those
    whose names occur where it was named."""
    thing = look.thing
    cls = class_of(thing)
    for name in () if is_a(thing, Instance) else ("__wrapped__", "dependency"):
        wrapped = inspect.getattr_static(thing, name, None)
        if wrapped is not None:
            yield _Look(wrapped, look.trail, look.calls)
    if not is_looked_into(cls.__module__, ""):
        return
    owner = Instance(cls) if is_a(thing, type) else thing
    for name in (*_OF_OBJECTS, *sorted(look.words)):
        for found in attribute(owner, name) if _has(cls, name) else ():
            if is_a(found, Bound) or is_a(found, FunctionType):
                yield _Look(found, (*look.trail, name), look.calls)


def _has(cls: type, name: str) -> bool:
    return any(name in vars(each) for each in cls.__mro__ if each is not object)


def _in_function(look: _Look, function: FunctionType, owner: object) -> Iterator[_Look]:
    wrapped = function.__dict__.get("__wrapped__")
    if wrapped is not None:
        yield _Look(wrapped, look.trail, look.calls)
    code = function.__code__
    if look.calls > MOST_CALLS or not is_looked_into(function.__module__, code.co_filename):
        return
    yield from _each(look, function.__defaults__ or ())
    yield from _each(look, (function.__kwdefaults__ or {}).values())
    names = Names(function, owner)
    codes = deque([code])
    while codes:
        code = codes.popleft()
        codes.extend(inner(code))
        scan = scanned(code)
        for chain in scan.chains:
            yield from _along(look, names, chain, scan.words)


def _along(look: _Look, names: Names, chain: Chain, words: frozenset[str]) -> Iterator[_Look]:
    """Follow a chain of names as far as anything is known. Whatever is called on the way is looked
    into, and properties are."""
    for root, found in names.roots(chain):
        reached = [root]
        for index, name in enumerate((*found.attributes, None)):
            trail = (*look.trail, _shown(found, index))
            for thing in reached:
                mark = _mark(thing)
                if mark is not None:
                    yield from _by_its_mark(look, thing, mark, (found, index))
            reached = [each for each in reached if _mark(each) is None]
            if name is None or name == CALLED:
                yield from (_Look(each, trail, look.calls + 1, words) for each in reached)
            if name is None:
                break
            reached = [each for thing in reached for each in attribute(thing, name)]
            longer = (*look.trail, _shown(found, index + 1))
            yield from (
                _Look(each, longer, look.calls + 1) for each in reached if is_a(each, Bound)
            )


def _shown(chain: Chain, length: int) -> str:
    """The beginning of a chain as it is written: `svc.run`."""
    names = (chain.name.lstrip("."), *chain.attributes[:length])
    return ".".join(each for each in names if each != CALLED)


def _by_its_mark(
    look: _Look, thing: object, mark: marks.Mark, at: tuple[Chain, int]
) -> Iterator[_Look]:
    """Whether something with a mark, so far along a chain, is used so that it is waited for."""
    chain, index = at
    while same := _same(mark, chain.attributes[index:]):
        index += len(same)
    after = chain.attributes[index : index + 1]
    trail = (*look.trail, _shown(chain, index + 1))
    if not after or after[0] not in mark.harmless:
        yield _Look(_DURABLE, trail, look.calls)
    elif after[0] == "local" and (spec := getattr(thing, "spec", None)) is not None:
        yield _Look(spec.body, trail, look.calls + 1)


def _same(mark: marks.Mark, attributes: tuple[str, ...]) -> tuple[str, ...]:
    """What of a chain gives the like of the thing before it."""
    return next((each for each in mark.same if attributes[: len(each)] == each), ())
