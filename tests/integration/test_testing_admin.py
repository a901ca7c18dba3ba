"""The program that serves invented data, as whoever tries the dashboard starts it."""

from __future__ import annotations

import subprocess
import sys

import pytest

COMMAND = [sys.executable, "-m", "dispatcher.testing.admin"]


def test_help_says_how_it_is_started() -> None:
    """With what may stand for the port and for how the server is."""
    said = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, timeout=60)
    assert (said.returncode, said.stderr) == (0, "")
    assert "[port] [{busy,empty,broken}]" in said.stdout


@pytest.mark.parametrize("words", [["eighty"], ["0", "sleepy"]])
def test_what_cannot_be_meant_is_named(words: list[str]) -> None:
    """In a line, without a traceback."""
    said = subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=60)
    assert said.returncode == 2
    assert repr(words[-1]) in said.stderr
    assert "Traceback" not in said.stderr
