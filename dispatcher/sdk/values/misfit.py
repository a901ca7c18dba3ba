"""A value that does not fit, and where it stands in the value that was given.

Found deep inside, it is raised bare; each level that it passes adds its step, so that nothing is
spent on places while all fits.
"""

from __future__ import annotations

import reprlib
from collections.abc import Awaitable
from typing import Final

_MOST_CHARS: Final = 60
_SHOWN: Final = (bool, int, float, str, type(None))


class Misfit(Exception):
    """What is wrong, as a predicate: "has to be int, not 'x' (str)"."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        self._steps: list[str] = []

    def at(self, step: str) -> Misfit:
        """Note that it stands at this step (".price", "[3]") of what is around it."""
        self._steps.append(step)
        return self

    @property
    def is_outermost(self) -> bool:
        """Whether it stands nowhere deeper."""
        return not self._steps

    def told(self, where: str) -> str:
        """The whole sentence; `where` names the outermost value: "argument 'order'"."""
        steps = "".join(reversed(self._steps))
        return f"{where}, at {steps[:200]}: {self.what}" if steps else f"{where} {self.what}"


def shown(value: object) -> str:
    """A value as errors show it: small ones themselves, others by their type only."""
    if value is None:
        return "None"
    if isinstance(value, Awaitable):
        return f"{repr(value)[:200]}: write `await` before it"
    name = type(value).__name__
    if type(value) not in _SHOWN:
        return f"{_article(name)} {name}"
    text = _REPR.repr(value)
    return f"{text} ({name})"


def named(kind: object) -> str:
    """A hint as the user wrote it, or nearly so."""
    return kind.__qualname__ if isinstance(kind, type) and not _is_generic(kind) else str(kind)


def _is_generic(kind: object) -> bool:
    return hasattr(kind, "__origin__")


def _article(name: str) -> str:
    return "an" if name[:1].lower() in "aeiou" else "a"


_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = _MOST_CHARS
