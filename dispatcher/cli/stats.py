"""`dispatcher stats`: totals, states and lanes."""

from __future__ import annotations

from typing import Final

from dispatcher.cli import output, where
from dispatcher.cli.client import Json
from dispatcher.cli.options import AsJson, KeyFile, Url

LANE_COLUMNS: Final = (
    "destination",
    "ready",
    "scheduled",
    "in flight",
    "limit",
    "breaker",
    "paused",
    "paused until",
)


def stats(url: Url = None, key_file: KeyFile = None, as_json: AsJson = False) -> None:
    """Show what was accepted and delivered, what waits, and every lane."""
    figures = where.api(url, key_file).get("/v1/stats")
    if as_json:
        output.print_json(figures)
        return
    output.print_record(summary(figures))
    if lanes := figures.get("lanes"):
        print()
        output.print_table(LANE_COLUMNS, [lane_row(lane) for lane in lanes])


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


def lane_row(lane: Json) -> tuple[object, ...]:
    """Return a lane's cells, in the order of `LANE_COLUMNS`."""
    return (
        lane.get("destination"),
        lane.get("ready"),
        lane.get("scheduled"),
        lane.get("in_flight"),
        lane.get("limit"),
        lane.get("breaker"),
        "paused" if lane.get("paused") else None,
        output.instant(lane.get("paused_until")),
    )
