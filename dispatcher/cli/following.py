"""Long work as a person sees it: it is begun as a job of the server, and followed to its end.

The server does it. Whoever interrupts the command, or loses the connection, ends nothing but the
following, and is told how to end the job or to follow it again.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import quote

from dispatcher.cli import output
from dispatcher.cli.client import Api, Json
from dispatcher.cli.errors import CommandError, NotFound, RefusedNow, Unreachable

JOBS: Final = "/v1/jobs"
_AT_ONCE_SECONDS: Final = 1
"""What takes no longer than that is answered without a word about jobs."""
_LOOK_SECONDS: Final = 0.25
_ROUNDS_OUT_OF_SIGHT: Final = 20
"""Looks after which a connection that was lost is no longer waited for: some five seconds."""

Told = Callable[[Json], object]
"""Who is told how far a job is, after each look at it."""
Sleep = Callable[[float], None]


def path_of(job_id: str) -> str:
    """Where a job is found."""
    return f"{JOBS}/{quote(job_id, safe='')}"


def run(api: Api, path: str, body: Json, told: Told, *, sleep: Sleep = time.sleep) -> Json:
    """Ask for something that takes long, and wait for its end. Returns what came of it.

    Raises:
        CommandError: it was refused, it failed, or somebody cancelled it.
    """
    answer, is_job = api.begin(path, body, at_once_s=_AT_ONCE_SECONDS)
    if not is_job:
        return answer
    output.print_note(
        f"Job {output.clean(answer['id'])} has begun; `dispatcher jobs` shows and changes it."
    )
    job = follow(api, answer, told, sleep=sleep)
    check(job)
    result = job.get("result")
    if result is None and job.get("message"):
        raise CommandError(f"job {output.clean(job['id'])}: {output.clean(job['message'])}")
    if not isinstance(result, dict):
        raise CommandError(f"job {job['id']} has no result: not a dispatcher's API; see --url")
    return result


def follow(api: Api, job: Json, told: Told, *, sleep: Sleep = time.sleep) -> Json:
    """Look at a job until it has ended. Returns how it ended.

    Raises:
        CommandError: it cannot be seen any more.
        KeyboardInterrupt: the person was told that the job goes on.
    """
    job_id = str(job["id"])
    try:
        told(job)
        while job["state"] == "running":
            sleep(_LOOK_SECONDS)
            job = _look(api, job_id, sleep)
            told(job)
    except KeyboardInterrupt:
        output.print_note(
            f"Job {job_id} goes on. `dispatcher jobs watch {job_id}` follows it, `dispatcher jobs "
            f"cancel {job_id}` ends it."
        )
        raise
    return job


def check(job: Json) -> None:
    """Let a job that is done pass.

    Raises:
        CommandError: it was cancelled.
        RefusedNow: it failed.
    """
    if job["state"] == "done":
        return
    done = f"{output.clean(job['done'])} {output.clean(job['unit'])} are done, and stay so."
    if job["state"] == "cancelled":
        raise CommandError(f"job {output.clean(job['id'])} was cancelled: {done}")
    raise RefusedNow(f"{output.clean(job['message'])} ({output.clean(job['error'])}) {done}")


@contextmanager
def bar(doing: str) -> Iterator[Told]:
    """Show how far a job is on standard error, where that is a terminal."""
    if not output.is_terminal(sys.stderr):
        yield lambda _: None
        return
    from rich import progress as rich_progress

    shown = rich_progress.Progress(
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.TextColumn("{task.fields[done]}"),
        rich_progress.TimeRemainingColumn(),
        console=output.console(sys.stderr),
        transient=True,
    )
    with shown:
        task = shown.add_task(doing, total=None, done="")

        def told(job: Json) -> None:
            shown.update(
                task, total=job["total"], completed=job["done"] + job["skipped"], done=done_of(job)
            )

        yield told


def done_of(job: Json) -> str:
    """How much of a job is done: `12/50`, or `1.2 MiB/40.0 MiB`."""
    amount = output.size if job["unit"] == "bytes" else str
    done = amount(job["done"])
    return done if job["total"] is None else f"{done}/{amount(job['total'])}"


def _look(api: Api, job_id: str, sleep: Sleep) -> Json:
    """One look. A connection that breaks, or a server that is busy, ends no job: it is looked for
    again, for a while."""
    for _ in range(_ROUNDS_OUT_OF_SIGHT):
        try:
            return api.get(path_of(job_id))
        except NotFound as error:
            raise CommandError(
                f"job {job_id} is not known any more: the server was restarted, and it does not go "
                "on. What it did is done; the same command goes on with the others"
            ) from error
        except (Unreachable, RefusedNow):
            sleep(_LOOK_SECONDS)
    raise Unreachable(
        f"{api.server}: job {job_id} cannot be seen any more; it goes on unless the server was "
        f"stopped. `dispatcher jobs show {job_id}` says how it ended"
    )
