"""`--watch`: a command again and again, its output in place of what it printed before.

On a terminal that is a screen of its own, as watch(1) has it: cut to the terminal, with the time of
the last look on top, until Ctrl-C. Elsewhere the output of a look follows that of the one before.
"""

from __future__ import annotations

import functools
import inspect
import io
import re
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import Annotated, Any, Final, ParamSpec

import typer

from dispatcher.cli import output, times
from dispatcher.cli.errors import RefusedNow, Unreachable
from dispatcher.cli.signatures import give_parameters, signature_of
from dispatcher.cli.styles import styled
from dispatcher.cli.terminal import Terminal
from dispatcher.cli.widths import cut_end

OPTION: Final = "--watch"
DEFAULT: Final = "2s"
_SPAN: Final = re.compile(r"[0-9]{1,4}(\.[0-9]+)?(ms|s|m|h)?")
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;]*m")

Watch = Annotated[
    str | None,
    typer.Option(
        OPTION,
        metavar="[SPAN]",
        help=f"Print it anew, every {DEFAULT} or as often as said, until Ctrl-C.",
        show_default=False,
    ),
]
P = ParamSpec("P")


def watched(command: Callable[P, None]) -> Callable[P, None]:
    """Give a command the option `--watch`."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        span = options.pop("watch")
        look = functools.partial(command, *arguments, **options)
        if span is None:
            look()
        else:
            _watch(look, times.seconds(span, OPTION), is_json=bool(options.get("as_json")))

    option = inspect.Parameter(
        "watch", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Watch
    )
    give_parameters(run, [*signature_of(command).parameters.values(), option])
    return run


def with_span(arguments: Sequence[str]) -> list[str]:
    """Give `--watch` its usual span where it stands without one."""
    found: list[str] = []
    for place, word in enumerate(arguments):
        found.append(word)
        following = arguments[place + 1] if place + 1 < len(arguments) else ""
        if word == OPTION and not _SPAN.fullmatch(following):
            found.append(DEFAULT)
    return found


def _watch(look: Callable[[], None], interval_s: float, *, is_json: bool) -> None:
    try:
        if is_json or not output.is_terminal(sys.stdout):
            _repeat(look, interval_s, is_json=is_json)
        else:
            _redraw(look, interval_s)
    except KeyboardInterrupt:
        return  # this is how it is meant to end


def _repeat(look: Callable[[], None], interval_s: float, *, is_json: bool) -> None:
    while True:
        look()
        if not is_json:
            print()
        sys.stdout.flush()
        time.sleep(interval_s)


def _redraw(look: Callable[[], None], interval_s: float) -> None:
    with Terminal(sys.stdout) as terminal:
        while True:
            shown = _Shown()
            trouble = None
            try:
                # What is said besides would stand in the middle of the screen.
                with redirect_stdout(shown), redirect_stderr(shown):
                    look()
            except (Unreachable, RefusedNow) as error:
                trouble = output.clean(error)
            except typer.Exit:  # its exit code says how it is; the screen does too
                pass
            title = f"Every {interval_s:g} s, last at {time.strftime('%H:%M:%S')}; Ctrl-C ends it."
            terminal.draw([styled(title, "dim"), "", *_lines(shown, trouble)])
            _rest(terminal, interval_s)


def _rest(terminal: Terminal, interval_s: float) -> None:
    """Wait for the next look; a terminal of another size is drawn on at once."""
    ends_at = time.monotonic() + interval_s
    while (left := ends_at - time.monotonic()) > 0 and not terminal.needs_drawing:
        terminal.wait(left)


def _lines(shown: _Shown, trouble: str | None) -> list[str]:
    lines = [_fitting(line) for line in shown.getvalue().splitlines()]
    return lines if trouble is None else [*lines, styled(trouble, "red")]


def _fitting(line: str) -> str:
    """A line that the terminal does not fold; one with colours was made to fit."""
    return line if _ESCAPES.search(line) else cut_end(line, output.width())


class _Shown(io.StringIO):
    """What a command prints, for a terminal."""

    def isatty(self) -> bool:
        """Say that a person looks at it."""
        return True
