"""What `top` shows now: the page, what is selected on it, and what was learned of the server."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from dispatcher.cli.client import Json
from dispatcher.cli.top.figures import Look, in_order

MOST_ROWS: Final = 100
"""How many messages, and how many letters, of a lane are shown at most."""


class Page(Enum):
    """What fills the screen."""

    LANES = "lanes"
    LANE = "lane"
    ONE = "one"
    HELP = "help"


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that is done at the server: a verb of a destination or a message.

    `question` is asked first where it is not empty.
    """

    verb: str
    subject: str
    question: str = ""


@dataclass(slots=True)
class Opened:
    """A lane that was opened: what waits for it, and its dead letters. None: not known yet."""

    destination: str
    kind: str
    messages: list[Json] | None = None
    letters: list[Json] | None = None

    @property
    def rows(self) -> list[Json]:
        """Both, as they are selected: messages, then letters."""
        return [*(self.messages or ()), *(self.letters or ())]


@dataclass(slots=True)
class Notice:
    """What is said at the foot: the outcome of the last deed, or what is wrong."""

    text: str
    is_error: bool = False


@dataclass(slots=True)
class State:
    """Everything that is drawn.

    `selected` names a lane on the page `LANES`, `row` is a place in the list of the page `LANE`,
    and `scroll` one in the lines of the page `ONE`.
    """

    server: str
    now: Look
    last: Look | None = None
    overview: Json | None = None
    history: Json | None = None
    page: Page = Page.LANES
    before: Page = Page.LANES
    order: str = "waiting"
    filter: str = ""
    is_typing: bool = False
    selected: str | None = None
    row: int = 0
    scroll: int = 0
    opened: Opened | None = None
    one: Json | None = None
    one_id: str = ""
    question: Deed | None = None
    notice: Notice | None = None
    trouble: str | None = None

    def lanes(self) -> list[Json]:
        """The lanes that are listed, in their order."""
        return in_order(self.now.figures.get("lanes") or [], self.order, self.filter)

    def lane(self) -> Json | None:
        """The lane that keys are about; None where there is none. A lane that was selected stays so
        when others change places."""
        if self.opened is not None and self.page is not Page.LANES:
            return self._named(self.opened.destination, self.opened.kind)
        lanes = self.lanes()
        return lanes[self.place(lanes)] if lanes else None

    def place(self, lanes: list[Json]) -> int:
        """Where the selected lane stands; 0 where it is not among them."""
        for place, lane in enumerate(lanes):
            if name_of(lane) == self.selected:
                return place
        return 0

    def pin(self) -> None:
        """Let what is selected stay so when lanes change places: a key must not be about another
        lane than the one that is seen."""
        lanes = self.lanes()
        if self.page is Page.LANES and lanes:
            self.selected = name_of(lanes[self.place(lanes)])

    def _named(self, destination: str, kind: str) -> Json | None:
        for lane in self.now.figures.get("lanes") or []:
            if lane["destination"] == destination and (lane.get("kind") or "message") == kind:
                found: Json = lane
                return found
        return None


def name_of(lane: Json) -> str:
    """What a lane is told from others by: messages and calls may have one each."""
    return f"{lane.get('kind')} {lane['destination']}"
