"""An exception as a plain dict that goes over the wire, and an exception that looks like it again.

    {"module": "shop.errors", "class": "OutOfStock", "args": [...], "state": {...}, "text": "...",
     "notes": [...], "cause": {...}, "exceptions": [...]}

`state` are its attributes; of what can't be sent an argument is its text and an attribute is left
out. `exceptions` are those of a group. It comes back as an instance of its own class where that is
imported already and derives from Exception. Its `__init__` is not called, as nobody knows what it
takes; that of the builtin class beneath it is. Nothing is imported, and nothing is unpickled.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from dispatcher.sdk.errors.tracebacks import taken_off
from dispatcher.sdk.exceptions import CallError, EncodeError
from dispatcher.sdk.values import encode

_MOST_CAUSES: Final = 10
_MOST_IN_GROUP: Final = 100
_MOST_CHARS: Final = 10_000
_OF_OSERROR: Final = ("errno", "strerror", "filename", "filename2")


def portrait(error: BaseException, depth: int = 0) -> dict[str, object]:
    """Describe an exception. Values in it can be encoded."""
    kind = type(error)
    drawn: dict[str, object] = {
        "module": kind.__module__,
        "class": kind.__qualname__,
        "text": text_of(error),
        "args": [_sendable(item) for item in _args(error)],
    }
    if state := _state(error):
        drawn["state"] = state
    if notes := [str(note)[:_MOST_CHARS] for note in getattr(error, "__notes__", ())]:
        drawn["notes"] = notes
    cause = taken_off(error)
    if cause is not None and depth < _MOST_CAUSES:
        drawn["cause"] = portrait(cause, depth + 1)
    if isinstance(error, BaseExceptionGroup) and depth < _MOST_CAUSES:
        members = error.exceptions[:_MOST_IN_GROUP]
        drawn["exceptions"] = [portrait(member, depth + 1) for member in members]
    return drawn


def text_of(error: BaseException) -> str:
    """What `str` says of it, if it does."""
    try:
        text = str(error)
    except Exception as failed:  # its own __str__
        text = f"<{type(error).__name__} has no text: {type(failed).__name__}>"
    return text[:_MOST_CHARS].encode("utf-8", "replace").decode("utf-8")


def _args(error: BaseException) -> tuple[object, ...]:
    # A group's second argument are its members, which are drawn by themselves.
    return error.args[:1] if isinstance(error, BaseExceptionGroup) else error.args


def _sendable(item: object) -> object:
    try:
        encode(item)
    except EncodeError:
        return _shown(item)
    return item


def _shown(item: object) -> str:
    try:
        return str(item)[:_MOST_CHARS].encode("utf-8", "replace").decode("utf-8")
    except Exception:  # its own __str__
        return f"<{type(item).__name__}>"


def _state(error: BaseException) -> dict[str, object]:
    found = {name: getattr(error, name, None) for name in _slots(type(error))}
    if isinstance(error, OSError):
        found |= {name: getattr(error, name, None) for name in _OF_OSERROR}
    found |= getattr(error, "__dict__", {})
    state: dict[str, object] = {}
    for name, item in found.items():
        if item is None or name.startswith("__"):
            continue
        try:
            encode(item)
        except EncodeError:
            continue
        state[name] = item
    return state


def _slots(kind: type) -> list[str]:
    names: list[str] = []
    for one in kind.__mro__:
        slots = one.__dict__.get("__slots__", ())
        names.extend([slots] if isinstance(slots, str) else slots)
    return names


def lookalike(drawn: Mapping[str, object]) -> Exception:
    """Make an exception of its portrait: of its own class, else a `CallError`. What is damaged in
    it is passed over."""
    made = _of_own_class(drawn)
    if made is None:
        made = CallError(str(drawn.get("class", "")), str(drawn.get("text", "")))
    for note in _list(drawn, "notes"):
        made.add_note(str(note))
    cause = drawn.get("cause")
    if isinstance(cause, dict):
        made.__cause__ = lookalike(cause)
    return made


def _list(drawn: Mapping[str, object], name: str) -> list[Any]:
    found = drawn.get(name)
    return found if isinstance(found, list) else []


def _of_own_class(drawn: Mapping[str, object]) -> Exception | None:
    kind = _imported(str(drawn.get("module", "")), str(drawn.get("class", "")))
    if kind is None:
        return None
    try:
        return _made(kind, drawn)
    except Exception:  # a class that can't be made so, whatever its own code raises
        return None


def _imported(module: str, name: str) -> type[Exception] | None:
    """The class where it is there already; looked up without running anything of the application,
    as a module's or a class's own `__getattr__`."""
    found: object = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    if found is BaseExceptionGroup:  # all that is in it has become an Exception
        return ExceptionGroup
    return found if isinstance(found, type) and issubclass(found, Exception) else None


def _made(kind: type[Exception], drawn: Mapping[str, object]) -> Exception | None:
    # A large one comes without its arguments, and its text is what is left of them.
    args = tuple(_list(drawn, "args") if "args" in drawn else [str(drawn.get("text", ""))])
    base: Any = next(one for one in kind.__mro__ if one.__module__ == "builtins")
    if issubclass(kind, ExceptionGroup):
        members = [lookalike(one) for one in _list(drawn, "exceptions")]
        made: Exception = base.__new__(kind, *args[:1], members)
    else:
        made = base.__new__(kind, *args)
        base.__init__(made, *args)
    if type(made) is not kind:  # OSError makes the subclass that fits the number
        return None
    state = drawn.get("state")
    if isinstance(state, dict):
        _restore(made, state)
    # Where it can't do without its `__init__`, as some that pass attributes on, a CallError can.
    # These two are what Python looks at to print it.
    str(made), getattr(made, "__notes__", None)
    return made


def _restore(made: Exception, state: Mapping[str, object]) -> None:
    slots = {*_slots(type(made)), *(_OF_OSERROR if isinstance(made, OSError) else ())}
    for name, item in state.items():
        if name in slots:
            object.__setattr__(made, name, item)
        elif not name.startswith("__"):  # not by setattr, which may be the application's
            made.__dict__[name] = item
