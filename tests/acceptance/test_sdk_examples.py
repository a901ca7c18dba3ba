"""The examples of functions run by the command that each names, against a real server."""

from __future__ import annotations

import json
import re
import signal
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from dispatcher.testing.ports import KeptPort
from tests.acceptance.local_run import Local
from tests.acceptance.receiver import eventually
from tests.acceptance.running import ROOT
from tests.effort import thorough

EXAMPLES = ROOT / "examples" / "functions"
Start = Callable[..., Local]


@pytest.fixture
def started(tmp_path: Path) -> Start:
    """Runs an example, in a directory of the test."""

    def start(name: str, *words: str, session: str = "") -> Local:
        options = ["--session", session] if session else []
        return Local(tmp_path, options, [sys.executable, str(EXAMPLES / name), *words])

    return start


def lines(path: Path) -> list[str]:
    """What an example has written to a file."""
    return path.read_text().splitlines() if path.exists() else []


def fetched(url: str, body: bytes | None = None, key: str = "") -> str:
    """The answer to a GET, or to a POST of the body."""
    request = urllib.request.Request(url, body, {"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return str(answer.read().decode())


def test_greet_prints_what_its_functions_return(started: Start) -> None:
    """And ends by itself."""
    with started("greet.py") as example:
        assert example.wait() == 0
    said = re.findall(r"greet\.py +\| (Hello.*)", example.text)
    assert said == ["Hello, Ada!", "Hello, Alan!", "Hello, Grace!"]


def test_fan_out_tries_the_one_that_fails_again(started: Start) -> None:
    """It fails twice, and all hundred are sent to."""
    with started("fan_out.py") as example:
        assert example.wait() == 0
    assert "100 sent, the last: sent to user-099" in example.text
    failed = re.findall(r"attempt \d+: temporary_error", example.text)
    assert len(failed) == 2, example.text


def test_approval_waits_for_what_curl_posts(started: Start) -> None:
    """By the address and key that it prints."""
    with started("approval.py") as example:
        found = example.until(r"curl (\S+) -H 'Authorization: Bearer (\S+)' -d true")
        fetched(found[1], b"true", found[2])
        assert example.wait() == 0
    assert "A-1 is booked for 200" in example.text
    assert "A-2 is booked for 5000" in example.text


def test_pipeline_goes_on_behind_the_last_step_when_everything_was_killed(
    started: Start, tmp_path: Path
) -> None:
    """A step whose result was stored is not done again."""
    journal = tmp_path / "pipeline.log"
    with started("pipeline.py", session="pipeline") as first:
        eventually(lambda: "packed order 7, charged" in lines(journal))
        first.signal(signal.SIGKILL)
        first.wait()
    with started("pipeline.py", "resume", session="pipeline") as second:
        second.until(r"ended +\w+ +fulfil +succeeded")
        second.signal(signal.SIGINT)
        assert second.wait() == 0
    done = lines(journal)
    assert done.count("charged order 7") == 1, "its result was stored before the next began"
    assert done.count("packed order 7, charged") in (1, 2), "at least once until it is stored"
    assert done.count("shipped order 7, charged, packed") == 1


@thorough
def test_fan_in_does_nothing_again_that_had_ended_when_everything_was_killed(
    started: Start, tmp_path: Path
) -> None:
    """All invoices are generated and uploaded, and the month is closed once."""
    bucket = tmp_path / "invoices.log"
    with started("fan_in.py", session="month") as first:
        first.until(r"(?s)(ended +\w+ +upload +succeeded.*){5}")
        ended = set(re.findall(r"ended +(\w+) +(?:generate|upload) +succeeded", first.text))
        first.signal(signal.SIGKILL)
        first.wait()
    with started("fan_in.py", "resume", session="month") as second:
        second.until(r"ended +\w+ +close_month +succeeded")
        second.signal(signal.SIGINT)
        assert second.wait() == 0
    again = set(re.findall(r"run +(\w+) +(?:generate|upload)", second.text))
    assert len(ended) >= 5
    assert not again & ended
    done = lines(bucket)
    assert {f"generated {customer}" for customer in range(20)} < set(done)
    assert {f"uploaded invoice-{customer}.pdf" for customer in range(20)} < set(done)
    assert done.count("closed with 20 invoices") == 1


@thorough
def test_durable_sleep_is_over_when_it_was_due_though_everything_was_killed(
    started: Start,
) -> None:
    """The reminder comes from another process than the one that slept."""
    with started("durable_sleep.py", "2", session="reminders") as first:
        call = first.until(r"suspended +(\w+) +remind +sleeps until")[1]
        first.signal(signal.SIGKILL)
        first.wait()
    with started("durable_sleep.py", "resume", session="reminders") as second:
        second.until(rf"ended +{call} +remind +succeeded")
        second.signal(signal.SIGINT)
        assert second.wait() == 0
    assert second.text.count("reminder: water the plants") == 1


def test_cat_facts_always_come_and_nobody_waits_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks gets an answer at once, though the service fails and refuses."""
    kept = KeptPort()
    port = kept.number
    monkeypatch.setenv("PORT", str(port))
    home = f"http://localhost:{port}/facts"
    users = ("ada", "alan", "grace")
    options = ["--endpoint", f"127.0.0.1:{port}"]
    with Local(tmp_path, options, [sys.executable, str(EXAMPLES / "cat_facts.py")]) as example:
        example.until("Running on")
        for user in users:
            assert fetched(f"{home}/{user}", b"") == "A fact is on its way.\n"
        example.until(r"(?s)(ended +\w+ +find_out +succeeded.*){3}")
        assert {fetched(f"{home}/{user}") for user in users} == {
            "Cats sleep for two thirds of their lives.\n"
        }
        example.signal(signal.SIGINT)
        assert example.wait() == 0


def test_existing_application_of_fastapi_runs_functions(tmp_path: Path) -> None:
    """Beside the routes that it had."""
    pytest.importorskip("fastapi")
    kept = KeptPort()
    port = kept.number
    command = [sys.executable, "-m", "uvicorn", "--port", str(port), "--app-dir", str(EXAMPLES)]
    options = ["--endpoint", f"127.0.0.1:{port}"]
    with Local(tmp_path, options, [*command, "existing_fastapi:api"]) as example:
        example.until(r"Uvicorn running")
        home = f"http://127.0.0.1:{port}"
        assert json.loads(fetched(f"{home}/")) == "images"
        call = json.loads(fetched(f"{home}/images/cat.png", b""))["id"]
        example.until(rf"ended +{call} +publish +succeeded")
        api, key = example.own_server()
        result = json.loads(fetched(f"{api}/v1/calls/{call}/result", key=key))
        assert result["output"] == [f"cat.png at {width} px" for width in (320, 640, 1280)]
        example.signal(signal.SIGINT)
        assert example.wait() == 0
