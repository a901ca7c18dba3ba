"""When somebody is told that an application does not listen."""

from __future__ import annotations

from typing import cast

from dispatcher.cli.local.attended import Attended
from dispatcher.cli.local.command import Command


def attended() -> Attended:
    """A command that was started at 100 s; it is never asked for anything here."""
    return Attended(cast(Command, None), 100.0)


def test_runs_that_find_nobody_say_nothing_while_the_application_begins() -> None:
    """A session goes on with calls from before, which are sent at once."""
    command = attended()
    assert not command.finds_nobody(4, 104.0)
    assert not command.finds_nobody(4, 106.0)
    assert not command.finds_nobody(6, 107.0)


def test_runs_that_find_nobody_are_told_of_when_it_has_had_its_time() -> None:
    """Three in a row that came later; one that found it begins the count anew."""
    command = attended()
    assert not command.finds_nobody(4, 104.0)
    assert command.finds_nobody(7, 120.0)
    assert not command.finds_nobody(0, 121.0)
    assert not command.finds_nobody(2, 122.0)
    assert command.finds_nobody(3, 123.0)
