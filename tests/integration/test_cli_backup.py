"""`dispatcher backup` against the whole API, and the calls it makes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.api.backups import BackupState
from dispatcher.cli.main import main
from dispatcher.errors import Refusal
from dispatcher.testing.admin import MemoryAdmin
from dispatcher.testing.api import ApiBench
from tests.integration.cli_serving import Canned, Served, answer, served


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Served]:
    for name in ("DISPATCHER_API", "DISPATCHER_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    with served(MemoryAdmin()) as made:
        yield made


def run(api: Served, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run `dispatcher backup`; returns its exit code and what it printed."""
    with pytest.raises(SystemExit) as ended:
        main(["backup", *arguments, "--url", api.url])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_backup_waits_for_the_end_and_says_what_was_made(
    api: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A relative path is one of where the command was given."""
    api.backups.share = 2
    code, out, err = run(api, capsys, "copies")
    assert (code, err) == (0, "")
    assert out.startswith(f"{tmp_path / 'copies'}: a backup of the logs, 1000 B")
    code, out, _ = run(api, capsys, "copies", "--json")
    assert (code, json.loads(out)["state"]) == (0, "made")


def test_backup_that_failed_says_why(api: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, and nothing on standard output."""
    api.backups.share = 2
    api.backups.result = BackupState.FAILED
    api.backups.error = "No space left on device"
    code, out, err = run(api, capsys, "/backup")
    assert (code, out) == (1, "")
    assert "No space left on device" in err


@pytest.mark.parametrize(
    ("status", "slug", "code"), [(400, "backup_directory", 2), (409, "backup_running", 9)]
)
def test_backup_that_is_refused_ends_with_the_code_of_the_refusal(
    api: Served, capsys: pytest.CaptureFixture[str], status: int, slug: str, code: int
) -> None:
    """Before anything was copied."""
    api.backups.refusal = Refusal(status, slug, "/backup: it is not empty.")
    ended, out, err = run(api, capsys, "/backup")
    assert (ended, out) == (code, "")
    assert "not empty" in err


def test_backup_that_another_one_followed_is_not_said_to_be_made(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever became of the other one."""
    begun = {"state": "running", "directory": "/mine", "started_at": "2026-01-31T12:00:00.000000Z"}
    other = {**begun, "state": "made", "directory": "/other", "total_bytes": 1000}
    answers = [answer(202, json.dumps(begun)), answer(200, json.dumps(other))]
    with Canned(answers) as server, pytest.raises(SystemExit) as ended:
        main(["backup", "/mine", "--url", server.url])
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (1, "")
    assert "another was begun" in said.err


def test_interrupting_the_command_stops_the_backup(api: Served, tmp_path: Path) -> None:
    """It is not made behind the operator's back."""
    api.backups.share = 1000
    command = subprocess.Popen(
        [sys.executable, "-m", "dispatcher", "backup", str(tmp_path / "b"), "--url", api.url],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    until = time.monotonic() + 60
    while api.backups.looks < 2:
        assert time.monotonic() < until, "it never asked"
        time.sleep(0.01)
    command.send_signal(signal.SIGINT)
    command.communicate(timeout=60)
    assert command.returncode == 130
    assert api.backups.stops == 1


async def test_calls_about_a_backup() -> None:
    """Begin, look, stop; and what is wrong with the body."""
    async with ApiBench() as bench:
        status, _, text = await bench.ask("/v1/backup")
        assert (status, json.loads(text)["state"]) == (200, "none")
        sent = {"directory": "/backup"}
        status, _, text = await bench.ask("/v1/backup", "POST", send=sent)
        assert status == 202
        begun = json.loads(text)
        assert re.fullmatch("[0-9a-f]{8}", begun.pop("job"))
        assert begun == {
            "state": "running",
            "directory": "/backup",
            "copied_bytes": 0,
            "total_bytes": 1000,
            "started_at": "1970-01-01T00:00:00.000000Z",
            "ended_at": None,
            "error": None,
        }
        status, _, text = await bench.ask("/v1/backup")
        assert json.loads(text)["copied_bytes"] > 0
        for _ in range(2):
            status, _, text = await bench.ask("/v1/backup", "DELETE")
            assert (status, json.loads(text)["state"]) == (200, "stopped")
        told = [line for line in map(json.loads, bench.lines) if "operator.backup" in line["event"]]
        assert [(line["event"], line["count"]) for line in told] == [
            ("operator.backup_begun", 1),
            ("operator.backup_stopped", 1),
        ]
        assert told[0]["selection"] == sent
        for wrong in ({}, {"directory": ""}, {"directory": "a\nb"}, {"directory": 5}):
            status, _, _ = await bench.ask("/v1/backup", "POST", send=wrong)
            assert status == 400
