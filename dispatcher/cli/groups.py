"""Groups of commands that are loaded when they are needed, and say what a misspelt word may mean.

Made of the rows of `commands`. A command is built by typer out of its function, one at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from dispatcher.cli.commands import ROWS, SECTIONS, Family, Group, Leaf, Row
from dispatcher.cli.misuse import unknown_command
from dispatcher.cli.watching import with_span

_PACKAGE = "dispatcher.cli"
_WHOLE = 10_000
"""Cells: more than any summary has."""
_PARTS = re.compile("[,;:]? ")


def shortened(summary: str, room: int) -> str:
    """Return a summary that fits: where it is too long, without the clauses that do not, and only
    where the first does not, without words."""
    if len(summary) <= room:
        return summary
    ends = [match.start() for match in _PARTS.finditer(summary) if match.start() < room]
    clauses = [end for end in ends if summary[end] != " "]
    end = max(clauses or ends, default=room)
    return summary[:end] + ("." if clauses else "…")


class Commands(TyperGroup):
    """Commands by their names: those of `rows`, else those that they were made with."""

    rows: Sequence[Row] = ()

    def list_commands(self, ctx: Any) -> list[str]:
        """Return their names, in the order of the table."""
        return [row.name for row in self.rows if not row.is_hidden] or list(self.commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Load one; None where there is none of that name."""
        row = next((row for row in self.rows if row.name == cmd_name), None)
        if row is not None and cmd_name not in self.commands:
            self.commands[cmd_name] = built(row)
        return self.commands.get(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the arguments name.

        Raises:
            BadUsage: there is none; naming those with a similar name.
        """
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            if ctx.resilient_parsing:  # a shell completes a word
                return None, None, args
            names = self.list_commands(ctx)
            raise unknown_command(ctx.command_path, args[0], names, self.elsewhere(args[0]))
        return super().resolve_command(ctx, args)

    def sections(self) -> Sequence[tuple[str, Sequence[str]]]:
        """Return what help groups: a title, and the names below it."""
        return [("Commands", [row.name for row in self.rows if not row.is_hidden])]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a line for each command: of what it does as much as there is room for."""
        if not self.rows:  # of a family, which typer has put together
            super().format_commands(ctx, formatter)
            return
        longest = max(len(name) for name in self.list_commands(ctx))
        room = formatter.width - longest - 6
        for title, names in self.sections():
            with formatter.section(title):
                formatter.write_dl(
                    [
                        (name.ljust(longest), shortened(self._summary(ctx, name), room))
                        for name in names
                    ]
                )

    def _summary(self, ctx: Any, name: str) -> str:
        found: str = self.get_command(ctx, name).get_short_help_str(limit=_WHOLE)
        return found

    def elsewhere(self, word: str) -> list[str]:
        """Return whole commands that a word means behind another one: `dispatcher dead redrive`."""
        return [
            f"dispatcher {row.name} {word}"
            for row in self.rows
            if isinstance(row, Group) and any(one.name == word for one in row.members)
        ]


class AllCommands(Commands):
    """Those of `dispatcher` itself."""

    rows = ROWS

    def sections(self) -> Sequence[tuple[str, Sequence[str]]]:
        """See `Commands.sections`."""
        return SECTIONS


class Command(TyperCommand):
    """One command, whose options may do without a value where that has a default."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read its arguments."""
        names = {name for one in self.params for name in one.opts}
        return super().parse_args(ctx, with_span(args) if "--watch" in names else args)


def built(row: Row) -> Any:
    """Load what a row names."""
    match row:
        case Group():
            group = Commands(
                name=row.name,
                help=row.summary,
                no_args_is_help=True,
                rich_markup_mode=None,
                hidden=row.is_hidden,
            )
            group.rows = row.members
            return group
        case Family():
            holder = _holder()
            holder.add_typer(_found(row.at), name=row.name, cls=Commands, hidden=row.is_hidden)
        case Leaf():
            holder = _holder()
            holder.command(
                row.name,
                cls=Command,
                epilog=_examples(row.examples) if row.examples else None,
                hidden=row.is_hidden,
                context_settings={"allow_interspersed_args": not row.passes_on},
            )(_found(row.at))
    holder.callback()(_nothing)  # with a single command typer would make no group
    return typer.main.get_group(holder).commands[row.name]


def _holder() -> typer.Typer:
    return typer.Typer(add_completion=False, rich_markup_mode=None)


def _nothing() -> None:
    """Do nothing."""


def _found(at: str) -> Any:
    module, _, name = at.partition(":")
    return getattr(import_module(f"{_PACKAGE}.{module}"), name)


def _examples(lines: Iterable[str]) -> str:
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))
