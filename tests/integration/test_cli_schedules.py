"""`dispatcher schedules`: what its commands send and print, and what they end with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dispatcher.api.call_values import any_of
from dispatcher.functions.schedules.surface import CatchUp, FiringView, Overlap, Plan
from dispatcher.functions.shown import CallState
from dispatcher.testing.admin import MemoryAdmin
from dispatcher.testing.function_service import MemoryFunctions, call_id
from dispatcher.testing.schedules import NOW_US
from tests.integration.cli_running import runner
from tests.integration.cli_serving import served

Run = Callable[..., tuple[int, str, str]]
PUT = ("schedules", "put", "nightly", "--cron", "30 2 * * *", "--endpoint", "http://a.example")
CALL = "--function", "clean_up"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a command in this process: exit code, standard output and error."""
    monkeypatch.delenv("DISPATCHER_KEY", raising=False)
    monkeypatch.chdir(tmp_path)

    command = runner(capsys, monkeypatch)

    def run(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
        said = command(*arguments, stdin=stdin)
        return said.code, said.out, said.err

    return run


@pytest.fixture
def functions(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryFunctions]:
    """An API with schedules."""
    found = MemoryFunctions()
    with served(MemoryAdmin(), functions=found) as api:
        monkeypatch.setenv("DISPATCHER_API", api.url)
        yield found


def test_schedule_is_put_with_all_that_was_said(functions: MemoryFunctions, run: Run) -> None:
    """Or with the defaults; the next firing is told."""
    assert run(*PUT, *CALL) == (
        0,
        "Schedule nightly fires next at 2026-01-01T02:30:00.000Z.\n",
        "",
    )
    plan = functions.schedules.views["", "nightly"].plan
    assert plan == Plan("30 2 * * *", "UTC", "http://a.example", "clean_up")
    more = ("--timezone", "Europe/Berlin", "--overlap", "skip", "--catch-up", "all", "--paused")
    code, out, _ = run(*PUT, *CALL, *more, "--input", "-", "--json", stdin='{"days": 7}')
    assert code == 0
    assert json.loads(out)["call"]["input"] == {"days": 7}
    expected = replace(
        plan,
        timezone="Europe/Berlin",
        overlap=Overlap.SKIP,
        catch_up=CatchUp.ALL,
        paused=True,
        input=any_of({"days": 7}).SerializeToString(),
    )
    assert functions.schedules.views["", "nightly"].plan == expected
    assert run(*PUT, *CALL, "--application", "shop")[0] == 0
    assert functions.schedules.views["shop", "nightly"].application == "shop"


def test_what_is_wrong_ends_with_2_and_is_named(functions: MemoryFunctions, run: Run) -> None:
    """By the command, or by the API."""
    for arguments, says in (
        ((*PUT,), "--function"),
        ((*PUT, *CALL, "--input", "yes"), "--input: it is no JSON"),
        ((*PUT, *CALL, "--input", "@missing"), "--input @missing"),
        ((*PUT, *CALL, "--timezone", "Berlin"), "no such time zone"),
        ((*PUT, *CALL, "--overlap", "both"), "--overlap"),
    ):
        code, _, err = run(*arguments)
        assert code == 2
        assert says in err
    assert not functions.schedules.views


def test_schedules_are_listed_and_shown(functions: MemoryFunctions, run: Run) -> None:
    """With what their last call came to."""
    run(*PUT, *CALL, "--input", "[1]")
    view = functions.schedules.views["", "nightly"]
    last = FiringView(NOW_US - 3_600_000_000, call_id(1), CallState.FAILED)
    hand = FiringView(NOW_US, call_id(2), None)
    functions.schedules.views["", "nightly"] = replace(
        view, last=last, last_run=hand, skipped=3, is_waiting=True
    )
    _, out, _ = run("schedules", "list")
    head, row = out.splitlines()
    assert head.split() == [
        "name", "application", "cron", "timezone", "function", "next", "last", "state", "call",
    ]  # fmt: skip
    assert row.split()[-5:] == [
        "clean_up",
        "2026-01-01T02:30:00.000Z",
        "2025-12-31T23:00:00.000Z",
        "failed",
        call_id(1),
    ]
    assert json.loads(run("schedules", "list", "--json")[1])["last"]["state"] == "failed"
    assert run("schedules", "list", "--application", "shop")[1].count("\n") == 1
    _, out, _ = run("schedules", "show", "nightly")
    assert [line.split(":", 1)[1].strip() for line in out.splitlines()] == [
        "nightly",
        "-",
        "30 2 * * *",
        "UTC",
        "http://a.example",
        "clean_up",
        "[1]",
        "queue",
        "last",
        "2026-01-01T02:30:00.000Z, when the call before has ended",
        f"2025-12-31T23:00:00.000Z: {call_id(1)}, failed",
        f"2026-01-01T00:00:00.000Z: {call_id(2)}, its result is kept no more",
        "3",
    ]
    assert json.loads(run("schedules", "show", "nightly", "--json")[1])["skipped"] == 3


def test_schedule_is_run_paused_resumed_and_deleted(functions: MemoryFunctions, run: Run) -> None:
    """Each says what it did; what is not there ends with 6."""
    run(*PUT, *CALL)
    assert run("schedules", "run", "nightly")[1] == f"{1:028x} is dispatched.\n"
    said = "Schedule nightly is paused. `dispatcher schedules resume nightly` ends it.\n"
    assert run("schedules", "pause", "nightly")[1] == said
    assert "paused" in run("schedules", "list")[1].split()
    assert "fires next" in run("schedules", "resume", "nightly")[1]
    assert json.loads(run("schedules", "pause", "nightly", "--json")[1])["paused"] is True
    assert json.loads(run("schedules", "run", "nightly", "--json")[1])["id"] == f"{2:028x}"
    assert run("schedules", "delete", "nightly") == (0, "Schedule nightly is deleted.\n", "")
    assert not functions.schedules.views
    for command in ("show", "run", "pause", "resume", "delete"):
        code, _, err = run("schedules", command, "nightly")
        assert code == 6
        assert "schedule_unknown" in err
