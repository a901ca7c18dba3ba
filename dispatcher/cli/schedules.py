"""`dispatcher schedules`: calls that are made at their times."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Final
from urllib.parse import quote

import typer

from dispatcher.cli import output, tables, where
from dispatcher.cli.client import Api, Json
from dispatcher.cli.options import AsJson, KeyFile, Url
from dispatcher.cli.outside import Application, read
from dispatcher.cli.tables import Column, Moment

_PATH: Final = "/v1/schedules"
_COLUMNS: Final = (
    Column("name", is_cut=True),
    Column("application", is_extra=True, is_cut=True),
    Column("cron"),
    Column("timezone", is_extra=True),
    Column("function", is_cut=True),
    Column("next"),
    Column("last"),
    Column("state"),
    Column("call", is_extra=True),
)


class Overlap(StrEnum):
    """What is done while the call before has not ended, as the API says it."""

    QUEUE = "queue"
    SKIP = "skip"


class CatchUp(StrEnum):
    """What is made up for that came while the server was down, as the API says it."""

    NONE = "none"
    LAST = "last"
    ALL = "all"


Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]
Cron = Annotated[
    str,
    typer.Option(
        metavar="EXPRESSION", help="Minute, hour, day of the month, month, day of the week."
    ),
]
Timezone = Annotated[str, typer.Option(metavar="ZONE", help="Such as Europe/Berlin.")]
Endpoint = Annotated[str, typer.Option(metavar="URL", help="Where the application listens.")]
Function = Annotated[str, typer.Option(metavar="NAME", help="The function that is called.")]
Input = Annotated[
    str | None,
    typer.Option(
        metavar="JSON|@FILE|-",
        help="Its input: JSON, a file of JSON, or JSON on standard input. Default: none.",
        show_default=False,
    ),
]
OverlapOption = Annotated[
    Overlap,
    typer.Option(help="While the call before has not ended, a firing waits or is left out."),
]
CatchUpOption = Annotated[
    CatchUp,
    typer.Option(help="Which firings are made up for that came while the server was down."),
]
Paused = Annotated[bool, typer.Option("--paused", help="Fire nothing until it is resumed.")]


def list_(
    application: Application = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """List schedules: when they fire next, and what their last call came to."""
    found = where.api(url, key_file).get(_PATH, {"application": application}).get("items") or []
    if as_json:
        for schedule in found:
            output.print_json(schedule)
    else:
        tables.print_table(_COLUMNS, [_row(schedule) for schedule in found])


def show(
    name: Name,
    application: Application = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show a schedule, with its last call and the last one by hand."""
    found = where.api(url, key_file).get(_path(name), {"application": application})
    if as_json:
        output.print_json(found)
    else:
        output.print_record(_record(found))


def put(
    name: Name,
    cron: Cron,
    endpoint: Endpoint,
    function: Function,
    input: Input = None,
    timezone: Timezone = "UTC",
    overlap: OverlapOption = Overlap.QUEUE,
    catch_up: CatchUpOption = CatchUp.LAST,
    paused: Paused = False,
    application: Application = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a schedule, or change it; what is not said has its default."""
    call: Json = {"endpoint": endpoint, "function": function}
    if input is not None:
        call["input"] = json.loads(read(input, None, None, needs_one=True, option="--input").body)
    plan = {
        "cron": cron,
        "timezone": timezone,
        "call": call,
        "overlap": overlap.value,
        "catch_up": catch_up.value,
        "paused": paused,
    }
    found = where.api(url, key_file).put(_path(name), {"application": application}, plan)
    _tell(found, as_json=as_json)


def delete(
    name: Name,
    application: Application = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Forget a schedule. The calls it has made go on."""
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
    """Make a schedule's call now, also while it is paused or another one runs."""
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
    call, last = found.get("call") or {}, found.get("last") or {}
    return [
        found.get("name"),
        found.get("application") or None,
        found.get("cron"),
        found.get("timezone"),
        call.get("function"),
        "paused" if found.get("paused") else Moment(found.get("next_at")),
        Moment(last.get("at")),
        last.get("state"),
        last.get("id"),
    ]


def _record(found: Json) -> dict[str, object]:
    call = found.get("call") or {}
    opaque = call.get("input_any")
    given = json.dumps(call.get("input")) if call.get("input") is not None else None
    return {
        "name": found.get("name"),
        "application": found.get("application") or None,
        "cron": found.get("cron"),
        "timezone": found.get("timezone"),
        "endpoint": call.get("endpoint"),
        "function": call.get("function"),
        "input": given or (None if opaque is None else f"protobuf, in Base64: {opaque}"),
        "overlap": found.get("overlap"),
        "catch up": found.get("catch_up"),
        "next": _next(found),
        "last": _firing(found.get("last")),
        "last by hand": _firing(found.get("last_run")),
        "left out": found.get("skipped"),
    }


def _next(found: Json) -> str | None:
    if found.get("paused"):
        return "paused"
    next_at = output.instant(found.get("next_at"))
    return f"{next_at}, when the call before has ended" if found.get("is_waiting") else next_at


def _firing(found: Json | None) -> str | None:
    if not found:
        return None
    state = found.get("state") or "its result is kept no more"
    return f"{output.instant(found.get('at'))}: {found.get('id')}, {state}"
