"""What a state holds: operations and events of a durable call, a column for each thing that is
known of them. `journal` says what each means, and how it is written."""

from __future__ import annotations

from dataclasses import dataclass, field

from dispatcher.sdk.replay.results import Recorded


class BadState(ValueError):
    """These bytes are no state of this SDK, or of a later version of it."""


@dataclass(slots=True)
class Columns:
    """A whole state, or a piece that extends one. See `journal` for what the fields hold."""

    nonce: int = 0
    started_us: int = 0
    python: int = 0
    outcomes: int = 0
    sent: int = 0
    untold: int | None = None
    places: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    place_of: list[int] = field(default_factory=list)
    path_of: list[int] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    event_of: list[int] = field(default_factory=list)
    event_ms: list[int] = field(default_factory=list)
    results: list[Recorded] = field(default_factory=list)
