"""What a run that passes through the bridge tells about its call: the events that the API would
tell of it, for who may not see those. Pure.

What it does not pass on is not known: calls of other endpoints, and when a run is tried again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from google.protobuf.message import DecodeError

from dispatcher.cli.client import Json
from dispatcher.cli.local.happenings import CallMoved
from dispatcher.cli.local.serialized import Response
from dispatcher.core.instants import rfc3339
from dispatcher.protocol.messages import RunRequest, RunResponse
from dispatcher.protocol.statuses import Status, Then, status_of_wire

_PROTO: Final = "application/proto"
_BLANK: Final = dict.fromkeys(("attempt", "duration_ms", "status", "error", "next_at", "count"))


def asked(run: RunRequest, endpoint: str, now_us: int) -> Iterator[CallMoved]:
    """Yield what follows from that a run is asked for."""
    if run.WhichOneof("directive") == "poll_result":
        yield _moved(run, endpoint, "resumed", now_us, count=len(run.poll_result.results))
    else:
        created_us = run.creation_time.ToMicroseconds() or now_us
        yield _moved(run, endpoint, "created", created_us)


def answered(
    run: RunRequest,
    endpoint: str,
    came: Response | str,
    now_us: int,
    *,
    attempt: int,
    duration_ms: int,
) -> Iterator[CallMoved]:
    """Yield what follows from what the application answered; `came` is a text where it did not."""
    response, error = _read(came)
    if response is None:
        yield _moved(
            run, endpoint, "run", now_us, attempt=attempt, duration_ms=duration_ms, error=error
        )
        return
    status = status_of_wire(response.status)
    word = status.name.lower()
    failure = response.exit.result.error
    why = f"{failure.type}: {failure.message}" if failure.type else None
    yield _moved(
        run, endpoint, "run", now_us,
        attempt=attempt, duration_ms=duration_ms, status=word,
        error=None if status is Status.OK else why or word,
    )  # fmt: skip
    yield from _following(run, endpoint, response, status, now_us)


def _following(
    run: RunRequest, endpoint: str, response: RunResponse, status: Status, now_us: int
) -> Iterator[CallMoved]:
    if response.exit.HasField("tail_call"):
        yield _moved(
            run, endpoint, "tail_called", now_us, function=response.exit.tail_call.function
        )
    elif response.WhichOneof("directive") == "poll" and status is Status.OK:
        yield _moved(run, endpoint, "suspended", now_us, count=len(response.poll.calls))
    elif status is Status.OK:
        yield _moved(run, endpoint, "ended", now_us, status="succeeded")
    elif status.then is Then.RESTART:
        yield _moved(run, endpoint, "restarted", now_us)
    elif status.then is Then.END:
        yield _moved(run, endpoint, "ended", now_us, status="failed")


def _read(came: Response | str) -> tuple[RunResponse | None, str]:
    if isinstance(came, str):
        return None, came
    if came.status != 200 or (came.header("content-type") or "") != _PROTO:
        return None, f"http_{came.status}"
    try:
        return RunResponse.FromString(came.body), ""
    except DecodeError:
        return None, "an answer that cannot be read"


def _moved(run: RunRequest, endpoint: str, kind: str, at_us: int, **more: object) -> CallMoved:
    fields: Json = {
        **_BLANK,
        "time": rfc3339(at_us),
        "id": run.dispatch_id,
        "destination": endpoint,
        "function": run.function,
        "parent_id": run.parent_dispatch_id or None,
        "root_id": run.root_dispatch_id,
        **more,
    }
    return CallMoved(kind, fields)
