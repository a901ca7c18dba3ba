"""One thing that somebody may be told of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from dispatcher.core.rules.notify import Kind


class State(Enum):
    """Whether it is over: what happens in a moment is neither."""

    HAPPENED = "happened"
    BEGAN = "began"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Happening:
    """`text` says it in a sentence, for a person; `details` the same for a program. `at_us` is
    when, in microseconds since the epoch."""

    kind: Kind
    state: State
    at_us: int
    text: str
    details: Mapping[str, object] = field(default_factory=dict)
