"""`dispatcher schedules`: what its commands send and print, and what they end with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dispatcher.api.call_values import any_of
from dispatcher.schedules.plans import CatchUp, Overlap, Plan, PlannedCall, PlannedMessage
from dispatcher.schedules.surface import FiringView
from dispatcher.testing.admin import MemoryAdmin
from dispatcher.testing.function_service import MemoryFunctions, call_id
from dispatcher.testing.schedules import NOW_US
from tests.integration.cli_running import runner
from tests.integration.cli_serving import served

Run = Callable[..., tuple[int, str, str]]
PUT = ("schedules", "put", "nightly", "--cron", "30 2 * * *", "--endpoint", "http://a.example")
CALL = "--function", "clean_up"
MESSAGE = (*PUT[:5], "--destination", "http://a.example")


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
    assert plan == Plan("30 2 * * *", "UTC", PlannedCall("http://a.example", "clean_up"))
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
        what=PlannedCall("http://a.example", "clean_up", any_of({"days": 7}).SerializeToString()),
    )
    assert functions.schedules.views["", "nightly"].plan == expected
    assert run(*PUT, *CALL, "--application", "shop")[0] == 0
    assert functions.schedules.views["shop", "nightly"].application == "shop"


def test_schedule_of_a_message_is_put_listed_and_shown(
    functions: MemoryFunctions, run: Run, tmp_path: Path
) -> None:
    """With all that was said of it; a body that is no text by its size."""
    assert run(*MESSAGE)[1] == "Schedule nightly fires next at 2026-01-01T02:30:00.000Z.\n"
    assert functions.schedules.views["", "nightly"].plan.what == PlannedMessage("http://a.example")
    (tmp_path / "body").write_bytes(b"\x00\xff")
    more = (
        "-X", "PUT", "--target", "/x?y", "-H", "A: b", "-H", "C: \u00e9", "--data", "@body",
        "--option", "retries=5", "--option", "deadline=1h",
    )  # fmt: skip
    assert run(*MESSAGE, *more)[0] == 0
    assert functions.schedules.views["", "nightly"].plan.what == PlannedMessage(
        "http://a.example",
        "PUT",
        "/x?y",
        (("A", "b"), ("C", "\u00c3\u00a9")),
        b"\x00\xff",
        (("retries", "5"), ("deadline", "1h")),
    )
    view = functions.schedules.views["", "nightly"]
    last = FiringView(NOW_US, f"{7:028x}", "dead")
    functions.schedules.views["", "nightly"] = replace(
        view, last=last, last_run=replace(last, state=None), is_waiting=True
    )
    row = run("schedules", "list")[1].splitlines()[1]
    assert "PUT http://a.example/x?y  2026-01-01T02:30:00.000Z" in row
    assert row.split()[-2:] == ["dead", f"{7:028x}"]
    shown = dict(
        line.split(": ", 1) for line in run("schedules", "show", "nightly")[1].splitlines()
    )
    assert {name: value.strip() for name, value in shown.items()} == {
        "name": "nightly",
        "application": "-",
        "cron": "30 2 * * *",
        "timezone": "UTC",
        "destination": "http://a.example",
        "method": "PUT",
        "target": "/x?y",
        "headers": "A: b; C: \u00c3\u00a9",
        "options": "retries=5 deadline=1h",
        "body": "2 bytes",
        "overlap": "queue",
        "catch up": "last",
        "next": "2026-01-01T02:30:00.000Z, when the message before has ended",
        "last": f"2026-01-01T00:00:00.000Z: {7:028x}, dead",
        "before": "-",
        "last by hand": f"2026-01-01T00:00:00.000Z: {7:028x}, nothing is known of it any more",
        "left out": "0",
    }
    assert run(*MESSAGE, "--data", "-", stdin="hello")[0] == 0
    assert "hello" in run("schedules", "show", "nightly")[1]


def test_what_is_wrong_ends_with_2_and_is_named(functions: MemoryFunctions, run: Run) -> None:
    """By the command, or by the API."""
    for arguments, says in (
        ((*PUT,), "--function"),
        ((*PUT, *CALL, "--target", "/"), "--endpoint is of a call, --target of a message"),
        ((*MESSAGE[:5], "--data", "x"), "--destination is missing"),
        ((*MESSAGE, "--option", "retries"), "NAME=VALUE"),
        ((*MESSAGE, "--option", "retries=many"), "options.retries"),
        ((*MESSAGE, "--header", "no"), "'Name: value'"),
        ((*MESSAGE, "--data", "@missing"), "--data @missing"),
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
    last = FiringView(NOW_US - 3_600_000_000, call_id(1), "failed")
    hand = FiringView(NOW_US, call_id(2), None)
    functions.schedules.views["", "nightly"] = replace(
        view,
        last=last,
        last_run=hand,
        skipped=3,
        is_waiting=True,
        earlier=[replace(last, state="succeeded"), replace(last, state=None)],
    )
    _, out, _ = run("schedules", "list")
    head, row = out.splitlines()
    assert head.split() == [
        "name", "application", "cron", "timezone", "what", "next", "last", "state", "id",
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
        "succeeded, unknown",
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
