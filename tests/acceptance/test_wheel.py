"""What is built from this tree is complete: a wheel, installed with its dependencies, serves.

Needs a package index, as setting up the tests does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import dispatcher
from tests.acceptance.receiver import Receiver
from tests.acceptance.running import ROOT, accept, quick
from tests.acceptance.served import ServerProcess

_TIMEOUT_S = 400
"""For each command of pip: a slow index is no failure, nor is compiling beside other tests."""


@pytest.fixture(scope="module", params=["compiled", "pure"])
def kind(request: pytest.FixtureRequest) -> str:
    """How the wheel is built: with the hot path compiled, or without."""
    return str(request.param)


@pytest.fixture(scope="module")
def wheel(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel. It is left in the directory that DISPATCHER_WHEELS names."""
    kept = os.environ.get("DISPATCHER_WHEELS")
    directory = Path(kept, kind) if kept else tmp_path_factory.mktemp("dist")
    given = ("-m", "pip", "wheel", "--no-deps", "--wheel-dir", directory, ROOT)
    _run(sys.executable, *given, DISPATCHER_PURE="1" if kind == "pure" else "")
    (made,) = directory.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment for one wheel after the other: what they depend on is installed once.

    It has no pip of its own: making one with it takes longer than everything else.
    """
    directory = tmp_path_factory.mktemp("venv")
    venv.create(directory, with_pip=False)
    return directory / "bin"


@pytest.fixture(scope="module")
def command(environment: Path, wheel: Path) -> Path:
    """The `dispatcher` command, where there is nothing but the wheel and what it depends on."""
    command = environment / "dispatcher"
    again = ("--no-deps", "--force-reinstall") if command.exists() else ()
    python = environment / "python"
    _run(sys.executable, "-m", "pip", "--python", python, "install", *again, wheel)
    return command


def _run(*given: str | Path, **environment: str) -> str:
    # Not in the tree, and without its path: what is imported must be what was installed.
    ended = subprocess.run(
        given,
        cwd="/",
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_wheel_holds_data_files_and_no_tests(wheel: Path) -> None:
    """The format of the log and the marker of typed packages are installed; the tests are not."""
    names = zipfile.ZipFile(wheel).namelist()
    assert "dispatcher/py.typed" in names
    assert "dispatcher/txlog/FORMAT.md" in names
    assert {name.partition("/")[0] for name in names if not name.endswith(".so")} == {
        "dispatcher",
        f"durable_dispatcher-{dispatcher.__version__}.dist-info",
    }


def test_wheel_holds_an_extension_for_each_module_of_the_hot_path(wheel: Path, kind: str) -> None:
    """Beside its source. A pure wheel holds the same sources, and no extension."""
    names = zipfile.ZipFile(wheel).namelist()
    sources = {name for name in names if name.endswith(".py")}
    extensions = [name for name in names if name.endswith(".so")]
    assert sources == {str(path.relative_to(ROOT)) for path in (ROOT / "dispatcher").rglob("*.py")}
    if kind == "pure":
        assert extensions == []
        assert wheel.name.endswith("-py3-none-any.whl")
        return
    assert sum(not name.startswith("dispatcher/") for name in extensions) == 1  # what they share
    of_modules = {name for name in extensions if name.startswith("dispatcher/")}
    assert len(of_modules) > 30
    assert {name.partition(".")[0] + ".py" for name in of_modules} <= sources
    assert "dispatcher/queue/partition.py" in {n.partition(".")[0] + ".py" for n in of_modules}


def test_installed_command_prints_its_version(command: Path, kind: str) -> None:
    """The one of this tree, and whether the hot path is compiled."""
    assert _run(command, "version") == f"{dispatcher.__version__}\n"
    assert _run(command, "--version") == f"dispatcher {dispatcher.__version__} ({kind})\n"


def test_installed_command_serves(command: Path, tmp_path: Path, receiver: Receiver) -> None:
    """A message is accepted and delivered, and SIGTERM ends it in the orderly way."""
    # The prefix runs the command in the place of what follows it, `python -m dispatcher`.
    prefix = ("sh", "-c", 'exec "$0" serve', str(command))
    with ServerProcess(tmp_path, prefix, **quick(PYTHONPATH="")) as server:
        accepted = accept(server, receiver, body=b"from a wheel")
        (one,) = receiver.received()
        assert one.headers["x-dispatcher-message-id"] == accepted.id
        assert bytes(one.body) == b"from a wheel"
        assert server.stop() == 0
        assert server.stderr == ""
