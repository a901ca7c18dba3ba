"""`dispatcher destinations`: how each stands, and whether anything is sent there."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from itertools import islice
from typing import Annotated, Final
from urllib.parse import quote

import typer

from dispatcher.cli import completing, following, output, tables, where
from dispatcher.cli.client import Api, Json
from dispatcher.cli.listing import Limit
from dispatcher.cli.options import AsJson, KeyFile, Url, Wide
from dispatcher.cli.stats import LANE_COLUMNS, lane_row, lane_state
from dispatcher.cli.watching import watched
from dispatcher.core.destination import Destination as Parsed

_PAGE: Final = 1000
_NONE: Final = "Nothing waits, and nothing is held."

Destination = Annotated[
    str,
    typer.Argument(
        autocompletion=completing.destinations,
        metavar="DESTINATION",
        help="host[:port] or scheme://host[:port].",
    ),
]


class Trouble(StrEnum):
    """What a destination may be that something is wrong with, as the API says it."""

    FAILING = "failing"
    HELD = "held"


class Kind(StrEnum):
    """What waits for it."""

    MESSAGE = "message"
    CALL = "call"


Part = Annotated[
    str | None,
    typer.Argument(
        metavar="[PART]", help="Only those with this in their name.", show_default=False
    ),
]
OfState = Annotated[Trouble | None, typer.Option("--state", help="Only these.", show_default=False)]
OfKind = Annotated[
    Kind | None, typer.Option("--kind", help="What waits for them.", show_default=False)
]


@watched
def list_(
    part: Part = None,
    state: OfState = None,
    kind: OfKind = None,
    limit: Limit = 100,
    wide: Wide = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """List destinations that have messages or calls, or that are held, by name: how each stands.

    `failing` are those whose breaker is not closed, or whose attempts have failed for a minute.
    """
    asked: Json = {
        "lanes_destination": part or None,
        "lanes_state": None if state is None else state.value,
        "lanes_kind": None if kind is None else kind.value,
    }
    lanes = _lanes(where.api(url, key_file), asked)
    found = list(islice(lanes, limit or None))
    if as_json:
        for lane in found:
            output.print_json(lane)
    else:
        rows = [lane_row(lane) for lane in found]
        none = "No such destinations." if part or state or kind else _NONE
        tables.print_table(LANE_COLUMNS, rows, is_wide=wide, none=none)
    if next(lanes, None) is not None:
        output.print_note(f"There are more than {limit}: --limit 0 shows all of them.")


def _lanes(api: Api, asked: Json) -> Iterator[Json]:
    """All that match, by name: page after page, as far as they are read."""
    cursor: str | None = None
    while True:
        page = api.get("/v1/stats", {**asked, "lanes_limit": _PAGE, "lanes_cursor": cursor})
        yield from page.get("lanes") or []
        cursor = page.get("lanes_next")
        if cursor is None:
            return


def hold(
    destination: Destination, url: Url = None, key_file: KeyFile = None, as_json: AsJson = False
) -> None:
    """Hold a destination: send nothing there until it is resumed.

    Messages are accepted meanwhile and wait, and so do function calls. A restart does not end it.
    """
    found = where.api(url, key_file).post(f"{_path_of(destination)}/hold")
    if as_json:
        output.print_json(found)
        return
    name = output.clean(found.get("destination"))
    print(f"{name} is held. `dispatcher destinations resume {name}` ends it.")


def resume(
    destination: Destination, url: Url = None, key_file: KeyFile = None, as_json: AsJson = False
) -> None:
    """Hold a destination no longer: go on sending there."""
    api = where.api(url, key_file)
    if as_json:
        output.print_json(api.post(f"{_path_of(destination)}/resume"))
        return
    before = _lane(api, destination, "message")
    name = output.clean(api.post(f"{_path_of(destination)}/resume").get("destination"))
    was_held = before is not None and before.get("held")
    print(f"{name} is no longer held." if was_held else f"{name} was not held.")
    messages, calls = (_lane(api, destination, kind) for kind in ("message", "call"))
    if messages is not None or calls is None:
        print(_what_now(messages))
    if calls is not None:
        print(_where_calls_are(calls))


def retry(
    destination: Destination, url: Url = None, key_file: KeyFile = None, as_json: AsJson = False
) -> None:
    """Try a destination now, whatever it asked for and however it failed.

    What waits for its next attempt is due; where the breaker is open, one message is sent as a
    probe. A hold is not ended.
    """
    api = where.api(url, key_file)
    with following.bar("retried") as told:
        found = following.run(api, f"{_path_of(destination)}/retry", {}, told)
    if as_json:
        output.print_json(found)
        return
    name, said = output.clean(found["destination"]), output.clean(found["message"])
    if not found["retried"]:  # a probe is no retry: "0 messages" above it reads as if nothing came
        print(f"{name}: {said}")
        return
    print(f"{name}: {output.plural(found['retried'], 'message')} retried.")
    print(said)


def _what_now(lane: Json | None) -> str:
    """Say what happens there now, which another reason than a hold may decide."""
    if lane is None:
        return "Nothing waits for it."
    match lane_state(lane):
        case "held":
            return "It was held again just now, by somebody else."
        case "backs off":
            why = "its breaker is open" if lane.get("breaker") == "open" else "it asked for that"
            until = output.instant(lane.get("paused_until"))
            return f"It backs off until {until}, as {why}; then one message is tried."
        case "probing":
            return "One message is tried there; others follow when it is delivered."
        case _:
            return "Messages are sent there."


def _where_calls_are(lane: Json) -> str:
    if lane_state(lane) == "backs off":
        return f"Function calls wait until {output.instant(lane.get('paused_until'))}."
    return "Function calls are run there."


def _lane(api: Api, destination: str, kind: str) -> Json | None:
    """Return how a destination stands for messages or calls; None where nothing is known of it."""
    try:
        name = str(Parsed.parse(destination))
    except ValueError:
        return None  # the API says what is wrong with it
    lanes = _lanes(api, {"lanes_kind": kind, "lanes_destination": name})
    return next((lane for lane in lanes if lane.get("destination") == name), None)


def _path_of(destination: str) -> str:
    return f"/v1/destinations/{quote(destination, safe='')}"
