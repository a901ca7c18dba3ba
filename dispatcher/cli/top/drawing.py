"""`top` as lines of a terminal: what is true of every page, and the page with the lanes.

Every function takes how many cells and lines there are, and fills no more.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from dispatcher.cli import output, tables
from dispatcher.cli.client import Json
from dispatcher.cli.moments import Moment, short_span
from dispatcher.cli.stats import lane_state
from dispatcher.cli.styles import style_of, styled
from dispatcher.cli.tables import Column
from dispatcher.cli.top.figures import rate, waiting
from dispatcher.cli.top.pages import help_lines, lane_lines, one_lines
from dispatcher.cli.top.sparks import spark
from dispatcher.cli.top.state import Page, State
from dispatcher.cli.top.windows import windowed
from dispatcher.cli.widths import cut_end, padded

_COLUMNS: Final = (
    Column("destination", is_cut=True, least=16),
    Column("state"),
    Column("until", is_extra=True, rank=4),
    Column("waiting"),
    Column("in flight", is_right=True),
    Column("/s", is_right=True),
    Column("p50/p95", is_extra=True, is_right=True, rank=2),
    Column("last error", is_extra=True, is_cut=True, rank=1),
    Column("failing", is_extra=True, rank=5),
    Column("oldest", is_extra=True, rank=3),
    Column("kind", is_extra=True, rank=6),
)
_SPARKS: Final = (
    ("accepted", "accepted_total", "accepted"),
    ("delivered", "delivered_total", "delivered"),
    ("died", "dead_total", "dead"),
)
_LABEL: Final = 11
_RATE: Final = 10
_ROOM_FOR_SPARKS: Final = 18
"""Lines that a terminal needs to have any."""
_KEYS: Final = {
    Page.LANES: "h hold  r resume  t retry now  Enter open  / filter  s sort  ? help  q quit",
    Page.LANE: "Enter explain  t retry now  h hold  r resume  Esc back  ? help  q quit",
    Page.ONE: "t retry now  Esc back  ? help  q quit",
    Page.HELP: "any key: back  q quit",
}


def drawn(state: State, width: int, height: int) -> list[str]:
    """Return the lines of the screen, from the top."""
    head = _head(state, width, is_tall=height >= _ROOM_FOR_SPARKS)
    foot = _foot(state, width)
    room = max(height - len(head) - 1, 0)
    match state.page:
        case Page.LANES:
            body = _lanes(state, width, room)
        case Page.LANE:
            body = lane_lines(state, width, room)
        case Page.ONE:
            body = one_lines(state, width, room)
        case Page.HELP:
            body = help_lines(width, room)
    body = [*body[:room], *[""] * (room - len(body))]
    return [*head, *body, foot][:height]


def _head(state: State, width: int, *, is_tall: bool) -> list[str]:
    lines = [_title(state, width), _states(state, width)]
    if is_tall:
        lines += [_spark(state, *names, width) for names in _SPARKS]
        lines += _latencies(state, width)
    lines += _calls(state, width)
    lines.append(_problem(state, width))
    return lines


def _title(state: State, width: int) -> str:
    overview = state.overview or {}
    version = overview.get("version")
    name = f"dispatcher {version} on {overview.get('instance')}" if version else "dispatcher"
    up = f", up {Moment(overview.get('started_at')).age()}" if overview.get("started_at") else ""
    clock = time.strftime("%H:%M:%S")
    text = cut_end(output.clean(f"{name}, {state.server}{up}"), max(width - len(clock) - 1, 0))
    return styled(padded(text, width - len(clock)) + clock, "bold")


def _states(state: State, width: int) -> str:
    figures, overview = state.now.figures, state.overview or {}
    count = (figures.get("ready") or 0) + (figures.get("scheduled") or 0)
    oldest = (overview.get("waiting") or {}).get("oldest_at")
    lanes = overview.get("lanes") or {}
    parts = [
        f"waiting {count}" + (f" (for {Moment(oldest).age()})" if oldest else ""),
        f"in flight {figures.get('in_flight')}",
        f"dead letters {figures.get('dead')}",
    ]
    if lanes:
        parts.append(f"{lanes.get('failing')} failing, {lanes.get('held')} held")
    return cut_end("   ".join(parts), width)


def _spark(state: State, label: str, total: str, series: str, width: int) -> str:
    now = rate(total, state.last, state.now)
    shown = "-/s" if now is None else f"{now:.1f}/s"
    history = (state.history or {}).get("series") or {}
    room = width - _LABEL - _RATE - 1
    return f"{label:<{_LABEL}}{shown:>{_RATE}} {spark(history.get(series) or (), room)}".rstrip()


def _latencies(state: State, width: int) -> list[str]:
    series = (state.history or {}).get("series") or {}
    parts = [
        f"{name} p50 {_span_ms(_last(series.get(f'{field}_p50_ms')))}, "
        f"p95 {_span_ms(_last(series.get(f'{field}_p95_ms')))}"
        for name, field in (("attempts", "attempt"), ("accepting", "accept"))
    ]
    return [cut_end("   ".join(parts), width)]


def _last(points: Sequence[float | None] | None) -> float | None:
    """The last of the points of a minute that is known."""
    return next((point for point in reversed((points or [])[-6:]) if point is not None), None)


def _span_ms(value: float | None) -> str:
    if value is None:
        return output.NOTHING
    if value < 1000:
        return f"{value:.0f}ms"
    return f"{value / 1000:.1f}s" if value < 10_000 else short_span(round(value / 1000))


def _calls(state: State, width: int) -> list[str]:
    calls = state.now.figures.get("calls") or {}
    states = [
        (name, calls.get(name) or 0)
        for name in ("ready", "scheduled", "running", "suspended", "outside")
    ]
    if not any(count for _, count in states) and not calls.get("created_total"):
        return []
    return [cut_end("calls   " + "   ".join(f"{name} {count}" for name, count in states), width)]


def _problem(state: State, width: int) -> str:
    """What is wrong with the server, or with asking it; else with what it serves."""
    if state.trouble is not None:
        return styled(cut_end(output.clean(state.trouble), width), "red")
    problems = (state.overview or {}).get("problems")
    if problems is None:
        return ""
    if not problems:
        return styled(cut_end("Nothing is wrong.", width), "green")
    more = f" (+{len(problems) - 1} more)" if len(problems) > 1 else ""
    worst = problems[0]
    text = cut_end(output.clean(worst.get("message")), max(width - len(more), 0)) + more
    return styled(cut_end(text, width), style_of(str(worst.get("severity"))))


def _foot(state: State, width: int) -> str:
    if state.question is not None:
        return styled(_asked(output.clean(state.question.question), width), "bold yellow")
    if state.is_typing:
        return styled(
            cut_end(f"/{output.clean(state.filter)}▏ Enter keeps it, Esc drops it", width), "bold"
        )
    if state.notice is not None:
        style = "bold red" if state.notice.is_error else "bold"
        return styled(cut_end(output.clean(state.notice.text), width), style)
    return styled(cut_end(_KEYS[state.page], width), "dim")


def _asked(question: str, width: int) -> str:
    """A question with how it is answered, which is always seen."""
    how = " y/n "
    return cut_end(question, max(width - len(how), 0)) + how


def _lanes(state: State, width: int, room: int) -> list[str]:
    lanes = state.lanes()
    total = state.now.figures.get("lanes_total", len(lanes)) or 0
    filtered = f", with {output.clean(state.filter)!r} in the name" if state.filter else ""
    title = f"{output.plural(total, 'destination')}{filtered}, sorted by {state.order}"
    lines = ["", styled(cut_end(title, width), "dim")]
    if not lanes:
        return (
            [*lines, "No destinations: nothing waits, and nothing is held."]
            if not filtered
            else lines
        )
    place = state.place(lanes)
    table = tables.lines(_COLUMNS, [_row(lane) for lane in lanes], width - 2)
    return [*lines, *windowed(table, place, max(room - len(lines), 2), width)]


def _row(lane: Json) -> tuple[object, ...]:
    is_call = lane.get("kind") == "call"
    limit = lane.get("limit")
    flying = lane.get("in_flight") or 0
    per_s = lane.get("delivered_per_s")
    p50, p95 = lane.get("attempt_p50_ms"), lane.get("attempt_p95_ms")
    return (
        lane["destination"],
        lane_state(lane),
        Moment(lane.get("paused_until")),
        waiting(lane) - flying,
        f"{flying}/{limit}" if limit is not None else f"{flying}",
        None if per_s is None else f"{per_s:.1f}",
        None if p50 is None else f"{_span_ms(p50)}/{_span_ms(p95)}",
        lane.get("last_error"),
        Moment(lane.get("failing_since")),
        Moment(lane.get("oldest_at")),
        "call" if is_call else None,
    )
