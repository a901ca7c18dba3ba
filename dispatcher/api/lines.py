"""What lines of an import have in common, whatever they are of."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator

from dispatcher.api.fields import InstantIn
from dispatcher.errors import DispatcherError

MAX_RUNS: Final = 1001
"""Attempts of one letter: one, and as many as `RETRYLIMIT` may be. A letter with more would fit
into no batch of a log."""


_ID: Final = re.compile(r"[\x21-\x7e]{1,64}")


class BadLine(DispatcherError):
    """A line cannot be imported; the text says why."""


def known_id(text: str) -> str:
    """The id that a line says its message has; "" where it says none, or none that can be kept."""
    return text if _ID.fullmatch(text) else ""


def _not_before_epoch(instant_us: int) -> int:
    if instant_us < 0:
        raise ValueError("it is before 1970")
    return instant_us


NotBeforeEpoch = Annotated[InstantIn, AfterValidator(_not_before_epoch)]
