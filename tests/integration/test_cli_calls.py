"""Commands about calls, promises and channels: what they print, and what they end with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dispatcher.api.call_values import any_of
from dispatcher.cli.calls import HAS_ENDED, State
from dispatcher.functions.shown import CallState, Entry, Step
from dispatcher.functions.surface import CancelMode
from dispatcher.protocol.messages import CallResult, Error
from dispatcher.testing.admin import MemoryAdmin
from dispatcher.testing.function_service import NOW_US, MemoryFunctions, call_id, view
from tests.integration.cli_running import Run, one_line, runner
from tests.integration.cli_serving import Canned, answer, served

ROOT, CHILD, GRANDCHILD, FAILED, LOST = map(call_id, (1, 2, 3, 4, 5))
SECOND_US = 1_000_000


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a command in this process; `stdin` is what is piped into it."""
    for name in ("DISPATCHER_KEY", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    return runner(capsys, monkeypatch)


@pytest.fixture
def functions(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryFunctions]:
    """An API with a tree of three calls that wait, one that failed, and one whose result is kept
    no more."""
    found = MemoryFunctions()
    top = view(1, state=CallState.SUSPENDED, function="order")
    found.put(replace(top, waits_for=1, application="shop"))
    # A call may be named like something that would move the cursor.
    found.put(view(3, state=CallState.SCHEDULED, function="mail\x1b[2J", parent=1))
    found.put(replace(found.views[GRANDCHILD], parent_id=CHILD, depth=2, last_error="throttled"))
    found.put(view(2, state=CallState.SUSPENDED, function="charge", parent=1))
    found.put(view(4, state=CallState.RUNNING, function="ship"))
    found.put(view(5, state=CallState.SUCCEEDED, function="ship"))
    found.expired.add(LOST)
    refused = CallResult(output=any_of({"left": 1}), error=Error(type="Refused", message="no\nway"))
    asyncio.run(found.end(FAILED, refused, CallState.FAILED))
    found.timelines[ROOT] = [
        Entry(Step.CREATED, NOW_US),
        Entry(
            Step.RUN,
            NOW_US + SECOND_US,
            attempt=1,
            duration_ms=7,
            status="throttled",
            error="http_429",
            next_at_us=NOW_US + 2 * SECOND_US,
        ),
        Entry(Step.RUN, NOW_US + 2 * SECOND_US, attempt=2, duration_ms=12, status="ok"),
        Entry(Step.SUSPENDED, NOW_US + 2 * SECOND_US, count=1),
        Entry(Step.SUSPENDED, NOW_US + 3 * SECOND_US, count=0, next_at_us=NOW_US + 9 * SECOND_US),
        Entry(Step.RESUMED, NOW_US + 9 * SECOND_US, count=2),
        Entry(Step.ENDED, NOW_US + 9 * SECOND_US, status="cancelled"),
    ]
    with served(MemoryAdmin(), functions=found) as api:
        monkeypatch.setenv("DISPATCHER_API", api.url)
        yield found


def test_resume_says_what_becomes_of_calls(functions: MemoryFunctions, run: Run) -> None:
    """Although no message waits there."""
    said = run("resume", "app.example").out
    assert said.startswith("http://app.example was not held.\nFunction calls wait until ")
    assert run("resume", "other.example").out.endswith("Nothing waits for it.\n")


def test_calls_are_listed_and_narrowed(functions: MemoryFunctions, run: Run) -> None:
    """The newest first, as a table and as lines of JSON; filters are the API's."""
    said = run("calls", "list")
    assert said.code == 0
    head, *rows = [line.split() for line in said.out.splitlines()]
    assert head[:4] == ["id", "state", "function", "endpoint"]
    assert [row[0] for row in rows] == [LOST, FAILED, GRANDCHILD, CHILD, ROOT]
    assert rows[-1][1:3] == ["suspended", "order"]

    def ids(*filters: str) -> list[object]:
        return [one["id"] for one in run("calls", "list", "--json", *filters).lines()]

    assert ids("--state", "suspended") == [CHILD, ROOT]
    assert ids("--state", "suspended", "--roots") == [ROOT]
    assert ids("--function", "ship") == [LOST, FAILED]
    assert ids("--endpoint", "http://other.example") == []
    assert ids("--limit", "0") == [LOST, FAILED, GRANDCHILD, CHILD, ROOT]
    assert run("calls", "list", "--limit", "2").err.startswith("There are more than 2")
    assert "expected ready, scheduled," in one_line(run("calls", "list", "--state", "lost"), 2)


def test_states_are_those_of_the_api() -> None:
    """Without loading them at every start of a command."""
    assert [state.value for state in State] == [state.value for state in CallState]
    assert {CallState(state.value) for state in HAS_ENDED} == {
        state for state in CallState if state.has_ended
    }


def test_promise_in_a_tree_is_named_by_its_endpoint(functions: MemoryFunctions, run: Run) -> None:
    """It has no function."""
    promise = view(9, state=CallState.OUTSIDE, function="", endpoint="promise:paid", parent=1)
    functions.put(promise)
    lines = run("calls", "show", ROOT).out.splitlines()
    assert any(line.split()[:3] == ["promise:paid", promise.id, "outside"] for line in lines), lines


def test_call_is_shown_with_its_tree_and_timeline(functions: MemoryFunctions, run: Run) -> None:
    """Children are indented under the call that called them; a timeline is in words."""
    said = run("calls", "show", ROOT)
    assert said.code == 0
    assert "state:        suspended\n" in said.out
    assert "waits for:    1 call\n" in said.out
    assert "\nTree (3 calls: 1 scheduled, 2 suspended)\n" in said.out
    tree = said.out.partition("\nTree")[2].partition("\n\n")[0].splitlines()[2:]
    assert [line.partition("  0000")[0].rstrip() for line in tree] == [
        "order",
        "  charge",
        "    mail\\x1b[2J",
    ]
    timeline = said.out.partition("\nTimeline\n")[2].splitlines()[1:]
    assert [" ".join(line.split()[1:]) for line in timeline] == [
        "created",
        "run attempt 1: throttled in 7 ms, next at 2026-01-01T00:00:02.000Z: http_429",
        "run attempt 2: ok in 12 ms",
        "suspended waits for 1 call",
        "suspended sleeps until 2026-01-01T00:00:09.000Z",
        "resumed with 2 results",
        "ended cancelled",
    ]
    (document,) = run("calls", "show", ROOT, "--json").lines()
    assert list(document) == ["call", "result", "tree", "timeline"]
    assert document["result"] is None


def test_call_that_ended_is_shown_with_what_it_came_to(
    functions: MemoryFunctions, run: Run
) -> None:
    """Its error and its output as JSON; a result that is kept no more is said to be."""
    said = run("calls", "show", FAILED)
    assert said.code == 0
    assert "\nError\n  Refused: no\n  way\n" in said.out
    assert '\nResult (google.protobuf.Value)\n  {\n    "left": 1\n  }\n' in said.out
    (document,) = run("calls", "show", FAILED, "--json").lines()
    assert document["result"]["output"] == {"left": 1.0}  # type: ignore[index]  # JSON
    lost = run("calls", "show", LOST)
    assert lost.code == 0
    assert "result_expired" in lost.err
    assert "Result" not in lost.out


def test_call_that_nobody_knows_ends_a_command(functions: MemoryFunctions, run: Run) -> None:
    """Exit code 6, and 2 where it is no id."""
    assert "call_unknown" in one_line(run("calls", "show", call_id(77)), 6)
    assert "id_invalid" in one_line(run("calls", "show", "../x"), 2)


def test_calls_are_cancelled_and_killed(functions: MemoryFunctions, run: Run) -> None:
    """Those that cannot be are named, the others are."""
    said = run("calls", "cancel", ROOT, FAILED, CHILD)
    assert said.code == 9
    assert said.out == f"{ROOT} is asked to end.\n{CHILD} is asked to end.\n"
    assert "call_ended" in one_line(said, 9)
    assert run("calls", "cancel", "--kill", "--json", ROOT).lines() == [
        {"id": ROOT, "mode": "kill"}
    ]
    assert functions.cancelled == [
        (ROOT, CancelMode.CANCEL),
        (CHILD, CancelMode.CANCEL),
        (ROOT, CancelMode.KILL),
    ]


def test_calls_are_followed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events of calls and no others, those that the filters let through; `-n` ends it."""
    named = {"time": "2026-01-01T00:00:00.000000Z", "endpoint": "http://a.example"}
    events = [
        ("accepted", {**named, "id": ROOT, "function": "order"}),
        ("call.created", {**named, "id": ROOT, "root_id": ROOT, "function": "order"}),
        ("call.created", {**named, "id": CHILD, "root_id": ROOT, "function": "charge"}),
        (
            "call.run",
            {
                **named,
                "id": FAILED,
                "root_id": FAILED,
                "function": "ship",
                "attempt": 2,
                "status": "timeout",
                "duration_ms": 60_000,
                "error": None,
            },
        ),
    ]
    stream = "".join(f"event: {kind}\ndata: {json.dumps(data)}\n\n" for kind, data in events)
    reply = answer(200, stream, "Content-Type: text/event-stream")
    for arguments, wanted in (
        (["-n", "3"], [ROOT, CHILD, FAILED]),
        (["-n", "1", "--function", "charge"], [CHILD]),
        (["-n", "1", "--function", "ship", "--endpoint", "http://a.example"], [FAILED]),
        (["-n", "2", ROOT], [ROOT, CHILD]),
    ):
        with Canned([reply]) as api:
            monkeypatch.setenv("DISPATCHER_API", api.url)
            said = run("calls", "tail", "--json", *arguments)
        assert [one["id"] for one in said.lines()] == wanted
    with Canned([reply]) as api:
        monkeypatch.setenv("DISPATCHER_API", api.url)
        said = run("calls", "tail", "-n", "1", "--function", "charge")
    assert said.out.split()[:4] == ["2026-01-01T00:00:00.000Z", "call.created", CHILD, "charge"]
    with Canned([reply]) as api:
        monkeypatch.setenv("DISPATCHER_API", api.url)
        said = run("calls", "tail", "-n", "1", "--function", "ship")
    assert said.out.endswith("  ship  http://a.example  attempt 2: timeout in 60000 ms\n")


def test_promises_are_resolved_and_channels_are_sent_to(
    functions: MemoryFunctions, run: Run, tmp_path: Path
) -> None:
    """With JSON, from a file or standard input too, or with an error; a promise once."""
    (tmp_path / "value.json").write_text('{"paid": true}')
    said = run("promises", "resolve", "order/7", "--value", "@value.json", "--application", "shop")
    assert (said.code, said.out) == (0, "Promise order/7 is resolved.\n")
    again = run("promises", "resolve", "order/7", "--application", "shop")
    assert "promise_completed" in one_line(again, 9)
    said = run("promises", "resolve", "b", "--error", "no way", "--error-type", "Refused")
    assert (said.code, said.out) == (0, "Promise b has failed.\n")
    assert run("promises", "resolve", "c", "--json").lines() == [
        {"promise": "c", "resolved": True, "error": None}
    ]
    assert run("channels", "send", "d", "--value", "-", stdin='"x"').code == 0
    assert run("channels", "send", "d", "--error", "gone").code == 0

    kept = {name: CallResult.FromString(result) for name, result in functions.promises.items()}
    assert kept["shop", "order/7"].output == any_of({"paid": True})
    assert kept["", "b"].error == Error(type="Refused", message="no way")
    assert kept["", "c"].output == any_of(None)
    value, failure = map(CallResult.FromString, functions.channels["", "d"])
    assert value.output == any_of("x")
    assert failure.error == Error(type="Error", message="gone")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["promises", "resolve", "a", "--value", "yes"], "it is no JSON"),
        (["promises", "resolve", "a", "--value", "1", "--error", "no"], "one of them"),
        (["promises", "resolve", "a", "--error-type", "E"], "give its message"),
        (["promises", "resolve", "a", "--value", "@none.json"], "expected a file"),
        (["channels", "send", "a"], "say what is sent"),
    ],
)
def test_value_that_cannot_be_meant_is_refused(
    functions: MemoryFunctions, run: Run, arguments: list[str], told: str
) -> None:
    """Before anything is sent: exit code 2, and what to do."""
    assert told in one_line(run(*arguments), 2)
    assert not functions.promises
    assert not functions.channels


def test_stats_shows_figures_and_lanes_of_calls(functions: MemoryFunctions, run: Run) -> None:
    """Lanes among those of messages; no figures where there never was a call."""
    said = run("stats")
    assert said.code == 0
    assert "accepted:" in said.out
    assert "calls:      5\n" in said.out
    assert "suspended:  2\n" in said.out
    (lane,) = [line.split() for line in said.out.splitlines() if "http://app.example" in line]
    assert lane[:7] == ["http://app.example", "0", "-", "0", "10", "-", "backs"]
    assert "call" in lane
    functions.views.clear()
    functions.results.clear()
    assert "calls:" not in run("stats").out
