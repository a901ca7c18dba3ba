"""`dispatcher hold` and `resume`: whether anything is sent to a destination."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import quote

import typer

from dispatcher.cli import output, where
from dispatcher.cli.client import Api, Json
from dispatcher.cli.options import AsJson, KeyFile, Url
from dispatcher.cli.stats import lane_state
from dispatcher.core.destination import Destination as Parsed

_CALLS: Final = "call:"
"""What the cursor of a page of calls begins with."""

Destination = Annotated[
    str, typer.Argument(metavar="DESTINATION", help="host[:port] or scheme://host[:port].")
]


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
    print(f"{name} is held. `dispatcher resume {name}` ends it.")


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
    cursor: str | None = None
    while True:
        asked = {"lanes_kind": kind, "lanes_limit": 1000, "lanes_cursor": cursor}
        page = api.get("/v1/stats", asked)
        for lane in page.get("lanes") or []:
            if lane.get("destination") == name:
                found: Json = lane
                return found
        cursor = page.get("lanes_next")
        if cursor is None or cursor.removeprefix(_CALLS) > name:  # they are sorted by name
            return None


def _path_of(destination: str) -> str:
    return f"/v1/destinations/{quote(destination, safe='')}"
