"""`dispatcher serve` as the parser of options knows it: for its help.

`main` runs it without coming here, so that a start does not load the parser.
"""

from __future__ import annotations

from typing import Annotated

import typer

from dispatcher.cli import MAKE_KEY


def serve(
    make_key: Annotated[
        bool,
        typer.Option(
            MAKE_KEY, help="Make a key in the file API_KEYS_FILE first, if there is no such file."
        ),
    ] = False,
) -> None:
    """Run the server until SIGTERM or SIGINT."""
    from dispatcher.cli.serve import serve as run_server

    raise typer.Exit(run_server(make_key=make_key))
