"""The states of a caller's connection, and the table of what may follow what.

    state    what arrives is                     leaves to
    IDLE     the start of a request              HEAD, BODY, DROP, ENDING; IDLE when it was whole
    HEAD     the rest of a head                  IDLE when it is whole; ENDING when refused
    BODY     the rest of a body                  IDLE when it is whole; ENDING when refused
    DROP     the rest of a refused body          IDLE; ENDING when the caller stops sending
    ENDING   dropped: the last answer is known   LINGER when all answers are written
    LINGER   dropped: the last answer is out     (CLOSED)
    CLOSED   (nothing arrives)

Every state leads to CLOSED: a caller may be gone at any time.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class State(Enum):
    """What the next byte is."""

    IDLE = "idle"
    HEAD = "head"
    BODY = "body"
    DROP = "drop"
    ENDING = "ending"
    LINGER = "linger"
    CLOSED = "closed"

    __hash__ = object.__hash__  # Enum's own is written in Python: a look-up would be a call


# A member of an enum takes ten times as long to look up as a global; these are for each request.
IDLE: Final = State.IDLE
HEAD: Final = State.HEAD
BODY: Final = State.BODY
DROP: Final = State.DROP
ENDING: Final = State.ENDING
LINGER: Final = State.LINGER
CLOSED: Final = State.CLOSED

TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    IDLE: frozenset({HEAD, BODY, DROP, ENDING, CLOSED}),
    HEAD: frozenset({IDLE, ENDING, CLOSED}),
    BODY: frozenset({IDLE, ENDING, CLOSED}),
    DROP: frozenset({IDLE, ENDING, CLOSED}),
    ENDING: frozenset({LINGER, CLOSED}),
    LINGER: frozenset({CLOSED}),
    CLOSED: frozenset(),
}
"""From each state to those that may follow; `Exchange` enters no other."""
