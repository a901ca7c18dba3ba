"""What `top` asks the server: each question in a thread of its own, so that keys are never waited
with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final
from urllib.parse import quote

from dispatcher.cli.client import Api, Json
from dispatcher.cli.errors import CommandError, NotFound
from dispatcher.cli.listing import items_of
from dispatcher.cli.top.state import MOST_ROWS, Deed, Opened

FIGURES: Final = "figures"
OVERVIEW: Final = "overview"
HISTORY: Final = "history"
LANE: Final = "lane"
ONE: Final = "one"
DEED: Final = "deed"
_LANES: Final = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered to a question of a kind about something; or why nothing was."""

    kind: str
    about: str
    found: Json | None = None
    error: CommandError | None = None


class Asking:
    """Questions under way, at most one of each kind about each thing."""

    def __init__(self, api: Api, wake: Callable[[], None]) -> None:
        """`wake` is called, in another thread, when there is an answer."""
        self._api = api
        self._wake = wake
        self._answers: SimpleQueue[Answer] = SimpleQueue()
        self._open: set[tuple[str, str]] = set()

    def __repr__(self) -> str:
        return f"<Asking {self._api.server}: {sorted(self._open)}>"

    def ask(self, kind: str, find: Callable[[Api], Json], about: str = "") -> None:
        """Ask something, unless it is being asked."""
        if (kind, about) in self._open:
            return
        self._open.add((kind, about))
        threading.Thread(target=self._find, args=(kind, about, find), daemon=True).start()

    def answers(self) -> Iterator[Answer]:
        """Yield what was answered since."""
        while True:
            try:
                answer = self._answers.get_nowait()
            except Empty:
                return
            self._open.discard((answer.kind, answer.about))
            yield answer

    def _find(self, kind: str, about: str, find: Callable[[Api], Json]) -> None:
        try:
            answer = Answer(kind, about, found=find(self._api))
        except CommandError as error:
            answer = Answer(kind, about, error=error)
        self._answers.put(answer)
        self._wake()


def document(path: str) -> Callable[[Api], Json]:
    """What stands at a path."""
    return lambda api: api.get(path)


def figures(text: str) -> Callable[[Api], Json]:
    """Totals, and the lanes with most to do of those with a text in their names."""
    query = {"lanes_order": "messages", "lanes_limit": _LANES, "lanes_destination": text or None}
    return lambda api: api.get("/v1/stats", query)


def page_of(opened: Opened) -> Callable[[Api], Json]:
    """The oldest messages that wait for a destination, and the oldest of its dead letters."""
    query = {"destination": opened.destination, "limit": MOST_ROWS}

    def find(api: Api) -> Json:
        is_call = opened.kind == "call"
        waiting = [] if is_call else _items(api, "/v1/messages", query)
        dead = _items(api, "/v1/dead-letters", {**query, "kind": opened.kind})
        return {"messages": waiting, "letters": dead}

    return find


def _items(api: Api, path: str, query: Json) -> list[Json]:
    return items_of(api.get(path, query), f"{api.server}{path}")


def one(message_id: str) -> Callable[[Api], Json]:
    """A message with why it waits, or a dead letter."""
    of_message = f"/v1/messages/{quote(message_id, safe='')}"

    def find(api: Api) -> Json:
        try:
            letter = api.get(f"/v1/dead-letters/{quote(message_id, safe='')}", {"body": "false"})
        except NotFound:
            return {"message": api.get(of_message), "explanation": api.get(f"{of_message}/explain")}
        return {"letter": letter}

    return find


def deed(wanted: Deed) -> Callable[[Api], Json]:
    """Do something. The answer's `told` says what came of it, in a sentence."""
    name = quote(wanted.subject, safe="")

    def find(api: Api) -> Json:
        match wanted.verb:
            case "hold":
                api.post(f"/v1/destinations/{name}/hold")
                return {"told": f"{wanted.subject} is held; r resumes it."}
            case "resume":
                api.post(f"/v1/destinations/{name}/resume")
                return {"told": f"{wanted.subject} is no longer held."}
            case "retry":
                return {"told": api.post(f"/v1/destinations/{name}/retry").get("message")}
            case _:
                found = api.post(f"/v1/messages/{name}/retry")
                return {"told": f"{wanted.subject}: {found.get('message')}"}

    return find
