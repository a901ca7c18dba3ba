"""`--show-completion` and `--install-completion`: what a shell gets, and that it works there."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dispatcher.queue.admin.surface import MessageState
from dispatcher.testing.admin import MemoryAdmin, letter, message, message_id
from tests.integration.cli_serving import Canned, Served, served

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
        for typed in 'dispatcher dea' 'dispatcher dead re' 'dispatcher top --inter'; do
            COMP_WORDS=($typed) COMP_CWORD=$(($(wc -w <<<"$typed") - 1)) COMPREPLY=()
            _dispatcher_completion dispatcher
            echo "$typed: ${COMPREPLY[*]}"
        done
    """
    registered, *answers = bash(asked).splitlines()
    assert "_dispatcher_completion dispatcher" in registered
    assert answers == [
        "dispatcher dea: dead",
        "dispatcher dead re: redrive",
        "dispatcher top --inter: --interval",
    ]
    assert not (home / "transaction.log").exists(), "it served"


@pytest.fixture
def served_things() -> Iterator[Served]:
    """An API that knows destinations, a dead letter and a label."""
    admin = MemoryAdmin()
    admin.put(message(1))
    admin.put(message(2, MessageState.SCHEDULED, "b"))
    admin.bury(letter(11, to="gone", status=404))
    with served(admin) as found:
        yield found


def completed(bash: Shell, url: str, *typed: str) -> dict[str, list[str]]:
    """What Bash completes, with the words that it makes of a line: it splits them at colons."""
    lines = "\n".join(f"complete_line {shlex.quote(one)}" for one in typed)
    asked = f"""
        . ~/.bashrc
        export DISPATCHER_API={url}
        complete_line() {{
            local word
            COMP_WORDS=() COMPREPLY=()
            for word in $(sed 's/:/ : /g' <<<"$1"); do COMP_WORDS+=("$word"); done
            case "$1" in *' ') COMP_WORDS+=('');; esac
            COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
            _dispatcher_completion dispatcher
            echo "$1|${{COMPREPLY[*]}}"
        }}
        {lines}
    """
    found = dict(line.split("|") for line in bash(asked).splitlines())
    return {line: words.split() for line, words in found.items()}


def test_bash_completes_what_the_server_knows(bash: Shell, served_things: Served) -> None:
    """Destinations (of the part after the last colon what is missing), last errors, ids, states."""
    bash("dispatcher --install-completion")
    found = completed(
        bash,
        served_things.url,
        "dispatcher hold ",
        "dispatcher dead list --destination https://g",
        "dispatcher dead list --error ",
        "dispatcher dead show ",
        "dispatcher explain ",
        "dispatcher calls list --state su",
    )
    assert list(found.values()) == [
        ["https://a.example", "https://b.example", "https://gone.example"],
        ["//gone.example"],
        ["http_404"],
        [message_id(11)],
        [message_id(1), message_id(2)],
        ["suspended", "succeeded"],
    ]


def test_completion_is_quiet_when_the_server_does_not_answer(bash: Shell) -> None:
    """Nor does it wait for one that hangs."""
    bash("dispatcher --install-completion")
    with Canned([]) as nobody:
        assert completed(bash, nobody.url, "dispatcher hold ") == {"dispatcher hold ": []}
    assert completed(bash, nobody.url, "dispatcher hold ") == {"dispatcher hold ": []}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert completed(bash, url, "dispatcher hold ") == {"dispatcher hold ": []}


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
