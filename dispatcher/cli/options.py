"""Options that many commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Url = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Where the API is. Default: DISPATCHER_API, else what `login` has kept, else the "
        "setting API_LISTEN.",
        show_default=False,
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A file with the API's key in it. Default: DISPATCHER_KEY, else what `login` has "
        "kept, else the first of the setting API_KEYS.",
        show_default=False,
    ),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print JSON: one document, or one object a line for lists."),
]
MessageId = Annotated[
    str, typer.Argument(metavar="ID", help="The message's id, as the 202 had it.")
]
MessageIds = Annotated[
    list[str], typer.Argument(metavar="ID...", help="The messages' ids, as the 202s had them.")
]
DestinationFilter = Annotated[
    str | None,
    typer.Option(
        metavar="DESTINATION",
        help="Only this destination: host[:port] or scheme://host[:port]; of calls, their "
        "endpoint.",
        show_default=False,
    ),
]
KindFilter = Annotated[
    str | None,
    typer.Option(
        metavar="KIND",
        help="Only these: message or call.",
        show_default=False,
    ),
]
FunctionFilter = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Only calls of this function.", show_default=False),
]
EndpointFilter = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Only calls of this endpoint, as it was dispatched to.",
        show_default=False,
    ),
]
StatusFilter = Annotated[
    int | None,
    typer.Option(
        min=100, max=999, metavar="CODE", help="Only this last status.", show_default=False
    ),
]
ErrorFilter = Annotated[
    str | None,
    typer.Option(
        metavar="SLUG",
        help="Only this last error, such as timeout, http_404 or error:ValueError.",
        show_default=False,
    ),
]
BeforeFilter = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Only what died before it: 2026-01-31T12:00:00Z, or a date in UTC.",
        show_default=False,
    ),
]
AfterFilter = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Only what died after it.", show_default=False),
]
OlderThan = Annotated[
    str | None,
    typer.Option(
        metavar="SPAN",
        help="Only what has been dead for longer: 30s, 15m, 6h, 1d12h, 1w.",
        show_default=False,
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count, and change nothing.")]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Don't ask. Needed where nobody can be asked.")
]
All = Annotated[bool, typer.Option("--all", help="Every dead letter there is.")]
