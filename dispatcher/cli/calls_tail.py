"""`dispatcher calls tail`: what happens to calls, as it happens."""

from __future__ import annotations

from typing import Annotated

import typer

from dispatcher.cli import sse, where
from dispatcher.cli.event_lines import CALL
from dispatcher.cli.options import AsJson, KeyFile, Url
from dispatcher.cli.tail import Count, follow

Ids = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[ID]...", help="Only these calls, and those under a root.", show_default=False
    ),
]
Functions = Annotated[
    list[str] | None,
    typer.Option(
        "--function",
        metavar="NAME",
        help="Only calls of this function; may be repeated.",
        show_default=False,
    ),
]
Endpoints = Annotated[
    list[str] | None,
    typer.Option(
        "--endpoint",
        metavar="URL",
        help="Only calls of this endpoint; may be repeated.",
        show_default=False,
    ),
]


def tail(
    ids: Ids = None,
    function: Functions = None,
    endpoint: Endpoints = None,
    count: Count = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Print what happens to calls, as it happens, until Ctrl-C."""
    functions, endpoints, calls = set(function or ()), set(endpoint or ()), set(ids or ())

    def is_wanted(event: sse.Event) -> bool:
        fields = event.fields
        places = {fields.get("endpoint"), fields.get("destination")}
        return (
            event.kind.startswith(CALL)
            and (not functions or fields.get("function") in functions)
            and (not endpoints or not endpoints.isdisjoint(places))
            and (not calls or not calls.isdisjoint({fields.get("id"), fields.get("root_id")}))
        )

    follow(where.api(url, key_file), is_wanted, count=count, as_json=as_json)
