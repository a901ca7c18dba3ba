"""The `dispatcher` command.

`serve` starts without loading the command-line parser: a start should be quick. Errors that are
ours end the process with their exit code and one line on standard error, never a traceback.

Nothing but the signals is looked after before anything is imported that takes time: as process 1 of
a container we would never hear of one that comes before there is a handler for it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from dispatcher.cli import COMPLETION_VARIABLE, MAKE_KEY

# No `Final` here: importing it would take longer than everything before it.
_HELP = ("--help",)
_HELD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that wait until the server has handlers for them."""


def main(arguments: Sequence[str] | None = None, *, default: Sequence[str] = _HELP) -> None:
    """Run a command and exit with its code.

    Args:
        arguments: those after the program's name; None: those of the process.
        default: what is meant where there are none.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given and COMPLETION_VARIABLE not in os.environ:
        given = list(default)
    if given in (["serve"], ["serve", MAKE_KEY]):
        signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    from dispatcher.cli.running import run

    sys.exit(run(given))
