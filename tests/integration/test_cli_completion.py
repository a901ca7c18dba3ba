"""`--show-completion` and `--install-completion`: what a shell gets, and that it works there."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# Typer takes the shell's name as an argument then, where it otherwise looks whose child it is.
_NO_DETECTION = "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"
_FILES = {
    "bash": (".bash_completions/dispatcher.sh", ".bashrc"),
    "zsh": (".zfunc/_dispatcher", ".zshrc"),
    "fish": (".config/fish/completions/dispatcher.fish", None),
}

Shell = Callable[[str], str]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home directory with nothing in it."""
    place = tmp_path / "home"
    place.mkdir()
    return place


@pytest.fixture
def environment(home: Path, tmp_path: Path) -> dict[str, str]:
    """That of somebody at home there, with `dispatcher` among the programs."""
    programs = tmp_path / "programs"
    programs.mkdir()
    script = programs / "dispatcher"
    python = shlex.quote(sys.executable)
    script.write_text(f'#!/bin/sh\nexec {python} -m dispatcher "$@"\n')
    script.chmod(0o755)
    return os.environ | {
        "HOME": str(home),
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }


def run(command: list[str], environment: dict[str, str], home: Path) -> str:
    """Run a command at home. Returns what it printed; nothing goes to standard error."""
    result = subprocess.run(
        command,
        cwd=home,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


@pytest.fixture
def bash(environment: dict[str, str], home: Path) -> Shell:
    """Run lines in a Bash."""
    program = shutil.which("bash")
    if program is None:
        pytest.skip("bash is not installed")
    # A last command would take the place of the shell, which could not be found then.
    return lambda lines: run([program, "-c", f"{lines}\ntrue"], environment, home)


def test_bash_completes_commands_after_completion_was_installed(bash: Shell, home: Path) -> None:
    """The shell is found out; its file is read at the next start, and knows commands and
    options; what was in `.bashrc` stays, and a second time adds nothing."""
    (home / ".bashrc").write_text("MINE=1\n")
    said = bash("dispatcher --install-completion")
    assert str(home / ".bash_completions/dispatcher.sh") in said
    for _ in range(2):
        lines = (home / ".bashrc").read_text().split("\n")
        assert lines.count("MINE=1") == 1
        assert len([line for line in lines if "dispatcher.sh" in line]) == 1
        bash("dispatcher --install-completion")
    asked = """
        . ~/.bashrc
        complete -p dispatcher
        for typed in 'dispatcher de' 'dispatcher dead re' 'dispatcher top --inter'; do
            COMP_WORDS=($typed) COMP_CWORD=$(($(wc -w <<<"$typed") - 1)) COMPREPLY=()
            _dispatcher_completion dispatcher
            echo "$typed: ${COMPREPLY[*]}"
        done
    """
    registered, *answers = bash(asked).splitlines()
    assert "_dispatcher_completion dispatcher" in registered
    assert answers == [
        "dispatcher de: dead",
        "dispatcher dead re: redrive",
        "dispatcher top --inter: --interval",
    ]
    assert not (home / "transaction.log").exists(), "it served"


def test_bash_is_shown_the_completion_it_would_get(bash: Shell, home: Path) -> None:
    """On standard output, and nothing is changed."""
    shown = bash("dispatcher --show-completion")
    assert "_DISPATCHER_COMPLETE=complete_bash" in shown
    assert list(home.iterdir()) == []
    bash("dispatcher --install-completion")
    assert (home / _FILES["bash"][0]).read_text().strip() == shown.strip()


@pytest.mark.parametrize("shell", _FILES)
def test_completion_is_shown_and_installed_for_each_shell(
    environment: dict[str, str], home: Path, shell: str
) -> None:
    """The same text, where the shell looks for it; below the home directory and nowhere else."""
    place, start = _FILES[shell]
    environment = environment | {_NO_DETECTION: "1"}
    shown = run(["dispatcher", "--show-completion", shell], environment, home)
    assert f"_DISPATCHER_COMPLETE=complete_{shell}" in shown
    assert list(home.iterdir()) == []
    said = run(["dispatcher", "--install-completion", shell], environment, home)
    assert str(home / place) in said
    assert (home / place).read_text().strip() == shown.strip()
    assert {path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()} == {
        name for name in (place, start) if name
    }
