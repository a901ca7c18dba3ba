"""How this copy of the package was built: whether its hot path is compiled, or plain Python."""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from typing import Final

from dispatcher import __version__

_OF_THE_HOT_PATH: Final = "dispatcher.queue.pending.index"
"""A module that is compiled whenever any is."""


def is_compiled() -> bool:
    """Say whether the modules of the hot path are extensions."""
    found = find_spec(_OF_THE_HOT_PATH)
    origin = found.origin if found is not None else None
    return origin is not None and origin.endswith(tuple(EXTENSION_SUFFIXES))


def described() -> str:
    """Return what `dispatcher --version` prints."""
    return f"dispatcher {__version__} ({'compiled' if is_compiled() else 'pure'})"
