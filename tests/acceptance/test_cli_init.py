"""What `dispatcher init` writes runs as its README says, and goes on when everything was killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.local_run import SECONDS, Local
from tests.acceptance.running import ROOT, run


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with the application, in which nobody sleeps for ten seconds."""
    assert run(tmp_path, "init", "hello").returncode == 0
    place = tmp_path / "hello"
    text = (place / "app.py").read_text()
    assert "dispatch.sleep(10)" in text
    (place / "app.py").write_text(text.replace("dispatch.sleep(10)", "dispatch.sleep(2)"))
    return place


def shell(place: Path, line: str) -> subprocess.Popen[str]:
    """Another terminal."""
    return subprocess.Popen(
        ["sh", "-c", line],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_application_of_init_goes_on_when_everything_was_killed(place: Path) -> None:
    """Its result comes in the end; who waited for it across that has it too."""
    application = [sys.executable, "app.py"]
    with Local(place, ["--session", "hello"], application) as first:
        typed = first.until(r"In other terminals: (\. \S+)$")[1]
        first.until(r"welcome, app.py:\d+\n.*durable: ")
        waiting = shell(place, f"{typed} && {sys.executable} start.py Ada 'Alan T.'")
        call = first.until(r"suspended    (\w+)  welcome  sleeps")[1]
        first.signal(signal.SIGKILL)
        first.wait()
    with Local(place, ["--session", "hello"], application) as second:
        second.until(rf"ended        {call}  welcome  succeeded")
        said, _ = waiting.communicate(timeout=SECONDS)
        assert said.splitlines()[-1] == "['Hello, Ada!', 'Hello, Alan T.!']"
        listed = shell(place, f"{typed} && {sys.executable} -m dispatcher calls list --json")
        lines = listed.communicate(timeout=SECONDS)[0].splitlines()
        assert [json.loads(line)["state"] for line in lines] == ["succeeded"]
        second.signal(signal.SIGINT)
        assert second.wait() == 0
        assert re.search(r"^app.py +\| Listening at ", second.text, re.M)


def test_tests_of_init_pass(place: Path) -> None:
    """With nothing running."""
    tests = shell(place, f"{sys.executable} -m pytest -q")
    said, _ = tests.communicate(timeout=SECONDS)
    assert tests.returncode == 0, said
