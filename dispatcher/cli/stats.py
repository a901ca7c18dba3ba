"""`dispatcher stats`: totals, states and lanes."""

from __future__ import annotations

from typing import Final

from dispatcher.cli import output, tables, where
from dispatcher.cli.client import Json
from dispatcher.cli.options import AsJson, KeyFile, Url
from dispatcher.cli.tables import Column, Moment

LANE_COLUMNS: Final = (
    Column("destination", is_cut=True),
    Column("ready"),
    Column("scheduled"),
    Column("in flight"),
    Column("limit", is_extra=True),
    Column("state"),
    Column("until"),
    Column("kind"),
)
_OF_LANES: Final = ("lanes", "lanes_total")


def stats(url: Url = None, key_file: KeyFile = None, as_json: AsJson = False) -> None:
    """Show what was accepted and delivered, what waits, and every lane; and function calls, where
    there are any."""
    figures = where.api(url, key_file).get("/v1/stats")
    if as_json:
        output.print_json(figures)
        return
    output.print_record(summary(figures))
    lanes = figures.get("lanes") or []
    if lanes:
        print()
        tables.print_table(LANE_COLUMNS, [lane_row(lane) for lane in lanes])
    if more := figures.get("lanes_total", 0) - len(lanes):
        print(f"and {output.plural(more, 'lane')} more")
    calls = figures.get("calls")
    if calls and any(value for name, value in calls.items() if name not in _OF_LANES):
        print()
        output.print_record(call_summary(calls))


def summary(figures: Json) -> dict[str, object]:
    """Return the figures for people, totals since the start of the server."""
    return {
        "accepted": figures.get("accepted_total"),
        "delivered": figures.get("delivered_total"),
        "died": figures.get("dead_total"),
        "ready": figures.get("ready"),
        "scheduled": figures.get("scheduled"),
        "in flight": figures.get("in_flight"),
        "dead letters": figures.get("dead"),
        "log": f"{output.size(figures.get('log_bytes', 0))},"
        f" {output.size(figures.get('log_live_bytes', 0))} of it needed",
    }


def call_summary(calls: Json) -> dict[str, object]:
    """Return the figures of function calls for people, totals since the start of the server."""
    ended = ("succeeded", "failed", "expired", "cancelled")
    now = ("ready", "scheduled", "running", "suspended", "outside")
    return {
        "calls": calls.get("created_total"),
        **{how: calls.get(f"{how}_total") for how in ended},
        **{state: calls.get(state) for state in now},
        "results": f"{calls.get('results')}, {output.size(calls.get('results_bytes', 0))}",
    }


def lane_row(lane: Json) -> tuple[object, ...]:
    """Return a lane's cells, in the order of `LANE_COLUMNS`."""
    return (
        lane.get("destination"),
        lane.get("ready"),
        lane.get("scheduled"),
        lane.get("in_flight"),
        lane.get("limit"),
        lane_state(lane),
        Moment(lane.get("paused_until")),
        lane.get("kind"),
    )


def lane_state(lane: Json) -> str | None:
    """Return why nothing, or next to nothing, is sent to a destination; None: it is served."""
    if lane.get("held"):
        return "held"
    if lane.get("paused_until"):
        return "backs off"
    return "probing" if lane.get("breaker") in ("open", "half_open") else None
