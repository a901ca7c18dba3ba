"""Runs a command to its end, whatever comes in between, and says with which code it ends."""

from __future__ import annotations

import gc
import os
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
        # Nothing of what is imported is garbage, and looking for it takes time.
        # The collector begins when all of it was set aside (`node.process`).
        gc.disable()
        from dispatcher.cli.serve import serve

        return serve(make_key=MAKE_KEY in arguments)
    guard_stdout()
    try:
        return _parsed(arguments)
    finally:
        if sys.stdout is not None:
            sys.stdout.flush()  # now, where its failure can be told


def _parsed(arguments: list[str]) -> int:
    """Let the parser run a command. Also ends with SystemExit."""
    from dispatcher.cli import misuse
    from dispatcher.cli.app import app
    from dispatcher.cli.bash_words import whole_words

    try:
        with whole_words(os.environ):
            code = app(args=arguments, prog_name="dispatcher", standalone_mode=False)
    except misuse.PARSER_ERROR as error:
        complaint = misuse.told(error)
        if complaint is None:
            print(error, file=sys.stderr)  # help, where a command was left out
            return misuse.EXIT_CODE
        raise complaint from None
    return code if isinstance(code, int) else 0


def _complain(error: DispatcherError) -> None:
    try:
        print(f"dispatcher: error: {_one_line(error)}", file=sys.stderr, flush=True)
    except OSError:  # there is nobody to complain to; the exit code says it
        with suppress(OSError, ValueError):
            silence(sys.stderr.fileno())


def _one_line(error: DispatcherError) -> str:
    """What a server or a destination said goes to a terminal: no line ends, no escape sequences."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(error))
