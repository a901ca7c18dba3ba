"""`dispatcher schedules`: calls and messages that are made at their times."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final
from urllib.parse import quote

import typer

from dispatcher.cli import completing, output, planned, tables, where
from dispatcher.cli.client import Api, Json
from dispatcher.cli.options import AsJson, Data, KeyFile, Reveal, Url, Wide
from dispatcher.cli.outside import Application
from dispatcher.cli.tables import Column, Moment
from dispatcher.cli.watching import watched

_PATH: Final = "/v1/schedules"
_COLUMNS: Final = (
    Column("name", is_cut=True),
    Column("application", is_extra=True, is_cut=True, rank=4),
    Column("cron", is_extra=True, rank=1),
    Column("timezone", is_extra=True, rank=3),
    Column("what", is_extra=True, is_cut=True, rank=2),
    Column("next"),
    Column("last"),
    Column("state"),
    Column("id", is_extra=True, rank=5),
)


class Overlap(StrEnum):
    """What is done while what was made before has not ended, as the API says it."""

    QUEUE = "queue"
    SKIP = "skip"


class CatchUp(StrEnum):
    """What is made up for that came while the server was down, as the API says it."""

    NONE = "none"
    LAST = "last"
    ALL = "all"


Name = Annotated[
    str,
    typer.Argument(
        autocompletion=completing.schedules, metavar="NAME", help="The schedule's name."
    ),
]
Cron = Annotated[
    str,
    typer.Option(
        metavar="EXPRESSION", help="Minute, hour, day of the month, month, day of the week."
    ),
]
Timezone = Annotated[str, typer.Option(metavar="ZONE", help="Such as Europe/Berlin.")]
OverlapOption = Annotated[
    Overlap,
    typer.Option(help="While what was made before goes on, a firing waits or is left out."),
]
CatchUpOption = Annotated[
    CatchUp,
    typer.Option(help="Which firings are made up for that came while the server was down."),
]
Paused = Annotated[bool, typer.Option("--paused", help="Fire nothing until it is resumed.")]


@watched
def list_(
    application: Application = None,
    wide: Wide = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """List schedules: when they fire next, and what became of what they made last."""
    found = where.api(url, key_file).get(_PATH, {"application": application}).get("items") or []
    if as_json:
        for schedule in found:
            output.print_json(schedule)
    else:
        rows = [_row(schedule) for schedule in found]
        tables.print_table(_COLUMNS, rows, is_wide=wide, none="No schedules.")


def show(
    name: Name,
    application: Application = None,
    reveal: Reveal = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show a schedule, with what it made last, and last by hand."""
    query = {"application": application} | ({"reveal": "true"} if reveal else {})
    found = where.api(url, key_file).get(_path(name), query)
    if as_json:
        output.print_json(found)
    else:
        output.print_record(_record(found))


def put(
    name: Name,
    cron: Cron,
    endpoint: planned.Endpoint = None,
    function: planned.Function = None,
    input: planned.Input = None,
    destination: planned.Destination = None,
    method: planned.Method = None,
    target: planned.Target = None,
    header: planned.Headers = None,
    data: Data = None,
    option: planned.Options = None,
    timezone: Timezone = "UTC",
    overlap: OverlapOption = Overlap.QUEUE,
    catch_up: CatchUpOption = CatchUp.LAST,
    paused: Paused = False,
    application: Application = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a schedule, or change it; what is not said has its default.

    Of a function call with --endpoint and --function, or of a message with --destination.
    """
    plan: Json = {"cron": cron, "timezone": timezone}
    plan |= planned.read(
        planned.CallArguments(endpoint, function, input),
        planned.MessageArguments(destination, method, target, header or (), data, option or ()),
    )
    plan |= {"overlap": overlap.value, "catch_up": catch_up.value, "paused": paused}
    found = where.api(url, key_file).put(_path(name), {"application": application}, plan)
    _tell(found, as_json=as_json)


def delete(
    name: Name,
    application: Application = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Forget a schedule. What it has made goes on."""
    where.api(url, key_file).delete(_path(name), {"application": application})
    if as_json:
        output.print_json({"name": name, "deleted": True})
    else:
        print(f"Schedule {output.clean(name)} is deleted.")


def run(
    name: Name,
    application: Application = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a schedule's call or message now, also while it is paused or another one goes on."""
    found = _act(where.api(url, key_file), name, "run", application)
    if as_json:
        output.print_json(found)
    else:
        print(f"{output.clean(found.get('id'))} is dispatched.")


def pause(
    name: Name,
    application: Application = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Let a schedule rest: it fires nothing until it is resumed."""
    _tell(_act(where.api(url, key_file), name, "pause", application), as_json=as_json)


def resume(
    name: Name,
    application: Application = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Let a schedule fire again, from now on."""
    _tell(_act(where.api(url, key_file), name, "resume", application), as_json=as_json)


def _act(api: Api, name: str, verb: str, application: str | None) -> Json:
    return api.act(f"{_path(name)}/{verb}", {"application": application})


def _path(name: str) -> str:
    return f"{_PATH}/{quote(name, safe='')}"


def _tell(found: Json, *, as_json: bool) -> None:
    if as_json:
        output.print_json(found)
        return
    name = output.clean(found.get("name"))
    if found.get("paused"):
        print(f"Schedule {name} is paused. `dispatcher schedules resume {name}` ends it.")
    else:
        print(f"Schedule {name} fires next at {output.instant(found.get('next_at'))}.")


def _row(found: Json) -> list[object]:
    last = found.get("last") or {}
    return [
        found.get("name"),
        found.get("application") or None,
        found.get("cron"),
        found.get("timezone"),
        planned.in_words(found),
        "paused" if found.get("paused") else Moment(found.get("next_at")),
        Moment(last.get("at")),
        last.get("state"),
        last.get("id"),
    ]


def _record(found: Json) -> dict[str, object]:
    return {
        "name": found.get("name"),
        "application": found.get("application") or None,
        "cron": found.get("cron"),
        "timezone": found.get("timezone"),
        **planned.record(found),
        "overlap": found.get("overlap"),
        "catch up": found.get("catch_up"),
        "next": _next(found),
        "last": _firing(found, "last"),
        "before": ", ".join(one.get("state") or "unknown" for one in found.get("earlier") or ())
        or None,
        "last by hand": _firing(found, "last_run"),
        "left out": found.get("skipped"),
    }


def _next(found: Json) -> str | None:
    if found.get("paused"):
        return "paused"
    next_at = output.instant(found.get("next_at"))
    return (
        f"{next_at}, when the {_kind(found)} before has ended"
        if found.get("is_waiting")
        else next_at
    )


def _firing(found: Json, which: str) -> str | None:
    firing = found.get(which)
    if not firing:
        return None
    gone = "its result is kept no more" if found.get("call") else "nothing is known of it any more"
    return f"{output.instant(firing.get('at'))}: {firing.get('id')}, {firing.get('state') or gone}"


def _kind(found: Json) -> str:
    return "call" if found.get("call") else "message"
