"""Options that many commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dispatcher.cli import completing

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
Wide = Annotated[
    bool,
    typer.Option("--wide", help="Print every column, whole, with exact times, also on a terminal."),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        "-d",
        metavar="TEXT|@FILE|-",
        help="The body: text, the content of a file, or standard input.",
        show_default=False,
    ),
]
To = Annotated[
    str,
    typer.Option(
        "--to", metavar="DESTINATION", help="Where they go: host[:port] or scheme://host[:port]."
    ),
]
NewDestination = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="DESTINATION",
        help="Send it there instead: host[:port] or scheme://host[:port]. For one id.",
        show_default=False,
    ),
]
NewHeaders = Annotated[
    list[str] | None,
    typer.Option(
        "--header",
        "-H",
        metavar="'NAME: VALUE'",
        help="Send it with this header, in place of those of its name. For one id.",
        show_default=False,
    ),
]
RemovedHeaders = Annotated[
    list[str] | None,
    typer.Option(
        "--remove-header",
        metavar="NAME",
        help="Send it without the headers of this name. For one id.",
        show_default=False,
    ),
]
NewBody = Annotated[
    str | None,
    typer.Option(
        "--body-file",
        metavar="FILE|-",
        help="Send it with this body: a file's content, or standard input. For one id.",
        show_default=False,
    ),
]
MessageId = Annotated[
    str,
    typer.Argument(
        autocompletion=completing.messages,
        metavar="ID",
        help="The message's id, as the 202 had it.",
    ),
]
MessageOrCallId = Annotated[
    str,
    typer.Argument(
        autocompletion=completing.messages_and_calls,
        metavar="ID",
        help="The message's id, as the 202 had it, or the call's, as Dispatch answered it.",
    ),
]
MessageIds = Annotated[
    list[str],
    typer.Argument(
        autocompletion=completing.messages,
        metavar="ID...",
        help="The messages' ids, as the 202s had them.",
    ),
]
DestinationFilter = Annotated[
    str | None,
    typer.Option(
        autocompletion=completing.destinations,
        metavar="DESTINATION",
        help="Only this destination: host[:port] or scheme://host[:port]; of calls, their "
        "endpoint.",
        show_default=False,
    ),
]
KindFilter = Annotated[
    str | None,
    typer.Option(
        autocompletion=completing.kinds,
        metavar="KIND",
        help="Only these: message or call.",
        show_default=False,
    ),
]
FunctionFilter = Annotated[
    str | None,
    typer.Option(
        autocompletion=completing.functions,
        metavar="NAME",
        help="Only calls of this function.",
        show_default=False,
    ),
]
LabelFilter = Annotated[
    str | None,
    typer.Option(
        "--label",
        autocompletion=completing.labels,
        metavar="LABEL",
        help="Only messages with this label.",
        show_default=False,
    ),
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
        min=100, max=599, metavar="CODE", help="Only this last status.", show_default=False
    ),
]
ErrorFilter = Annotated[
    str | None,
    typer.Option(
        autocompletion=completing.errors,
        metavar="SLUG",
        help="Only this last error, such as timeout, http_404 or error:ValueError.",
        show_default=False,
    ),
]
ReasonFilter = Annotated[
    str | None,
    typer.Option(
        metavar="REASON",
        help="Only what was given up for this: retries_exhausted, rejected, expired, ….",
        show_default=False,
    ),
]
OrderKeyFilter = Annotated[
    str | None,
    typer.Option(metavar="KEY", help="Only messages with this order key.", show_default=False),
]
MethodFilter = Annotated[
    str | None,
    typer.Option(
        metavar="METHOD", help="Only messages with this method, as POST.", show_default=False
    ),
]
TargetFilter = Annotated[
    str | None,
    typer.Option(
        metavar="START",
        help="Only messages whose request target begins so, as /hooks/.",
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
StateFilter = Annotated[
    str | None,
    typer.Option(
        metavar="STATE",
        help="Only these: ready, scheduled, in_flight, or held: of held destinations.",
        show_default=False,
    ),
]
WaitingSince = Annotated[
    str | None,
    typer.Option(
        "--older-than",
        metavar="SPAN",
        help="Only what was accepted so long ago at least: 30s, 15m, 6h, 1d12h.",
        show_default=False,
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count, and change nothing.")]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Don't ask. Needed where nobody can be asked.")
]
All = Annotated[bool, typer.Option("--all", help="Every dead letter there is.")]
AllWaiting = Annotated[bool, typer.Option("--all", help="Every message that waits.")]
BodyOnly = Annotated[
    bool, typer.Option("--body", help="Print nothing but the body, byte for byte.")
]
Reveal = Annotated[
    bool, typer.Option("--reveal", help="Show secrets in headers. Only a key of an admin may.")
]
PaceOption = Annotated[
    str | None,
    typer.Option(
        metavar="RATE",
        help="At most so many messages a second, or 10/1m.",
        show_default=False,
    ),
]
"""How fast a job goes, as `rates.sent` reads it."""
