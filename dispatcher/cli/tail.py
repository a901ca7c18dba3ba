"""`dispatcher tail`: what happens, as it happens."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, assert_never

import typer

from dispatcher.cli import output, sse, where
from dispatcher.cli.client import Json
from dispatcher.cli.errors import BadUsage
from dispatcher.cli.options import AsJson, KeyFile, Url
from dispatcher.core.destination import Destination

if TYPE_CHECKING:
    from rich.console import Console


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
        metavar="DESTINATION",
        help="Only this destination; may be repeated.",
        show_default=False,
    ),
]
Kinds = Annotated[
    list[Kind] | None,
    typer.Option("--kind", help="Only this kind; may be repeated.", show_default=False),
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
    count: Count = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Print what happens, as it happens, until Ctrl-C."""
    destinations = {_spelled(text) for text in destination or ()}
    kinds = {str(item) for item in kind or ()}
    api = where.api(url, key_file)
    console = output.console() if output.is_terminal(sys.stdout) and not as_json else None
    left = count
    try:
        for event in _wanted(sse.follow(api, "/v1/events"), kinds, destinations):
            if as_json:
                output.print_json({"event": event.kind, **event.fields})
            else:
                _print(event, console)
            if left is not None:
                left -= 1
                if not left:
                    return
    except KeyboardInterrupt:
        return  # this is how it is meant to end


def line(event: sse.Event) -> str:
    """Return an event for people: when, what, which message, where to, how."""
    fields = event.fields
    parts = (
        output.instant(fields.get("time")),
        event.kind.ljust(len(Kind.ATTEMPTED)),
        fields.get("id"),
        fields.get("destination"),
        _how(event.kind, fields),
    )
    return "  ".join(map(output.clean, parts)).rstrip()


def _wanted(
    events: Iterable[sse.Event | sse.Dropped | sse.Broken],
    kinds: set[str],
    destinations: set[str],
) -> Iterator[sse.Event]:
    """Pass on what the filters let through; the person is told of what is missing."""
    for event in events:
        match event:
            case sse.Dropped(number):
                output.print_note(f"{output.plural(number, 'event')} not shown: too many at once")
            case sse.Broken(reason):
                output.print_note(f"connection lost, connecting again: {reason}")
            case sse.Event(kind, fields):
                is_kind = not kinds or kind in kinds
                if is_kind and (not destinations or fields.get("destination") in destinations):
                    yield event
            case _:
                assert_never(event)


def _how(kind: str, fields: Json) -> str:
    match kind:
        case "attempted" | "delivered":
            return _attempt(fields)
        case "dead":
            tried = output.plural(fields.get("attempts", 0), "attempt")
            return f"{fields.get('reason')} after {tried}"
        case _:
            return ""


def _attempt(fields: Json) -> str:
    came = [str(fields[name]) for name in ("status", "error") if fields.get(name) is not None]
    again = fields.get("next_attempt_at")
    when = f", next at {output.instant(again)}" if again else ""
    return (
        f"attempt {fields.get('attempt')}: {' '.join(came)} in {fields.get('duration_ms')} ms{when}"
    )


def _print(event: sse.Event, console: Console | None) -> None:
    if console is None:
        print(line(event), flush=True)
        return
    style = {"dead": "red", "delivered": "green", "attempted": "yellow"}.get(event.kind)
    console.print(line(event), style=style, soft_wrap=True)


def _spelled(text: str) -> str:
    """The spelling of the API: events are compared with it here."""
    try:
        return str(Destination.parse(text))
    except ValueError as error:
        raise BadUsage(f"--destination {text}: {error}") from None
