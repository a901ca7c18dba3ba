"""What was typed and cannot be meant is told in words of our own."""

from __future__ import annotations

import pytest

from dispatcher.cli.errors import BadUsage
from dispatcher.cli.running import _parsed

HELP = "`dispatcher {} --help` says more."


def told(*arguments: str) -> str:
    """What is said about a command that cannot be meant."""
    with pytest.raises(BadUsage) as raised:
        _parsed(list(arguments))
    return str(raised.value)


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("dead list --status abc", "--status: expected a whole number from 100 to 599."),
        ("dead list --status 20", "--status: expected a whole number from 100 to 599."),
        ("dead list --limit=-1", "--limit: expected a whole number, 0 or more."),
        ("schedules put a --cron x --overlap no", "--overlap: expected queue or skip."),
        ("calls list --state gone", "--state: expected ready, scheduled, running, suspended, "
         "outside, succeeded, failed, expired or cancelled."),
        ("tail --kind x", "--kind: expected accepted, attempted, delivered or dead."),
        ("dead list --limt 3", "There is no option --limt. Did you mean `--limit`?"),
        ("stats -j", "There is no option -j."),
        ("dead show", "ID is missing: The dead letter's id."),
        ("stats more", "Not expected here: more."),
        ("schedules put nightly", "--cron is missing (EXPRESSION)."),
    ],
)  # fmt: skip
def test_what_is_expected_is_said(typed: str, sentence: str) -> None:
    """With the option, and where there is more about it; no word of the parser's."""
    words = typed.split()
    groups = ("dead", "calls", "schedules")
    command = " ".join(words[: 2 if words[0] in groups else 1])
    assert told(*words) == f"{sentence} {HELP.format(command)}"


def test_an_option_before_its_command_is_told_where_it_stands() -> None:
    """`dispatcher --url ADDRESS stats` is what one types first."""
    expected = "There is no option --url before a command: options of commands stand behind them."
    assert told("--url", "http://127.0.0.1:8081", "stats").startswith(expected)
    assert told("dead", "--limit", "3", "list").startswith(expected.replace("--url", "--limit"))


def test_option_without_its_value_is_named() -> None:
    """At the end of a line."""
    assert told("dead", "list", "--limit").startswith("--limit needs a value")


@pytest.mark.parametrize(
    ("typed", "near"),
    [
        ("stauts", "`dispatcher stats`"),
        ("dead lst", "`dispatcher dead list`"),
        ("dead redrvie", "`dispatcher dead redrive`"),
        ("redrive", "`dispatcher dead redrive`"),
        ("purge --all", "`dispatcher dead purge`"),
        ("config chek", "`dispatcher config check`"),
    ],
)
def test_misspelt_command_is_answered_with_what_it_may_mean(typed: str, near: str) -> None:
    """Also one that stands behind another word."""
    said = told(*typed.split())
    assert near in said.partition("Did you mean ")[2].partition("?")[0]
    assert "--help` lists those there are." in said


def test_command_that_is_like_no_other_is_answered_with_where_they_are() -> None:
    """Without a guess."""
    said = told("xyzzy")
    assert "Did you mean" not in said
    assert said.startswith("dispatcher has no command 'xyzzy'.")
