"""`dispatcher jobs`: what the server does that takes long: how far it is, how fast, and its end."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final

import typer

from dispatcher.cli import completing, following, output, rates, tables, where
from dispatcher.cli.client import Json
from dispatcher.cli.following import JOBS, path_of
from dispatcher.cli.options import AsJson, KeyFile, Url, Wide
from dispatcher.cli.tables import Column, Moment
from dispatcher.cli.watching import watched

_COLUMNS: Final = (
    Column("id", is_key=True),
    Column("kind"),
    Column("state"),
    Column("done", is_right=True),
    Column("rate", is_extra=True, rank=1),
    Column("started"),
    Column("ended", is_extra=True, rank=3),
    Column("key", is_extra=True, is_cut=True, rank=4),
    Column("selection", is_extra=True, is_cut=True, rank=2),
)
_NO_RATE: Final = "none"


class State(StrEnum):
    """What became of a job, as the API says it."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


JobId = Annotated[
    str, typer.Argument(autocompletion=completing.jobs, metavar="ID", help="The job's id.")
]
NewRate = Annotated[
    str,
    typer.Argument(metavar="RATE", help="At most: 50 a second, or 10/1m; none: as fast as can be."),
]
StateFilter = Annotated[
    State | None, typer.Option("--state", help="Only these.", show_default=False)
]


@watched
def list_(
    state: StateFilter = None,
    wide: Wide = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """List jobs that run, and the last that have ended, the newest first."""
    query = {"state": None if state is None else state.value}
    found = where.api(url, key_file).get(JOBS, query).get("items") or []
    if as_json:
        for job in found:
            output.print_json(job)
    else:
        rows = [_row(job) for job in found]
        tables.print_table(_COLUMNS, rows, is_wide=wide, none="No jobs.")


def show(job_id: JobId, url: Url = None, key_file: KeyFile = None, as_json: AsJson = False) -> None:
    """Show a job: how far it is, or how it ended."""
    _print(where.api(url, key_file).get(path_of(job_id)), as_json=as_json)


def cancel(
    job_id: JobId, url: Url = None, key_file: KeyFile = None, as_json: AsJson = False
) -> None:
    """End a job before its time. What it has done stays done."""
    job = where.api(url, key_file).remove(path_of(job_id))
    if as_json:
        output.print_json(job)
    elif job["state"] == "cancelled":
        print(f"Job {output.clean(job['id'])} is cancelled: {_done(job)} done.")
    else:
        print(f"Job {output.clean(job['id'])} had ended before: {output.clean(job['state'])}.")


def rate(
    job_id: JobId,
    rate: NewRate,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Change how fast a job may go, while it runs."""
    given = rate if rate == _NO_RATE else rates.sent(rate, "RATE", _NO_RATE)
    job = where.api(url, key_file).patch(path_of(job_id), {"rate": given})
    if as_json:
        output.print_json(job)
    else:
        how = f"at most {job['rate']}" if job["rate"] else "as fast as can be"
        print(f"Job {output.clean(job['id'])} goes on, {output.clean(how)}.")


def watch(
    job_id: JobId, url: Url = None, key_file: KeyFile = None, as_json: AsJson = False
) -> None:
    """Follow a job to its end. Interrupting the command does not end the job."""
    api = where.api(url, key_file)
    job = api.get(path_of(job_id))
    if job["state"] == "running":
        with following.bar(str(job["kind"])) as told:
            job = following.follow(api, job, told)
    _print(job, as_json=as_json)
    following.check(job)


def _print(job: Json, *, as_json: bool) -> None:
    if as_json:
        output.print_json(job)
        return
    fields: dict[str, object] = {name: job.get(name) for name in ("id", "kind", "state")}
    fields["done"] = _done(job)
    fields["skipped"] = job.get("skipped")
    fields["rate"] = job.get("rate")
    fields["selection"] = selection(job.get("selection"))
    fields["key"] = job.get("key")
    fields["started"] = Moment(job.get("started_at"))
    fields["ended"] = Moment(job.get("ended_at"))
    fields["survives restart"] = job.get("survives_restart")
    if job.get("error"):
        fields["error"] = f"{job.get('message')} ({job['error']})"
    output.print_record(fields)


def selection(given: Mapping[str, object] | None) -> str | None:
    """What something was about, in one line: `destination=http://a.example rate=5`. None: nothing
    was selected."""
    return (
        " ".join(f"{name}={_value(value)}" for name, value in (given or {}).items() if value != "")
        or None
    )


def _value(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case list():
            return ",".join(map(str, value))
        case _:
            return str(value)


def _done(job: Json) -> str:
    unit = "" if job["unit"] == "bytes" else f" {job['unit']}"
    return f"{following.done_of(job)}{unit}"


def _row(job: Json) -> tuple[object, ...]:
    return (
        job["id"],
        job["kind"],
        job["state"],
        following.done_of(job),
        job["rate"],
        Moment(job["started_at"]),
        Moment(job["ended_at"]),
        job["key"],
        selection(job["selection"]),
    )
