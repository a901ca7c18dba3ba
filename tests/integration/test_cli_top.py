"""`dispatcher top --json`: the figures for programs, line by line, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dispatcher.cli.address import Server
from dispatcher.cli.client import Api
from dispatcher.cli.errors import CommandError
from dispatcher.cli.top.asking import page_of
from dispatcher.cli.top.state import Opened
from dispatcher.testing.admin import MemoryAdmin, letter, message
from tests.integration.cli_serving import Canned, Served, answer, served

SECONDS = 60.0


@pytest.fixture
def api() -> Iterator[Served]:
    """An API with a message and a dead letter."""
    admin = MemoryAdmin()
    admin.put(message(1))
    admin.bury(letter(11))
    with served(admin) as found:
        yield found


@contextmanager
def top(url: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run it, with pipes instead of a terminal; killed when it does not end by itself."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dispatcher", "top", "--json", *arguments],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "DISPATCHER_API": url},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(SECONDS, process.kill)
    watchdog.start()
    try:
        yield process
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()


def next_line(process: subprocess.Popen[str]) -> Any:
    """The next document that it prints."""
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def errors(process: subprocess.Popen[str]) -> str:
    """All it says on standard error, when it has ended."""
    assert process.stderr is not None
    return process.stderr.read()


def test_top_prints_the_figures_at_every_interval_until_it_is_interrupted(api: Served) -> None:
    """Each line at once, although nobody sits at a terminal; Ctrl-C is its usual end."""
    with top(api.url, "--interval", "0.1") as process:
        first = next_line(process)
        assert (first["accepted_total"], first["dead"]) == (1, 1)
        (lane,) = first["lanes"]
        assert (lane["destination"], lane["breaker"]) == ("https://a.example", "closed")
        api.tell(lambda: api.admin.put(message(2, to="b")))
        while (seen := next_line(process))["accepted_total"] == 1:
            assert seen == first
        assert [lane["destination"] for lane in seen["lanes"]] == [
            "https://a.example",
            "https://b.example",
        ]
        process.send_signal(signal.SIGINT)
        assert (process.wait(SECONDS), errors(process)) == (0, "")


def test_top_waits_between_two_looks(api: Served) -> None:
    """As long as it was told to."""
    began = time.monotonic()
    with top(api.url, "--interval", "0.7") as process:
        for _ in range(4):
            next_line(process)
        assert time.monotonic() - began >= 3 * 0.7


def test_top_ends_quietly_when_its_reader_is_gone(api: Served) -> None:
    """As in `dispatcher top --json | head -1`."""
    with top(api.url, "--interval", "0.1") as process:
        next_line(process)
        assert process.stdout is not None
        process.stdout.close()
        assert (process.wait(SECONDS), errors(process)) == (0, "")


def test_top_exits_7_when_the_api_is_gone() -> None:
    """A program that reads it must not take silence for an idle server."""
    with (
        Canned([answer(200, '{"dead": 1}', "Content-Type: application/json")]) as server,
        top(server.url, "--interval", "0.1") as process,
    ):
        assert next_line(process) == {"dead": 1}
        assert process.wait(SECONDS) == 7
        said = errors(process)
    assert said.startswith("dispatcher: error: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("interval", ["0", "-1", "3601", "soon"])
def test_top_exits_2_when_the_interval_is_wrong(api: Served, interval: str) -> None:
    """A tenth of a second to an hour."""
    with top(api.url, f"--interval={interval}") as process:
        assert process.wait(SECONDS) == 2
        assert "--interval" in errors(process)


def test_answer_without_items_is_told_in_a_sentence() -> None:
    """Whoever answers is no dispatcher: no traceback of a thread."""
    reply = answer(200, json.dumps({"nothing": True}))
    with Canned([reply]) as server:
        find = page_of(Opened("https://a.example", "message", [], []))
        with pytest.raises(CommandError, match=r"/v1/messages: expected a list, with `items`"):
            find(Api(Server.parse(server.url, "--url"), None))
