"""`dispatcher replay` as a person sees it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dispatcher.api import places
from dispatcher.cli import replay
from dispatcher.cli.errors import BadUsage
from dispatcher.errors import Refused
from dispatcher.queue.refusals import BACKLOG_FULL, SHUTTING_DOWN
from dispatcher.testing.admin import MemoryAdmin
from dispatcher.testing.replayer import BEGIN
from tests.integration.cli_running import Run, runner
from tests.integration.cli_serving import Served, served

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
SOME = replace(
    BEGIN,
    messages=2,
    size_bytes=2048,
    first_us=1_704_067_200_000_000,
    last_us=1_704_067_201_500_000,
)
DONE = replace(
    SOME, is_done=True, destinations=[("http://a.example", 2, 2048)], destinations_total=1
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Served]:
    """A server with a history, which commands find."""
    monkeypatch.delenv("DISPATCHER_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    with served(MemoryAdmin()) as running:
        monkeypatch.setenv("DISPATCHER_API", running.url)
        running.replayer.steps = [BEGIN, DONE]
        yield running


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """What runs a command."""
    return runner(capsys, monkeypatch)


def test_replay_says_what_was_sent_again(server: Served, run: Run) -> None:
    """How many, how large, and of when."""
    ended = run("replay", "--all", "--rate", "50/s")
    assert ended.code == 0
    assert ended.out == (
        "2 messages (2.0 KiB), accepted from 2024-01-01T00:00:00.000Z to "
        "2024-01-01T00:00:01.500Z, sent again.\n"
    )
    assert str(server.replayer.asked[0][1]["rate"]) == "50/s"


def test_rate_without_a_time_is_a_seconds(server: Served, run: Run) -> None:
    """As that of `dead redrive`."""
    assert run("replay", "--all", "--rate", "50").code == 0
    assert str(server.replayer.asked[0][1]["rate"]) == "50/s"


def test_dry_run_says_what_would_be_sent_and_from_where(server: Served, run: Run) -> None:
    """A row for each destination."""
    ended = run("replay", "--since", "2024-01-01", "--dry-run")
    table, last = ended.out.rstrip("\n").rsplit("\n", 1)
    assert "http://a.example  2         2.0 KiB" in table
    assert last.endswith("would be sent again. Nothing was sent.")
    assert server.replayer.asked[0][1]["dry_run"]


def test_nothing_to_replay_is_a_sentence_too(server: Served, run: Run) -> None:
    """Without times, as there are none."""
    server.replayer.steps = [replace(BEGIN, is_done=True)]
    ended = run("replay", "--all", "--dry-run")
    assert ended.out == "0 messages (0 B) would be sent again. Nothing was sent.\n"


def test_replay_prints_its_last_line_as_json(server: Served, run: Run) -> None:
    """One document."""
    ended = run("replay", "--all", "--json")
    told = json.loads(ended.out)
    assert (told["state"], told["messages"], told["dry_run"]) == ("done", 2, False)


def test_replay_that_fails_says_how_to_go_on(server: Served, run: Run) -> None:
    """With the cursor of what is certainly done."""
    server.replayer.steps = [BEGIN, replace(SOME, waiting=BACKLOG_FULL), SOME]
    server.replayer.error = Refused(SHUTTING_DOWN)
    ended = run("replay", "--all")
    assert ended.code == 9
    assert "It waits: " in ended.err
    assert "(backlog_full)" in ended.err
    assert "Sent again so far: 2 messages." in ended.err
    assert f"--cursor {places.encode(SOME.place)}" in ended.err
    assert "(shutting_down)" in ended.err
    assert run("replay", "--all", "--cursor", places.encode(SOME.place)).code == 9
    assert server.replayer.asked[1][1]["after"] == SOME.place


def test_messages_that_cannot_be_read_are_an_error(server: Served, run: Run) -> None:
    """The others are sent."""
    server.replayer.steps = [BEGIN, replace(DONE, unreadable=1)]
    ended = run("replay", "--all")
    assert ended.code == 1
    assert "sent again" in ended.out
    assert "1 message cannot be read" in ended.err


def test_without_a_history_it_is_said_what_to_set(server: Served, run: Run) -> None:
    """In the words of the API."""
    server.replayer.keeps_history = False
    ended = run("replay", "--all")
    assert ended.code == 9
    assert "EVENT_SOURCING=true" in ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--to", "a.example"],
        ["--all", "--since", "1h"],
        ["--since", "yesterday"],
        ["--all", "--rate", "fast"],
        ["--all", "--rate", "0/s"],
        ["--all", "--rate", "0"],
    ],
)
def test_what_cannot_be_meant_is_refused(server: Served, run: Run, arguments: list[str]) -> None:
    """Before anything is asked."""
    assert run("replay", *arguments).code == 2
    assert not server.replayer.asked


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"since": "2h"}, {"since": "2026-01-31T10:00:00.000000Z"}),
        ({"until": "2026-01-31"}, {"until": "2026-01-31T00:00:00.000000Z"}),
        ({"since": "2026-01-31T12:00:00+01:00"}, {"since": "2026-01-31T11:00:00.000000Z"}),
        ({"destination": "a"}, {"destination": "a"}),
        ({"label": "blue"}, {"label": "blue"}),
    ],
)
def test_times_are_spans_ago_or_instants(given: dict[str, str], expected: dict[str, Any]) -> None:
    """As with other commands."""
    fields = {"since": None, "until": None, "destination": None, **given}
    assert replay.request(**fields, everything=False, now=NOW) == expected


def test_all_is_asked_for_by_name() -> None:
    """And not together with less."""
    assert replay.request(None, None, None, everything=True, now=NOW) == {"all": True}
    with pytest.raises(BadUsage):
        replay.request(None, None, None, everything=False, now=NOW)
