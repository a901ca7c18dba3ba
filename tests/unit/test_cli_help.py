"""What `dispatcher --help` says is what docs/cli.md says."""

from __future__ import annotations

import re
from pathlib import Path

from typer.testing import CliRunner

from dispatcher.cli.app import app
from dispatcher.cli.errors import (
    INTERRUPTED,
    BadUsage,
    CommandError,
    KeyRefused,
    NotFound,
    RefusedNow,
    Unreachable,
)

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_help_lists_the_exit_codes_of_the_documentation() -> None:
    """All of them, each once, in order; those of commands are among them."""
    shown = CliRunner().invoke(app, ["--help"]).stdout.partition("Exit codes:")[2]
    codes = [int(code) for code in re.findall(r"^ +([0-9]+)  ", shown, re.M)]
    section = PAGE.read_text("utf-8").partition("## Exit codes")[2].partition("\n## ")[0]
    assert codes == [int(code) for code in re.findall(r"^\| ([0-9]+) \|", section, re.M)]
    errors = (CommandError, BadUsage, NotFound, Unreachable, KeyRefused, RefusedNow)
    assert {INTERRUPTED, *(error.exit_code for error in errors)} <= set(codes)
