"""What lines of an import have in common, whatever they are of."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator

from dispatcher.api.fields import InstantIn
from dispatcher.errors import DispatcherError

MAX_RUNS: Final = 1001
"""Attempts of one letter: one, and as many as `RETRYLIMIT` may be. A letter with more would fit
into no batch of a log."""


class BadLine(DispatcherError):
    """A line cannot be imported; the text says why."""


def _not_before_epoch(instant_us: int) -> int:
    if instant_us < 0:
        raise ValueError("it is before 1970")
    return instant_us


NotBeforeEpoch = Annotated[InstantIn, AfterValidator(_not_before_epoch)]
