"""What is said of something that should have been awaited, where it is used as its result.

`text = greet(name)` without `await` gives no text, and `text.upper()` would be refused by Python in
words that say nothing of the cause; `if approved(order):` would be true whatever the answer is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from dispatcher.sdk.functions import context, durable

_AWAIT: Final = "write `await` before it, and use what that gives"
_PROBED: Final = ("_", "cr_", "gi_", "ag_")
"""How names begin that libraries ask any object for, to find out what it is."""


def refused(name: str) -> Any:
    """Return a method that Python calls for an operator or a statement, and that says to await."""

    def method(self: object, *_: object) -> Any:
        raise TypeError(f"{self!r} is no value by itself: {_instead()}.")

    method.__name__ = name
    return method


def _instead() -> str:
    """What to write, by the code that runs here: what runs in a thread can't await."""
    here = context.inside.get()
    if durable.running() is None and here is not None and here.net is None:
        return f"make {here.told.function} `async def`, and {_AWAIT}"
    return _AWAIT


class Unawaited:
    """What can be awaited, and nothing else. For type checkers it has nothing of this: they find
    the mistake by themselves."""

    __slots__ = ()

    if not TYPE_CHECKING:
        __bool__ = refused("__bool__")
        __len__ = refused("__len__")
        __contains__ = refused("__contains__")
        __getitem__ = refused("__getitem__")
        __int__ = refused("__int__")
        __float__ = refused("__float__")
        __add__ = __radd__ = refused("__add__")
        __sub__ = __rsub__ = refused("__sub__")
        __mul__ = __rmul__ = refused("__mul__")
        __truediv__ = __rtruediv__ = refused("__truediv__")
        __lt__ = refused("__lt__")
        __le__ = refused("__le__")
        __gt__ = refused("__gt__")
        __ge__ = refused("__ge__")
        __enter__ = refused("__enter__")
        __exit__ = refused("__exit__")

        def __iter__(self) -> Iterator[Any]:
            refused("__iter__")(self)  # at the first item: `", ".join` hides what __iter__ raises
            yield

        def __getattr__(self, name: str) -> Any:
            if name.startswith(_PROBED):
                raise AttributeError(name)
            raise AttributeError(f"{self!r} has no {name!r}: {_instead()}.")
