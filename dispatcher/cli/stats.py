"""`dispatcher stats`: totals, states and destinations."""

from __future__ import annotations

from typing import Final

from dispatcher.cli import listing, output, tables, where
from dispatcher.cli.client import Json
from dispatcher.cli.options import AsJson, KeyFile, Url, Wide
from dispatcher.cli.tables import Column, Moment
from dispatcher.cli.watching import watched

LANE_COLUMNS: Final = (
    Column("destination", is_cut=True, least=20),
    Column("ready"),
    Column("scheduled", is_extra=True, rank=3),
    Column("in flight"),
    Column("limit", is_extra=True, rank=8),
    Column("rate", is_extra=True, rank=9, is_right=True),
    Column("state"),
    Column("until", is_extra=True, rank=2),
    Column("kind", is_extra=True, rank=11),
    Column("last error", is_extra=True, rank=1),
    Column("failing since", is_extra=True, rank=10),
    Column("delivered/s", is_extra=True, rank=5),
    Column("p50 ms", is_extra=True, rank=7),
    Column("p95 ms", is_extra=True, rank=6),
    Column("oldest", is_extra=True, rank=4),
)
_OF_LANES: Final = ("lanes", "lanes_total")


@watched
def stats(
    wide: Wide = False, url: Url = None, key_file: KeyFile = None, as_json: AsJson = False
) -> None:
    """Show what was accepted and delivered, what waits, and every lane; and function calls, where
    there are any."""
    figures = where.api(url, key_file).get("/v1/stats")
    if as_json:
        output.print_json(figures)
        return
    listing.note_missing(figures)
    output.print_record(summary(figures))
    lanes = figures.get("lanes") or []
    if lanes:
        print()
        tables.print_table(LANE_COLUMNS, [lane_row(lane) for lane in lanes], is_wide=wide)
    if more := figures.get("lanes_total", 0) - len(lanes):
        print(f"and {output.plural(more, 'destination')} more")
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
        lane.get("rate"),
        lane_state(lane),
        Moment(lane.get("paused_until")),
        lane.get("kind"),
        lane.get("last_error"),
        Moment(lane.get("failing_since")),
        _tenths(lane.get("delivered_per_s")),
        _whole_ms(lane.get("attempt_p50_ms")),
        _whole_ms(lane.get("attempt_p95_ms")),
        Moment(lane.get("oldest_at")),
    )


def _tenths(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _whole_ms(value: float | None) -> int | None:
    return None if value is None else round(value)


def lane_state(lane: Json) -> str | None:
    """Return why nothing, or next to nothing, is sent to a destination; None: it is served."""
    if lane.get("held"):
        return "held"
    if lane.get("paused_until"):
        return "backs off"
    return "probing" if lane.get("breaker") in ("open", "half_open") else None
