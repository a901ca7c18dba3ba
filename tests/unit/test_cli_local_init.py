"""What `dispatcher init` writes, and where."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dispatcher.cli.app import app
from dispatcher.cli.errors import BadUsage, CommandError


def init(directory: str) -> str:
    """Run it. Returns what it prints."""
    result = CliRunner().invoke(app, ["init", directory], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_init_writes_an_application_into_a_new_directory() -> None:
    """And says how it is started."""
    said = init("a b/hello")
    written = ["README.md", "app.py", "pytest.ini", "start.py", "test_app.py"]
    assert sorted(os.listdir("a b/hello")) == written
    assert said.startswith("cd 'a b/hello'\ndispatcher run --session hello -- python app.py\n")


def test_init_writes_into_an_empty_directory_that_is_there() -> None:
    """The one that one is in, for example."""
    assert init(".").startswith("dispatcher run ")


def test_init_refuses_a_directory_that_is_not_empty() -> None:
    """Nothing in it is touched."""
    Path("app.py").write_text("mine")
    with pytest.raises(BadUsage) as told:
        init(".")
    assert str(told.value) == ". is not empty: name a directory that is, or a new one"
    assert Path("app.py").read_text() == "mine"
    with pytest.raises(CommandError, match=r"app\.py: File exists"):
        init("app.py")


def test_what_init_writes_is_written_well() -> None:
    """It is read as an example: lines that fit, and commands that name its files."""
    init("hello")
    for path in Path("hello").iterdir():
        assert all(len(line) <= 100 for line in path.read_text().splitlines())
    commands = re.findall(r"```sh\n(.*?)\n```", Path("hello/README.md").read_text(), re.S)
    assert len(commands) == 3
    named = {word for command in commands for word in shlex.split(command) if ".py" in word}
    assert named == {"app.py", "start.py"}
