"""What is planned, and how far it has come. Instants are microseconds since the epoch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final


class Overlap(Enum):
    """What is done while what the firing before made has not ended; the value is the API's word.

    QUEUE  the firing waits until it has.
    SKIP   the firing is left out.
    """

    QUEUE = "queue"
    SKIP = "skip"


class CatchUp(Enum):
    """Which firings are made up for that came while the server was down; the value is the API's
    word."""

    NONE = "none"
    LAST = "last"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A call of a function. `input` is a serialized Any, or b"" for no input."""

    endpoint: str
    function: str
    input: bytes = b""

    def without_payload(self) -> PlannedCall:
        """The same without its input, which may be large."""
        return PlannedCall(self.endpoint, self.function)


@dataclass(frozen=True, slots=True)
class PlannedMessage:
    """A message.

    `destination` may have a base path, as the origin header of a caller. `headers` are names and
    values, with a character for each byte, `options` the values of options by their names in JSON
    (`core.options`), both in their order.
    """

    destination: str
    method: str = "POST"
    target: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    options: tuple[tuple[str, str], ...] = ()

    def without_payload(self) -> PlannedMessage:
        """The same without its body, which may be large."""
        return replace(self, body=b"")


Planned = PlannedCall | PlannedMessage


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done when."""

    cron: str
    timezone: str
    what: Planned
    overlap: Overlap = Overlap.QUEUE
    catch_up: CatchUp = CatchUp.LAST
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Firing:
    """What was made: for which time, and its key. `outcome` is the API's word for how it has
    ended; "": it has not, or others know."""

    at_us: int
    key: int
    outcome: str = ""


MOST_EARLIER: Final = 9


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a schedule has come: firings until `since_us` are dealt with.

    `fired` is the last one that made something, `run` the last one that somebody asked for,
    `skipped` how many were left out since the schedule began. `earlier` are those before `fired`,
    the newest first, with how they had ended when the next one fired.
    """

    since_us: int
    fired: Firing | None = None
    run: Firing | None = None
    skipped: int = 0
    earlier: tuple[Firing, ...] = ()
