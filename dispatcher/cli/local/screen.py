"""What a run shows: lines anywhere, and on a terminal the tree of calls below them.

What the command prints is the application's own and is shown as it is, colours too. What calls are
named and why they fail may come from anywhere, and is never sent to a terminal as it is.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol, TextIO

from dispatcher.cli import output
from dispatcher.cli.client import Json
from dispatcher.cli.local.calls import Call, Calls
from dispatcher.cli.local.lines import call_line
from dispatcher.cli.local.tree import ICONS, Row, rows
from dispatcher.cli.widths import cut_end

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.text import Text

OWN: Final = "dispatcher"
_EVERY_S: Final = 0.1
_EVERY_WHILE_IDLE_S: Final = 1.0
_STYLES: Final = {"succeeded": "green", "failed": "red", "expired": "red", "cancelled": "yellow"}
_ECHO: Final = 3
"""Columns that stay free: there a terminal writes ^C, and must not begin a line for it."""
_OF_LINES: Final = 2
"""The tree takes one line of so many that the terminal has."""


class Screen(Protocol):
    """Where a run is seen. Used by one thread."""

    def printed(self, line: bytes, *, is_error: bool) -> None:
        """The command has printed a line."""

    def say(self, text: str, *, style: str = "") -> None:
        """Tell the person something."""

    def moved(self, kind: str, fields: Json, call: Call) -> None:
        """Something happened to a call."""

    def look(self, calls: Calls) -> None:
        """Show what there is, and how calls stand. Called often, and always after anything else;
        not every look is a new picture."""

    def close(self, calls: Calls) -> None:
        """Show the last picture. Idempotent."""


def screen(name: str) -> Screen:
    """Return what suits where standard output and standard error go."""
    width = max(len(OWN), len(name))
    if output.is_terminal(sys.stdout) and output.is_terminal(sys.stderr):
        return Tree(name.ljust(width), OWN.ljust(width))
    return Lines(name.ljust(width), OWN.ljust(width))


class Lines:
    """A line for everything. What the command prints goes where it printed it to, ours to standard
    error."""

    def __init__(self, name: str, own: str) -> None:
        self._prefix = f"{name} | ".encode()
        self._own = own

    def printed(self, line: bytes, *, is_error: bool) -> None:
        """See `Screen`."""
        if not is_error:
            self._write(sys.stdout, line)
            return
        with suppress(OSError):  # there is nobody to be told
            self._write(sys.stderr, line)

    def _write(self, stream: TextIO, line: bytes) -> None:
        stream.flush()
        stream.buffer.write(self._prefix + line + b"\n")
        stream.buffer.flush()

    def say(self, text: str, *, style: str = "") -> None:
        """See `Screen`."""
        output.print_note(f"{self._own} | {text}")

    def moved(self, kind: str, fields: Json, call: Call) -> None:
        """See `Screen`."""
        self.say(call_line(kind, fields, call))

    def look(self, calls: Calls) -> None:
        """See `Screen`."""

    def close(self, calls: Calls) -> None:
        """See `Screen`."""


class Tree:
    """Lines, and below them the tree of calls, which is drawn anew in its place."""

    def __init__(self, name: str, own: str) -> None:
        from rich.live import Live

        self._name = name
        self._own = own
        self._console = output.console()
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        self._live.start()
        self._lines: list[Text] = []
        self._drawn_s = 0.0
        self._has_news = False

    def printed(self, line: bytes, *, is_error: bool) -> None:
        """See `Screen`."""
        from rich.text import Text

        shown = Text.from_ansi(line.decode("utf-8", "replace"))
        self._put(self._name, shown, style="dim")

    def say(self, text: str, *, style: str = "") -> None:
        """See `Screen`."""
        from rich.text import Text

        self._put(self._own, Text(output.clean(text), style=style), style="cyan")

    def moved(self, kind: str, fields: Json, call: Call) -> None:
        """See `Screen`. Why a call at the top has failed may be more than its row holds."""
        self._has_news = True
        if kind == "ended" and call.state == "failed" and call.parent_id is None:
            self.say(f"{call.name} {call.id} has failed: {call.error}", style="red")

    def look(self, calls: Calls) -> None:
        """See `Screen`."""
        self._print()
        passed_s = time.monotonic() - self._drawn_s
        if passed_s >= (_EVERY_S if self._has_news else _EVERY_WHILE_IDLE_S):
            self._draw(calls, self._console.size.height // _OF_LINES)

    def close(self, calls: Calls) -> None:
        """See `Screen`."""
        if self._live.is_started:
            self._print()
            self._draw(calls, self._console.size.height - 2)
            self._live.stop()

    def _put(self, name: str, text: Text, *, style: str) -> None:
        from rich.text import Text

        self._lines.append(Text.assemble((f"{name} │ ", style), text))
        if not self._live.is_started:
            self._print()

    def _print(self) -> None:
        """Lines that came together are written together: each time the tree is drawn anew."""
        from rich.text import Text

        if self._lines:
            self._console.print(Text("\n").join(self._lines), soft_wrap=True)
            self._lines.clear()

    def _draw(self, calls: Calls, room: int) -> None:
        self._drawn_s, self._has_news = time.monotonic(), False
        found = rows(calls, room=room - 1, now_s=time.time())
        self._live.update(drawn(found, self._console), refresh=True)


def drawn(found: list[Row], console: Console) -> Group:
    """Return the picture of rows: one line each, as wide as the console."""
    from rich.console import Group
    from rich.text import Text

    if not found:
        return Group()
    widest = max(2 + 2 * row.depth + len(row.name) for row in found)
    names = max(min(widest, console.width // 2), 12)
    title = Text(f"{'call':<{names}}  attempts  duration", style="bold", no_wrap=True)
    lines = [title, *(_line(row, names) for row in found)]
    for line in lines:
        line.truncate(console.width - _ECHO, overflow="ellipsis")
    return Group(*lines)


def _line(row: Row, names: int) -> Text:
    from rich.text import Text

    style = _STYLES.get(row.state, "")
    indent, icon = "  " * row.depth, ICONS.get(row.state, "•" if row.state else " ")
    room = names - len(indent) - 2
    return Text.assemble(
        (f"{indent}{icon} ", style),
        (cut_end(row.name, room).ljust(room), "" if row.state else "dim"),
        f"  {row.attempts:>8}  {row.duration:>8}  ",
        (row.note, style),
        no_wrap=True,
    )
