"""In which call the code that runs here is: set by who runs plain functions, and by the app."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from dispatcher.sdk.functions.ports import App, Net
from dispatcher.sdk.replay.loop import CARRIED
from dispatcher.sdk.replay.model import Told


@dataclass(frozen=True, slots=True)
class Inside:
    """A plain function runs here, for the call that `told` is about. `net` is None where there is
    nobody to tell of durable operations: in a thread."""

    told: Told
    net: Net | None = None


inside: Final[ContextVar[Inside | None]] = ContextVar("dispatch.inside", default=None)
"""The call whose plain body, or step, runs here. A durable body is not in it: its loop tells."""

app: Final[ContextVar[App | None]] = ContextVar("dispatch.app", default=None)
"""The application that the code here belongs to; it goes before the one that was made last."""
CARRIED.append(app)
