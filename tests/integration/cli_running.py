"""Commands, run in the process of a test."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from dispatcher.cli.main import main


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    def lines(self) -> list[dict[str, object]]:
        """What it printed as one JSON document a line."""
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Said]


def runner(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """What runs a command in this process; `stdin` is what is piped into it."""

    def run(*arguments: str, stdin: str = "") -> Said:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        assert "\x1b" not in said.out + said.err
        return Said(int(ended.value.code or 0), said.out, said.err)

    return run


def one_line(said: Said, code: int) -> str:
    """It ended with this code and one line on standard error, which is returned."""
    assert said.code == code, said
    assert said.err.startswith("dispatcher: error: ")
    assert said.err.count("\n") == 1
    return said.err
