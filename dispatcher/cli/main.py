"""The `dispatcher` command.

Without arguments it serves, without loading the command-line parser: a start should be quick.
Errors that are ours end the process with their exit code and one line on stderr, never a traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TextIO

from dispatcher.errors import DispatcherError

COMPLETION_VARIABLE = "_DISPATCHER_COMPLETE"
"""How a shell asks for completions: it runs the command, without arguments, with this set."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code.

    Args:
        arguments: those after the program's name; None: those of the process.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        code = _run(given)
    except DispatcherError as error:
        print(f"dispatcher: error: {_one_line(error)}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:  # before a command could begin
        code = 130
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    if arguments in ([], ["serve"]) and COMPLETION_VARIABLE not in os.environ:
        from dispatcher.cli.serve import serve

        return serve()
    from dispatcher.cli.app import app

    _show_everything(sys.stdout)
    try:
        app(args=arguments, prog_name="dispatcher")  # ends with SystemExit
    finally:
        _flush(sys.stdout)
    return 0


def _one_line(error: DispatcherError) -> str:
    """What a server or a destination said goes to a terminal: no line ends, no escape sequences."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(error))


def _show_everything(stream: TextIO) -> None:
    """Where the locale has no character for something, show its number instead of failing."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")


def _flush(stream: TextIO) -> None:
    """Write the rest, now: at exit, a reader that is gone would be an error with a traceback."""
    try:
        stream.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
