"""The table of commands: each is there, and loads nothing that it does not need."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from dispatcher.cli.app import app
from dispatcher.cli.commands import ROWS, SECTIONS, Family, Group, Leaf, Row
from dispatcher.cli.groups import built, shortened
from dispatcher.cli.watching import DEFAULT, watched, with_span
from dispatcher.cli.where import _API, _LISTENER
from dispatcher.settings import Settings


def leaves() -> Iterator[tuple[str, Leaf]]:
    """Every command of the table with the words that it is typed with."""
    for row in ROWS:
        if isinstance(row, Leaf):
            yield row.name, row
        elif isinstance(row, Group):
            for one in row.members:
                yield f"{row.name} {one.name}", one


@pytest.mark.parametrize(("words", "row"), list(leaves()), ids=[words for words, _ in leaves()])
def test_every_command_of_the_table_has_help(words: str, row: Leaf) -> None:
    """What it does in a sentence, every option with one, and its examples."""
    shown = CliRunner().invoke(app, [*words.split(), "--help"], catch_exceptions=False)
    assert shown.exit_code == 0
    command = built(row)
    assert command.help
    assert all(one.help for one in command.params)
    assert shown.stdout.count("dispatcher ") >= len(row.examples)


@pytest.mark.parametrize("row", [row for row in ROWS if not isinstance(row, Leaf)], ids=str)
def test_every_group_of_the_table_has_help(row: Group | Family) -> None:
    """Its commands, listed."""
    shown = CliRunner().invoke(app, [row.name, "--help"], catch_exceptions=False).stdout
    assert "Commands:" in shown


def test_help_groups_every_command_and_breaks_off_no_sentence() -> None:
    """Each stands in one section; what it does fits the terminal, whole clauses of it."""
    named = [name for _, names in SECTIONS for name in names]
    assert sorted(named) == sorted(row.name for row in ROWS if not row.is_hidden)
    for words in ([], *([row.name] for row in ROWS if isinstance(row, Group))):
        shown = CliRunner().invoke(app, [*words, "--help"], catch_exceptions=False).stdout
        _, *lines = shown.splitlines()
        assert not [line for line in lines if line.endswith(("...", "…")) or len(line) > 80]


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        (40, "Send a message, print its id: it is safe"),
        (39, "Send a message, print its id."),
        (29, "Send a message, print its id."),
        (28, "Send a message."),
        (14, "Send a…"),
    ],
)
def test_summary_loses_clauses_before_words(room: int, expected: str) -> None:
    """What is shown reads as a sentence."""
    assert shortened("Send a message, print its id: it is safe", room) == expected
    assert len(expected) <= room


def test_names_are_there_once() -> None:
    """In the table, and in each group."""
    tables: list[tuple[Row, ...]] = [ROWS, *(r.members for r in ROWS if isinstance(r, Group))]
    for rows in tables:
        names = [row.name for row in rows]
        assert len(set(names)) == len(names)


def test_command_loads_only_what_it_needs() -> None:
    """Half of the time of a command is that it is loaded: neither the settings, nor what draws on
    terminals, nor other commands are for `stats`, whose server is named."""
    program = """
        import sys
        from dispatcher.cli.running import run
        run(["stats", "--url", "http://127.0.0.1:1"])
        print(*sys.modules)
    """
    ran = subprocess.run(
        [sys.executable, "-c", inspect.cleandoc(program)],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(ran.stdout.split())
    assert "dispatcher.cli.stats" in loaded
    unwanted = {"dispatcher.settings", "dispatcher.cli.dead", "rich", "asyncio", "aiohttp"}
    assert loaded & unwanted == set()


def test_addresses_without_settings_are_those_of_the_settings() -> None:
    """They are written down twice, as the settings take long to load."""
    settings = Settings.load({})
    assert str(settings.api_listen) == f"127.0.0.1:{_API.default_port}"
    assert str(settings.listen) == f":{_LISTENER.default_port}"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["--watch"], ["--watch", DEFAULT]),
        (["--watch", "5s"], ["--watch", "5s"]),
        (["--watch", "0.5"], ["--watch", "0.5"]),
        (["--watch", "--wide"], ["--watch", DEFAULT, "--wide"]),
        (
            ["--watch", "0000018f3c5a800000019f8a1b2c"],
            ["--watch", DEFAULT, "0000018f3c5a800000019f8a1b2c"],
        ),
        (["--watch=1m", "a"], ["--watch=1m", "a"]),
    ],
)
def test_watch_needs_no_span(typed: list[str], meant: list[str]) -> None:
    """What follows is one only where it looks like one: an id does not."""
    assert with_span(typed) == meant


def test_watched_command_is_called_as_it_is_without_the_option() -> None:
    """Once, with what it was given."""
    given: list[tuple[str, bool]] = []

    def command(name: str, as_json: bool = False) -> None:
        given.append((name, as_json))

    options = {"as_json": True, "watch": None}
    watched(command)("a", **options)  # type: ignore[arg-type]
    assert given == [("a", True)]
