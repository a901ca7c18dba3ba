"""`dispatcher top`: asks at every interval, draws at every answer and key."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import Annotated, Final

import typer

from dispatcher.cli import output, times, where
from dispatcher.cli.client import Api
from dispatcher.cli.errors import BadUsage, NotFound
from dispatcher.cli.options import AsJson, KeyFile, Url
from dispatcher.cli.terminal import Terminal
from dispatcher.cli.top import asking
from dispatcher.cli.top.asking import Answer, Asking
from dispatcher.cli.top.drawing import drawn
from dispatcher.cli.top.figures import Look
from dispatcher.cli.top.keys import pressed
from dispatcher.cli.top.pressing import Fetch, Quit, press
from dispatcher.cli.top.state import Deed, Notice, Page, State

_FIGURES: Final = "/v1/stats?lanes_order=messages"
_OVERVIEW_S: Final = 5.0
_HISTORY_S: Final = 10.0
"""How old these may be: the one takes work, the other has a point every ten seconds."""
_PATHS: Final = {asking.OVERVIEW: "/v1/overview", asking.HISTORY: "/v1/history"}

Interval = Annotated[
    str,
    typer.Option(metavar="SPAN", help="Between two looks: 5s, 500ms; a bare number is seconds."),
]


def top(
    interval: Interval = "1s", url: Url = None, key_file: KeyFile = None, as_json: AsJson = False
) -> None:
    """Watch totals and destinations, live, and act on them; ? shows the keys."""
    interval_s = times.seconds(interval, "--interval")
    api = where.api(url, key_file)
    try:
        if as_json:
            _print_lines(api, interval_s)
        elif output.is_terminal(sys.stdout):
            _watch(api, interval_s)
        else:
            raise BadUsage("top needs a terminal; `top --json` and `stats` do not")
    except KeyboardInterrupt:
        return  # this is how it is meant to end


def _print_lines(api: Api, interval_s: float) -> None:
    while True:
        output.print_json(api.get(_FIGURES))
        time.sleep(interval_s)


def _watch(api: Api, interval_s: float) -> None:
    # Before the screen is taken: what is wrong with the address or the key is said and ends it.
    first = Look(time.monotonic(), asking.figures("")(api))
    state = State(str(api.server), first)
    with Terminal(sys.stdout, sys.stdin) as terminal:
        asker = Asking(api, terminal.wake)
        clock = _Clock(interval_s, state)
        while True:
            clock.ask_what_is_due(asker)
            state.pin()
            terminal.draw(drawn(state, *terminal.size))
            read = terminal.wait(clock.left_s())
            for answer in asker.answers():
                _take(state, answer, clock)
            if read is None or not _obeys(state, read, asker, clock):
                return


@dataclass(slots=True)
class _Clock:
    """When what is asked again."""

    interval_s: float
    state: State
    due_s: dict[str, float] = field(default_factory=dict)

    def ask_what_is_due(self, asker: Asking) -> None:
        """Ask for what is too old."""
        if self._is_due(asking.FIGURES, self.interval_s):
            asker.ask(asking.FIGURES, asking.figures(self.state.filter))
            if self.state.opened is not None:
                opened = self.state.opened
                asker.ask(asking.LANE, asking.page_of(opened), opened.destination)
        for kind, wait_s in ((asking.OVERVIEW, _OVERVIEW_S), (asking.HISTORY, _HISTORY_S)):
            if self._is_due(kind, max(wait_s, self.interval_s)):
                asker.ask(kind, asking.document(_PATHS[kind]))

    def left_s(self) -> float:
        """How long until something is due."""
        return max(min(self.due_s.values()) - time.monotonic(), 0.0)

    def hurry(self) -> None:
        """Let the figures be asked for at once: something was done."""
        self.due_s.pop(asking.FIGURES, None)

    def _is_due(self, kind: str, wait_s: float) -> bool:
        now_s = time.monotonic()
        if self.due_s.get(kind, 0.0) > now_s:
            return False
        self.due_s[kind] = now_s + wait_s
        return True


def _take(state: State, answer: Answer, clock: _Clock) -> None:
    """Take an answer into what is shown."""
    if answer.error is not None or answer.found is None:
        _take_error(state, answer)
        return
    found = answer.found
    match answer.kind:
        case asking.FIGURES:
            state.last, state.now = state.now, Look(time.monotonic(), found)
            state.trouble = None
        case asking.OVERVIEW:
            state.overview = found
        case asking.HISTORY:
            state.history = found
        case asking.LANE if state.opened and state.opened.destination == answer.about:
            state.opened.messages, state.opened.letters = found["messages"], found["letters"]
        case asking.ONE if state.one_id == answer.about:
            state.one = found
        case asking.DEED:
            state.notice = Notice(str(found.get("told")))
            clock.hurry()


def _take_error(state: State, answer: Answer) -> None:
    text = str(answer.error)
    match answer.kind:
        case asking.DEED:
            state.notice = Notice(text, is_error=True)
        case asking.ONE if state.page is Page.ONE and state.one_id == answer.about:
            state.notice, state.page = Notice(text, is_error=True), Page.LANE
        case asking.OVERVIEW | asking.HISTORY if isinstance(answer.error, NotFound):
            pass  # an older server has none
        case _:
            state.trouble = text


def _obeys(state: State, read: bytes, asker: Asking, clock: _Clock) -> bool:
    """Do what keys mean. Returns False when that is to end."""
    for key in pressed(read):
        before = state.filter
        match press(state, key):
            case Quit():
                return False
            case Fetch(Page.LANE) if state.opened is not None:
                asker.ask(asking.LANE, asking.page_of(state.opened), state.opened.destination)
            case Fetch():
                asker.ask(asking.ONE, asking.one(state.one_id), state.one_id)
            case Deed() as deed:
                state.notice = Notice("…")
                asker.ask(asking.DEED, asking.deed(deed), f"{deed.verb} {deed.subject}")
            case None:
                pass
        if state.filter != before:
            clock.hurry()
    return True
