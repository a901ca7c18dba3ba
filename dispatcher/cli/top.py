"""`dispatcher top`: the lanes, live, on a terminal."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

import typer

from dispatcher.cli import output, tables, times, where
from dispatcher.cli.client import Api, Json
from dispatcher.cli.errors import BadUsage, RefusedNow, Unreachable
from dispatcher.cli.options import AsJson, KeyFile, Url
from dispatcher.cli.stats import LANE_COLUMNS, lane_row

if TYPE_CHECKING:
    from rich.console import Group

_FIGURES: Final = "/v1/stats?lanes_order=messages"
_HEAD_LINES: Final = 7
"""Lines of the screen that are not lanes."""

Interval = Annotated[
    str,
    typer.Option(metavar="SPAN", help="Between two looks: 5s, 500ms; a bare number is seconds."),
]


@dataclass(frozen=True, slots=True)
class Look:
    """The figures at one moment of the monotonic clock."""

    at_s: float
    figures: Json


def top(
    interval: Interval = "1s", url: Url = None, key_file: KeyFile = None, as_json: AsJson = False
) -> None:
    """Watch totals and lanes, live, until q or Ctrl-C."""
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


def rate(field: str, last: Look | None, now: Look) -> float | None:
    """Return how much a total grew, a second; None where that cannot be known.

    Totals count from the start of the server: one that shrank says that it was restarted.
    """
    if last is None or now.at_s <= last.at_s:
        return None
    grown = now.figures.get(field, 0) - last.figures.get(field, 0)
    return None if grown < 0 else grown / (now.at_s - last.at_s)


def busiest(lanes: list[Json], room: int) -> list[Json]:
    """Return the lanes that there is room for, those with most to do first."""

    def waiting(lane: Json) -> int:
        return int(lane["ready"] + (lane["scheduled"] or 0) + lane["in_flight"])

    return sorted(lanes, key=lambda lane: (-waiting(lane), lane["destination"]))[: max(room, 1)]


def _print_lines(api: Api, interval_s: float) -> None:
    while True:
        output.print_json(api.get(_FIGURES))
        time.sleep(interval_s)


def _watch(api: Api, interval_s: float) -> None:
    from rich.live import Live

    console = output.console()
    now = Look(time.monotonic(), api.get(_FIGURES))
    last: Look | None = None
    trouble: str | None = None
    with _keys() as keys, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            room = console.size.height - _HEAD_LINES
            screen = _screen(api, last, now, trouble=trouble, room=room, width=console.size.width)
            live.update(screen, refresh=True)
            if _quits(keys, interval_s):
                return
            try:
                figures = api.get(_FIGURES)
            except (Unreachable, RefusedNow) as error:
                trouble = str(error)
            else:
                last, now, trouble = now, Look(time.monotonic(), figures), None


def _screen(
    api: Api, last: Look | None, now: Look, *, trouble: str | None, room: int, width: int
) -> Group:
    from rich.console import Group
    from rich.text import Text

    figures = now.figures
    lanes = figures.get("lanes", [])
    shown = busiest(lanes, room)
    hidden = figures.get("lanes_total", len(lanes)) - len(shown)
    states = "  ".join(
        f"{name} {figures.get(field)}"
        for name, field in (
            ("ready", "ready"),
            ("scheduled", "scheduled"),
            ("in flight", "in_flight"),
            ("dead letters", "dead"),
        )
    )
    rates = "  ".join(
        f"{name} {_per_second(rate(f'{field}_total', last, now))}"
        for name, field in (("accepted", "accepted"), ("delivered", "delivered"), ("died", "dead"))
    )
    return Group(
        Text(f"{api.server}  (q ends)", style="bold", no_wrap=True, overflow="ellipsis"),
        Text(states, no_wrap=True, overflow="ellipsis"),
        Text(rates, no_wrap=True, overflow="ellipsis"),
        Text(output.clean(trouble) if trouble else "", style="red", no_wrap=True),
        tables.drawn(LANE_COLUMNS, [lane_row(lane) for lane in shown], width),
        Text(f"and {output.plural(hidden, 'lane')} with less to do" if hidden else ""),
    )


def _per_second(value: float | None) -> str:
    return "-/s" if value is None else f"{value:.1f}/s"


@contextmanager
def _keys() -> Iterator[int | None]:
    """Let keys come at once and unseen, where standard input is a terminal; None where not."""
    if not output.is_terminal(sys.stdin):
        yield None
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    try:
        tty.setcbreak(keyboard)
        yield keyboard
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _quits(keyboard: int | None, interval_s: float) -> bool:
    """Wait for the next look. Returns at once and True when q is pressed."""
    ends_at = time.monotonic() + interval_s
    while (left := ends_at - time.monotonic()) > 0:
        if keyboard is None:
            time.sleep(left)
        elif select.select([keyboard], [], [], left)[0]:
            pressed = os.read(keyboard, 64)
            if not pressed or b"q" in pressed.lower():
                return True
    return False
