"""One call on the screen: what it came to, the calls under it, and what happened to it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Final

from dispatcher.cli import output, tables
from dispatcher.cli.client import Json
from dispatcher.cli.tables import Column, Moment

_TREE_COLUMNS: Final = (
    Column("call", is_cut=True),
    Column("id", is_extra=True, rank=1),
    Column("state"),
    Column("created", is_extra=True, rank=2),
    Column("attempts", is_extra=True, rank=4),
    Column("last error", is_extra=True, is_cut=True, rank=3),
)
_TIMELINE_COLUMNS: Final = (Column("at"), Column("step"), Column("what", is_cut=True))
_MOST_INDENTED: Final = 20
_SHOWN_CHARACTERS: Final = 10_000


def show(call: Json, result: Json | None, tree: Json, timeline: Json) -> None:
    """Print a call, each part as the API gives it."""
    output.print_record(_record(call))
    if result is not None:
        _print_result(result)
    _print_tree(tree)
    _print_timeline(timeline)


def _record(call: Json) -> Json:
    of_child = {"parent": call["parent_id"], "root": call["root_id"]}
    return {
        "id": call["id"],
        "state": call["state"],
        "function": call["function"],
        "endpoint": call["endpoint"],
        "version": call["version"] or None,
        "application": call["application"] or None,
        **(of_child if call["parent_id"] else {}),
        "created": Moment(call["created_at"]),
        "expires": Moment(call["expires_at"]),
        "next run": Moment(call["next_run_at"]),
        "ended": Moment(call["ended_at"]),
        "failed runs": call["attempts"],
        "steps": call["steps"],
        "restarts": call["restarts"],
        "waits for": output.plural(call["waits_for"], "call"),
        "results": call["results"],
        "last error": call["last_error"],
    }


def _print_result(result: Json) -> None:
    error = result["error"]
    if error is not None:
        print("\nError")
        _print_text(f"{error['type']}: {error['message']}")
    if result["output_type"] is not None:
        print(f"\nResult ({output.clean(result['output_type'])})")
        _print_text(_value(result))
    elif error is None:
        print("\nResult\n  nothing")


def _value(result: Json) -> str:
    """A value as JSON; where it can't be shown so, its bytes."""
    data = result["output_bytes"]
    if data is not None:
        return f"Base64: {data}"
    return json.dumps(result["output"], indent=2, ensure_ascii=False)


def _print_text(text: str) -> None:
    for line in text[:_SHOWN_CHARACTERS].splitlines():
        print(f"  {output.clean(line)}")
    if len(text) > _SHOWN_CHARACTERS:
        print("  … --json prints all of it")


def _print_tree(tree: Json) -> None:
    nodes = list(in_order(tree["nodes"]))
    counts = ", ".join(f"{number} {state}" for state, number in sorted(tree["by_state"].items()))
    print(f"\nTree ({output.plural(tree['total'], 'call')}: {counts})")
    tables.print_table(_TREE_COLUMNS, [_tree_row(depth, node) for depth, node in nodes])
    if (hidden := tree["total"] - len(nodes)) > 0:
        print(f"{output.plural(hidden, 'call')} more not shown.")


def in_order(nodes: Sequence[Json]) -> Iterator[tuple[int, Json]]:
    """Calls of a tree, of which the first is the top, with how deep each is below it; under every
    call come those that it called, the oldest first."""
    top, ids = nodes[0]["id"], {node["id"] for node in nodes}
    under: dict[str, list[Json]] = {}
    for node in sorted(nodes[1:], key=lambda node: (node["created_at"], node["id"]), reverse=True):
        # A parent that ended long ago may be unknown.
        parent = node["parent_id"] if node["parent_id"] in ids else top
        under.setdefault(parent, []).append(node)
    waiting = [(0, nodes[0])]
    while waiting:
        depth, node = waiting.pop()
        yield depth, node
        waiting += [(depth + 1, child) for child in under.pop(node["id"], ())]


def _tree_row(depth: int, node: Json) -> tuple[object, ...]:
    name = node["function"] or node["endpoint"]  # a promise may have no function
    return (
        "  " * min(depth, _MOST_INDENTED) + name,
        node["id"],
        node["state"],
        Moment(node["created_at"]),
        node["attempts"],
        node["last_error"],
    )


def _print_timeline(timeline: Json) -> None:
    entries = timeline["entries"]
    if not entries:
        print("\nTimeline: nothing happened to it since the server started.")
        return
    print("\nTimeline")
    rows = [(output.instant(one["at"]), one["step"], what(one)) for one in entries]
    tables.print_table(_TIMELINE_COLUMNS, rows)
    if timeline["dropped"]:
        print(f"{output.plural(timeline['dropped'], 'entry')} in the middle not kept.")


def what(entry: Json) -> str:
    """Return an entry of a timeline in words, without its step."""
    match entry["step"]:
        case "run":
            return f"attempt {entry['attempt']}: {_run(entry)}"
        case "suspended" if entry["count"]:
            return f"waits for {output.plural(entry['count'], 'call')}{_next(entry, ', until')}"
        case "suspended" if _is_due(entry):
            return "has a step on record, and goes on"
        case "suspended":
            return f"sleeps{_next(entry, ' until')}"
        case "resumed":
            return f"with {output.plural(entry['count'] or 0, 'result')}"
        case _:
            return entry["status"] or ""


def _run(entry: Json) -> str:
    """What a run came to, how long it took, and when it is tried again."""
    took = f"{entry['status'] or 'no answer'} in {entry['duration_ms']} ms"
    why = "" if entry["error"] in (None, entry["status"]) else f": {entry['error']}"
    return f"{took}{_next(entry, ', next at')}{why}"


def _is_due(entry: Json) -> bool:
    """Whether it waits for nothing: a function is suspended also to have what it did recorded."""
    at, next_at = entry.get("at") or entry.get("time"), entry["next_at"]
    return at is not None and next_at is not None and next_at <= at


def _next(entry: Json, words: str) -> str:
    return "" if entry["next_at"] is None else f"{words} {output.instant(entry['next_at'])}"
