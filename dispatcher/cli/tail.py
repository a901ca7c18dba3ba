"""`dispatcher tail`: what happens, as it happens."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import Annotated, assert_never

import typer

from dispatcher.cli import completing, output, sse, where
from dispatcher.cli.client import Api
from dispatcher.cli.errors import BadUsage
from dispatcher.cli.event_lines import STYLES, line
from dispatcher.cli.options import AsJson, KeyFile, Url
from dispatcher.core.destination import Destination


class Kind(StrEnum):
    """The kinds of events there are."""

    ACCEPTED = "accepted"
    ATTEMPTED = "attempted"
    DELIVERED = "delivered"
    DEAD = "dead"


Destinations = Annotated[
    list[str] | None,
    typer.Option(
        "--destination",
        autocompletion=completing.destinations,
        metavar="DESTINATION",
        help="Only this destination; may be repeated.",
        show_default=False,
    ),
]
Kinds = Annotated[
    list[Kind] | None,
    typer.Option("--kind", help="Only this kind; may be repeated.", show_default=False),
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        autocompletion=completing.labels,
        metavar="LABEL",
        help="Only messages with this label; may be repeated.",
        show_default=False,
    ),
]
Count = Annotated[
    int | None,
    typer.Option(
        "--count", "-n", min=1, metavar="N", help="End after N events.", show_default=False
    ),
]


def tail(
    destination: Destinations = None,
    kind: Kinds = None,
    label: Labels = None,
    count: Count = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Print what happens, as it happens, until Ctrl-C."""
    destinations = {_spelled(text) for text in destination or ()}
    kinds = {str(item) for item in kind or ()}

    def is_wanted(event: sse.Event) -> bool:
        return (
            (not kinds or event.kind in kinds)
            and (not destinations or event.fields.get("destination") in destinations)
            and (not label or event.fields.get("label") in label)
        )

    follow(
        where.api(url, key_file),
        is_wanted,
        count=count,
        as_json=as_json,
    )


def follow(
    api: Api,
    is_wanted: Callable[[sse.Event], bool],
    *,
    count: int | None,
    as_json: bool,
) -> None:
    """Print events until Ctrl-C.

    Args:
        api: whom to ask.
        is_wanted: which events.
        count: how many events; None: without end.
        as_json: print JSON.
    """
    console = output.console() if output.is_terminal(sys.stdout) and not as_json else None
    left = count
    try:
        for event in filter(is_wanted, _told(sse.follow(api, "/v1/events"))):
            if as_json:
                output.print_json({"event": event.kind, **event.fields})
            elif console is None:
                print(line(event), flush=True)
            else:
                style = STYLES.get(event.kind)
                console.print(line(event, is_short=True), style=style, soft_wrap=True)
            if left is not None:
                left -= 1
                if not left:
                    return
    except KeyboardInterrupt:
        return  # this is how it is meant to end


def _told(events: Iterable[sse.Event | sse.Dropped | sse.Broken]) -> Iterator[sse.Event]:
    """Pass on events; the person is told of what is missing."""
    for event in events:
        match event:
            case sse.Dropped(number):
                output.print_note(f"{output.plural(number, 'event')} not shown: too many at once")
            case sse.Broken(reason):
                output.print_note(f"connection lost, connecting again: {reason}")
            case sse.Event():
                yield event
            case _:
                assert_never(event)


def _spelled(text: str) -> str:
    """The spelling of the API: events are compared with it here."""
    try:
        return str(Destination.parse(text))
    except ValueError as error:
        raise BadUsage(f"--destination {text}: {error}") from None
