"""`dispatcher pause` and `resume`: whether anything is sent to a destination."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from dispatcher.cli import output, where
from dispatcher.cli.options import AsJson, KeyFile, Url

Destination = Annotated[
    str, typer.Argument(metavar="DESTINATION", help="host[:port] or scheme://host[:port].")
]


def pause(
    destination: Destination, url: Url = None, key_file: KeyFile = None, as_json: AsJson = False
) -> None:
    """Send nothing to a destination until it is resumed.

    Messages are accepted meanwhile and wait. A restart does not end it.
    """
    found = where.api(url, key_file).post(f"{_path_of(destination)}/pause")
    if as_json:
        output.print_json(found)
        return
    name = output.clean(found.get("destination"))
    print(f"{name} is paused. `dispatcher resume {name}` lets it go on.")


def resume(
    destination: Destination, url: Url = None, key_file: KeyFile = None, as_json: AsJson = False
) -> None:
    """Go on sending to a destination."""
    found = where.api(url, key_file).post(f"{_path_of(destination)}/resume")
    if as_json:
        output.print_json(found)
    else:
        print(f"{output.clean(found.get('destination'))} is not paused.")


def _path_of(destination: str) -> str:
    return f"/v1/destinations/{quote(destination, safe='')}"
