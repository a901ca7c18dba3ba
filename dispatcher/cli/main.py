"""The `dispatcher` command.

Without arguments it serves, without loading the command-line parser: a start should be quick.
Errors that are ours end the process with their exit code and one line on stderr, never a traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from dispatcher.errors import DispatcherError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code.

    Args:
        arguments: those after the program's name; None: those of the process.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        code = _run(given)
    except DispatcherError as error:
        print(f"dispatcher: error: {error}", file=sys.stderr)
        code = error.exit_code
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    if arguments in ([], ["serve"]):
        from dispatcher.cli.serve import serve

        return serve()
    from dispatcher.cli.app import app

    app(args=arguments, prog_name="dispatcher")  # ends with SystemExit
    return 0
