"""`dispatcher calls`: look at calls of functions, and end them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final
from urllib.parse import quote

import typer

from dispatcher.cli import completing, one_call, output, tables, where
from dispatcher.cli.client import Api, Json
from dispatcher.cli.errors import BadUsage, CommandError, NotFound, RefusedNow
from dispatcher.cli.listing import Limit, Listed
from dispatcher.cli.options import AsJson, EndpointFilter, FunctionFilter, KeyFile, Url, Wide
from dispatcher.cli.tables import Column, Moment
from dispatcher.cli.watching import watched

_PATH: Final = "/v1/calls"
_COLUMNS: Final = (
    Column("id", is_key=True),
    Column("state"),
    Column("function", is_cut=True),
    Column("endpoint", is_extra=True, is_cut=True, rank=4),
    Column("created"),
    Column("attempts", is_extra=True, rank=3),
    Column("waits for", is_extra=True, rank=2),
    Column("last error", is_extra=True, is_cut=True, rank=1),
)


class State(StrEnum):
    """What a call does, as the API says it."""

    READY = "ready"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    SUSPENDED = "suspended"
    OUTSIDE = "outside"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


HAS_ENDED: Final = (State.SUCCEEDED, State.FAILED, State.EXPIRED, State.CANCELLED)

CallId = Annotated[
    str, typer.Argument(autocompletion=completing.calls, metavar="ID", help="The call's id.")
]
CallIds = Annotated[
    list[str],
    typer.Argument(autocompletion=completing.calls, metavar="ID...", help="The calls' ids."),
]
StateFilter = Annotated[
    State | None, typer.Option("--state", help="Only calls in this state.", show_default=False)
]
Roots = Annotated[bool, typer.Option("--roots", help="Leave out what other calls have called.")]
Kill = Annotated[
    bool, typer.Option("--kill", help="Run nothing of it any more, not even to clean up.")
]


@watched
def list_(
    state: StateFilter = None,
    function: FunctionFilter = None,
    endpoint: EndpointFilter = None,
    roots: Roots = False,
    limit: Limit = 100,
    wide: Wide = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """List calls, the newest first: those that exist, then those whose results are kept."""
    query = {
        "state": None if state is None else state.value,
        "function": function,
        "endpoint": endpoint,
        "roots": "true" if roots else None,
    }
    found = Listed(where.api(url, key_file), _PATH, query, limit)
    if as_json:
        for call in found:
            output.print_json(call)
    else:
        rows = [_row(call) for call in found]
        tables.print_table(_COLUMNS, rows, is_wide=wide, none="No calls.")
    found.note_more()


def show(
    call_id: CallId, url: Url = None, key_file: KeyFile = None, as_json: AsJson = False
) -> None:
    """Show a call: what it came to, the calls under it, and what happened to it."""
    api = where.api(url, key_file)
    path = path_of(call_id)
    call = api.get(path)
    tree = call.pop("tree")
    result = _result(api, call)
    timeline = api.get(f"{path}/timeline")
    if as_json:
        output.print_json({"call": call, "result": result, "tree": tree, "timeline": timeline})
    else:
        one_call.show(call, result, tree, timeline)


def cancel(
    call_ids: CallIds,
    kill: Kill = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Cancel calls, and those under them: they may clean up, then they end.

    Those that cannot be cancelled are named at the end; the others are.
    """
    api = where.api(url, key_file)
    mode = "kill" if kill else "cancel"
    failed: list[CommandError] = []
    for call_id in dict.fromkeys(call_ids):
        try:
            api.delete(path_of(call_id), {"mode": mode})
        except (NotFound, RefusedNow, BadUsage) as error:
            failed.append(error)
            continue
        if as_json:
            output.print_json({"id": call_id, "mode": mode})
        else:
            done = "is killed" if kill else "is asked to end"
            print(f"{output.clean(call_id)} {done}.")
    for one in failed[:-1]:
        output.print_note(str(one))
    if failed:
        raise failed[-1]


def path_of(call_id: str) -> str:
    """Return the path of a call."""
    return f"{_PATH}/{quote(call_id, safe='')}"


def _result(api: Api, call: Json) -> Json | None:
    """What a call came to; None where it has not ended, or nobody knows any more: that of a child
    is known only to its parent."""
    if call["state"] not in HAS_ENDED or call["parent_id"] is not None:
        return None
    try:
        return api.get(f"{path_of(call['id'])}/result")
    except NotFound as error:
        output.print_note(str(error))
        return None


def _row(call: Json) -> tuple[object, ...]:
    return (
        call["id"],
        call["state"],
        call["function"],
        call["endpoint"],
        Moment(call["created_at"]),
        call["attempts"],
        call["waits_for"],
        call["last_error"],
    )
