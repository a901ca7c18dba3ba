"""Runs a command to its end, whatever comes in between, and says with which code it ends."""

from __future__ import annotations

import sys
from contextlib import suppress

from dispatcher.cli import MAKE_KEY
from dispatcher.cli.guarded import ReaderGone, guard_stdout, silence
from dispatcher.errors import DispatcherError


def run(arguments: list[str]) -> int:
    """Run a command. Returns its exit code, unless it raises `SystemExit` with one."""
    try:
        return _run(arguments)
    except DispatcherError as error:
        _complain(error)
        return error.exit_code
    except ReaderGone:
        return 0
    except KeyboardInterrupt:  # before a command could begin
        return 130


def _run(arguments: list[str]) -> int:
    if arguments in (["serve"], ["serve", MAKE_KEY]):
        from dispatcher.cli.serve import serve

        return serve(make_key=MAKE_KEY in arguments)
    guard_stdout()
    from dispatcher.cli.app import app

    try:
        app(args=arguments, prog_name="dispatcher")  # ends with SystemExit
    finally:
        if sys.stdout is not None:
            sys.stdout.flush()  # now, where its failure can be told
    return 0


def _complain(error: DispatcherError) -> None:
    try:
        print(f"dispatcher: error: {_one_line(error)}", file=sys.stderr, flush=True)
    except OSError:  # there is nobody to complain to; the exit code says it
        with suppress(OSError, ValueError):
            silence(sys.stderr.fileno())


def _one_line(error: DispatcherError) -> str:
    """What a server or a destination said goes to a terminal: no line ends, no escape sequences."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(error))
