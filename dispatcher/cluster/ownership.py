"""What one partition is for one member, what happens to it, and what is to be done then. Pure: the
table; `lease` walks it.

    FOREIGN ─claim─▶ CLAIMING ─ours─▶ OPENING ─opened─▶ OWNED ─give─▶ GIVING ─given─▶ RELEASING
       ▲                                 │ lost           │ lost                          │
       │                                LOST ◀────────────┘                               │
       └── another's record is seen, from each of them ◀── released is stored ────────────┘

Whoever has the latest record that holds a partition is its owner, whatever anybody believes, and it
is told here as soon as this is seen: by the verdict on what was sent, or by a look. A record of our
own that was thought lost is ours all the same (`OURS`). The clock decides three things only, which
are not here: when to renew, until when to act, and when to claim what is not renewed.

`TRANSITIONS` is the whole of it; what is not there cannot happen.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final


class State(Enum):
    """What a partition is for this member."""

    FOREIGN = "another's, or nobody's"
    CLAIMING = "asked for, without a verdict"
    OPENING = "ours; its logs are being recovered"
    OWNED = "ours, and open"
    LOST = "ours, but its logs have to be opened anew, under a later epoch"
    FAILED = "ours, and cannot be opened: a person has to see to it; tried again now and then"
    GIVING = "ours, and being handed over"
    RELEASING = "not needed any more; the store does not know it yet"

    @property
    def is_held(self) -> bool:
        """Whether this member renews it."""
        return self in _HELD

    @property
    def is_open(self) -> bool:
        """Whether its logs are open here, so that this member may act for it."""
        return self in _OPEN

    @property
    def is_news(self) -> bool:
        """Whether others hear of it at once, not with the next renewal. Of `OPENING` the claim told
        them."""
        return self in _NEWS


_HELD: Final = (State.OPENING, State.OWNED, State.FAILED, State.GIVING)
_OPEN: Final = (State.OWNED, State.GIVING)
_NEWS: Final = (State.OWNED, State.FAILED, State.GIVING)


class Event(Enum):
    """What happens to a partition."""

    CLAIM = "it is our turn, and we ask for it"
    UNCLEAR = "what we asked for was refused, or had no verdict"
    OURS = "the latest record holds it, and is our own"
    UNWANTED = "the same, of a claim that was thought lost, while we take nothing more"
    ANOTHERS = "the latest record is not our own, or releases it"
    OPENED = "its logs are open"
    FAIL = "its logs cannot be opened"
    LOSE = "its logs were opened by somebody else, or do not say what is stored"
    GIVE = "it is to be another's"
    GIVEN = "nothing of it is left here"


class Do(Enum):
    """What has to be done now."""

    NOTHING = "nothing"
    OPEN = "open its logs"
    ABANDON = "let go of it at once"
    HAND_OVER = "hand it over"


TRANSITIONS: Final[Mapping[tuple[State, Event], tuple[State, Do]]] = {
    (State.FOREIGN, Event.CLAIM): (State.CLAIMING, Do.NOTHING),
    (State.FOREIGN, Event.OURS): (State.OPENING, Do.OPEN),  # a claim that was thought lost
    (State.FOREIGN, Event.UNWANTED): (State.RELEASING, Do.NOTHING),
    (State.FOREIGN, Event.ANOTHERS): (State.FOREIGN, Do.NOTHING),
    (State.FOREIGN, Event.UNCLEAR): (State.FOREIGN, Do.NOTHING),
    (State.FOREIGN, Event.LOSE): (State.FOREIGN, Do.NOTHING),
    (State.FOREIGN, Event.GIVE): (State.FOREIGN, Do.NOTHING),
    #
    (State.CLAIMING, Event.OURS): (State.OPENING, Do.OPEN),
    (State.CLAIMING, Event.ANOTHERS): (State.FOREIGN, Do.NOTHING),
    (State.CLAIMING, Event.UNCLEAR): (State.FOREIGN, Do.NOTHING),
    (State.CLAIMING, Event.LOSE): (State.CLAIMING, Do.NOTHING),
    (State.CLAIMING, Event.GIVE): (State.FOREIGN, Do.NOTHING),  # it may be ours yet (UNWANTED)
    #
    (State.OPENING, Event.OURS): (State.OPENING, Do.NOTHING),
    (State.OPENING, Event.UNCLEAR): (State.OPENING, Do.NOTHING),
    (State.OPENING, Event.OPENED): (State.OWNED, Do.NOTHING),
    (State.OPENING, Event.FAIL): (State.FAILED, Do.NOTHING),
    (State.OPENING, Event.LOSE): (State.LOST, Do.ABANDON),
    (State.OPENING, Event.ANOTHERS): (State.FOREIGN, Do.ABANDON),
    (State.OPENING, Event.GIVE): (State.GIVING, Do.HAND_OVER),
    #
    (State.OWNED, Event.OURS): (State.OWNED, Do.NOTHING),
    (State.OWNED, Event.UNCLEAR): (State.OWNED, Do.NOTHING),
    (State.OWNED, Event.LOSE): (State.LOST, Do.ABANDON),
    (State.OWNED, Event.ANOTHERS): (State.FOREIGN, Do.ABANDON),
    (State.OWNED, Event.GIVE): (State.GIVING, Do.HAND_OVER),
    #
    (State.LOST, Event.OURS): (State.OPENING, Do.OPEN),
    (State.LOST, Event.UNCLEAR): (State.LOST, Do.NOTHING),
    (State.LOST, Event.LOSE): (State.LOST, Do.NOTHING),
    (State.LOST, Event.ANOTHERS): (State.FOREIGN, Do.NOTHING),
    (State.LOST, Event.GIVE): (State.RELEASING, Do.NOTHING),
    #
    (State.FAILED, Event.OURS): (State.FAILED, Do.NOTHING),
    (State.FAILED, Event.OPENED): (State.OWNED, Do.NOTHING),  # it is tried again now and then
    (State.FAILED, Event.FAIL): (State.FAILED, Do.NOTHING),
    (State.FAILED, Event.UNCLEAR): (State.FAILED, Do.NOTHING),
    (State.FAILED, Event.LOSE): (State.FAILED, Do.NOTHING),
    (State.FAILED, Event.ANOTHERS): (State.FOREIGN, Do.ABANDON),
    (State.FAILED, Event.GIVE): (State.GIVING, Do.HAND_OVER),
    #
    (State.GIVING, Event.OURS): (State.GIVING, Do.NOTHING),
    (State.GIVING, Event.UNCLEAR): (State.GIVING, Do.NOTHING),
    (State.GIVING, Event.LOSE): (State.RELEASING, Do.ABANDON),  # nothing is left to hand over
    (State.GIVING, Event.GIVE): (State.GIVING, Do.NOTHING),
    (State.GIVING, Event.GIVEN): (State.RELEASING, Do.NOTHING),
    (State.GIVING, Event.ANOTHERS): (State.FOREIGN, Do.ABANDON),
    #
    (State.RELEASING, Event.OURS): (State.RELEASING, Do.NOTHING),  # a renewal that came late
    (State.RELEASING, Event.UNCLEAR): (State.RELEASING, Do.NOTHING),
    (State.RELEASING, Event.LOSE): (State.RELEASING, Do.NOTHING),
    (State.RELEASING, Event.GIVE): (State.RELEASING, Do.NOTHING),
    (State.RELEASING, Event.ANOTHERS): (State.FOREIGN, Do.NOTHING),
}
