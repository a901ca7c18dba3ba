"""What a key means on the page that is shown. It changes what is seen; what is to be done at the
server, or fetched from it, is returned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dispatcher.cli.client import Json
from dispatcher.cli.top import keys
from dispatcher.cli.top.figures import ORDERS
from dispatcher.cli.top.state import Deed, Notice, Opened, Page, State, name_of

_PAGE_ROWS: Final = 10


@dataclass(frozen=True, slots=True)
class Quit:
    """End."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """Learn more of the server: about the lane that was opened, or about one message of it."""

    page: Page


Effect = Quit | Fetch | Deed | None

HELP: Final = (
    ("↑ ↓ k j", "select; PgUp, PgDn, Home, End too"),
    (
        "Enter, o",
        "open a destination: what waits, and its dead letters; then one of them, explained",
    ),
    ("Esc", "back"),
    ("h", "hold the destination: send nothing there"),
    ("r", "resume it"),
    ("t", "retry now: the destination, or the message that is selected"),
    ("/", "filter by name; Enter keeps it, Esc drops it"),
    ("s", f"sort by the next of {', '.join(ORDERS)}"),
    ("?", "this help"),
    ("q", "quit"),
)


def press(state: State, key: str) -> Effect:
    """Do what a key means."""
    if state.question is not None:
        return _answer(state, state.question, key)
    if state.is_typing:
        return _type(state, key)
    state.notice = None
    if key == "q":
        return Quit()
    if key == "?":
        if state.page is not Page.HELP:
            state.before, state.page = state.page, Page.HELP
        return None
    if state.page is Page.HELP:
        state.page = state.before
        return None
    if key in _ANYWHERE:
        return _ANYWHERE[key](state)
    match state.page:
        case Page.LANES:
            return _on_lanes(state, key)
        case Page.LANE:
            return _on_lane(state, key)
        case _:
            return _on_one(state, key)


def _answer(state: State, deed: Deed, key: str) -> Effect:
    state.question = None
    if key in ("y", "Y"):
        return deed
    state.notice = Notice("Nothing was done.")
    return None


def _type(state: State, key: str) -> Effect:
    if key == keys.ENTER:
        state.is_typing = False
    elif key == keys.ESCAPE:
        state.is_typing, state.filter = False, ""
    elif key == keys.ERASE:
        state.filter = state.filter[:-1]
    elif len(key) == 1:
        state.filter += key
    return None


def _hold(state: State) -> Effect:
    lane = state.lane()
    if lane is None:
        return None
    name = lane["destination"]
    if lane.get("held"):
        state.notice = Notice(f"{name} is held already; r resumes it.")
        return None
    state.question = Deed("hold", name, f"Hold {name}? Nothing is sent there until it is resumed.")
    return None


def _resume(state: State) -> Effect:
    lane = state.lane()
    if lane is None:
        return None
    if not lane.get("held"):
        state.notice = Notice(f"{lane['destination']} is not held; t tries it now.")
        return None
    return Deed("resume", lane["destination"])


def _retry(state: State) -> Effect:
    """The message that is selected, where one is, else the destination."""
    row = _row(state)
    if state.page is Page.LANE and row is not None and not _is_letter(row):
        return Deed("retry message", row["id"])
    if state.page is Page.ONE and state.one is not None and "letter" not in state.one:
        return Deed("retry message", state.one_id)
    if state.page is not Page.LANES and (state.page is Page.ONE or row is not None):
        state.notice = Notice("A dead letter is redriven: `dispatcher dead redrive ID`.")
        return None
    lane = state.lane()
    return None if lane is None else Deed("retry", lane["destination"])


_ANYWHERE: Final[dict[str, Callable[[State], Effect]]] = {"h": _hold, "r": _resume, "t": _retry}


def _on_lanes(state: State, key: str) -> Effect:
    lanes = state.lanes()
    if (place := _moved(state.place(lanes), len(lanes), key)) is not None:
        state.selected = name_of(lanes[place]) if lanes else None
    elif key in (keys.ENTER, "o"):
        lane = state.lane()
        if lane is not None:
            state.selected = name_of(lane)
            state.opened = Opened(lane["destination"], lane.get("kind") or "message")
            state.page, state.row = Page.LANE, 0
            return Fetch(Page.LANE)
    elif key == "/":
        state.is_typing = True
    elif key == keys.ESCAPE:
        state.filter = ""
    elif key == "s":
        orders = list(ORDERS)
        state.order = orders[(orders.index(state.order) + 1) % len(orders)]
    return None


def _on_lane(state: State, key: str) -> Effect:
    rows = state.opened.rows if state.opened is not None else []
    if (place := _moved(state.row, len(rows), key)) is not None:
        state.row = place
    elif key in (keys.ESCAPE, keys.ERASE):
        state.page, state.opened = Page.LANES, None
    elif key in (keys.ENTER, "o") and (row := _row(state)) is not None:
        state.page, state.one, state.one_id, state.scroll = Page.ONE, None, row["id"], 0
        return Fetch(Page.ONE)
    return None


def _on_one(state: State, key: str) -> Effect:
    if key in (keys.ESCAPE, keys.ERASE):
        state.page, state.one = Page.LANE, None
    elif (place := _moved(state.scroll, 10_000, key)) is not None:
        state.scroll = place
    return None


def _row(state: State) -> Json | None:
    rows = state.opened.rows if state.opened is not None else []
    return rows[min(state.row, len(rows) - 1)] if rows else None


def _is_letter(row: Json) -> bool:
    return "dead_at" in row


def _moved(place: int, count: int, key: str) -> int | None:
    """Where the selection goes; None for a key that does not move it."""
    match key:
        case keys.UP | "k":
            place -= 1
        case keys.DOWN | "j":
            place += 1
        case keys.PAGE_UP:
            place -= _PAGE_ROWS
        case keys.PAGE_DOWN | " ":
            place += _PAGE_ROWS
        case keys.HOME | "g":
            place = 0
        case keys.END | "G":
            place = count - 1
        case _:
            return None
    return max(0, min(place, count - 1))
