"""`dispatcher cluster`: who does the work, and who has which partition.

The exit code is for scripts: 1 where nobody serves a partition.
"""

from __future__ import annotations

from typing import Final

import typer

from dispatcher.cli import output, tables, where
from dispatcher.cli.client import Json
from dispatcher.cli.moments import Moment
from dispatcher.cli.options import AsJson, KeyFile, Url, Wide
from dispatcher.cli.tables import Column
from dispatcher.cli.watching import watched

CLUSTER: Final = "/v1/cluster"
_UNSERVED: Final = frozenset(("away", "failed", "free"))
_MEMBERS: Final = (
    Column("number"),
    Column("node", is_cut=True),
    Column("state"),
    Column("since", is_extra=True, rank=2),
    Column("partitions", is_cut=True, least=10),
    Column("api", is_extra=True, rank=3),
    Column("address", is_extra=True, is_cut=True, rank=1),
)
_PARTITIONS: Final = (
    Column("partition"),
    Column("owner", is_cut=True),
    Column("state"),
    Column("since", is_extra=True, rank=2),
    Column("late ms", is_extra=True, rank=1),
    Column("epoch", is_extra=True, rank=4),
    Column("position", is_extra=True, rank=5),
    Column("why", is_extra=True, is_cut=True, rank=3),
)


@watched
def status(
    wide: Wide = False, url: Url = None, key_file: KeyFile = None, as_json: AsJson = False
) -> None:
    """Show who does the work, and who has which partition.

    The exit code is 0 when every partition is served, else 1.
    """
    found = where.api(url, key_file).get(CLUSTER)
    partitions: list[Json] = found.get("partitions") or []
    if as_json:
        output.print_json(found)
    else:
        members: list[Json] = found.get("members") or []
        tables.print_table(_MEMBERS, [member_row(one) for one in members], is_wide=wide)
        print()
        names = owners(found)
        rows = [partition_row(one, names) for one in partitions]
        tables.print_table(_PARTITIONS, rows, is_wide=wide)
    if any(one.get("state") in _UNSERVED for one in partitions):
        raise typer.Exit(1)


def owners(found: Json) -> dict[object, str]:
    """What each member is called where it owns something: its node, or without a cluster, where
    all have the same one, its number."""
    members: list[Json] = found.get("members") or []
    name = "node" if found.get("cluster") else "number"
    return {one.get("number"): str(one.get(name)) for one in members}


def member_row(one: Json) -> tuple[object, ...]:
    """Return a member's cells, in the order of the columns."""
    return (
        one.get("number"),
        one.get("node"),
        one.get("state"),
        Moment(one.get("since")),
        spans(one.get("partitions") or []),
        "yes" if one.get("has_api") else None,
        one.get("address"),
    )


def partition_row(one: Json, names: dict[object, str]) -> tuple[object, ...]:
    """Return a partition's cells, in the order of the columns."""
    owner = one.get("owner")
    return (
        one.get("number"),
        names.get(owner, owner),
        one.get("state"),
        Moment(one.get("since")),
        one.get("late_ms"),
        one.get("epoch"),
        one.get("position"),
        one.get("why") or None,
    )


def spans(numbers: list[int]) -> str | None:
    """Return numbers for people: `0-3, 7`; None where there are none."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(_span(first, last) for first, last in found) or None


def _span(first: int, last: int) -> str:
    if first == last:
        return str(first)
    return f"{first}, {last}" if last == first + 1 else f"{first}-{last}"
