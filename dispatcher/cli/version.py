"""`dispatcher version`."""

from __future__ import annotations

from dispatcher import __version__
from dispatcher.cli import output
from dispatcher.cli.options import AsJson


def version(as_json: AsJson = False) -> None:
    """Print the version."""
    if as_json:
        output.print_json({"version": __version__})
    else:
        print(__version__)
