"""`--watch`: a command again and again, on a terminal and elsewhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.testing.admin import MemoryAdmin, letter, message
from tests.integration.cli_serving import Served, served
from tests.integration.cli_terminal import ENTERED, INTERRUPT, LEFT, Terminal

STOP = "\x1a"


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """An API with a message and a dead letter."""
    admin = MemoryAdmin()
    admin.put(message(1))
    admin.bury(letter(11))
    with served(admin) as found:
        monkeypatch.setenv("DISPATCHER_API", found.url)
        yield found


def test_watch_draws_anew_until_ctrl_c(api: Served) -> None:
    """What was there before is replaced; Ctrl-C is its usual end, and the screen is as it was."""
    with Terminal("dead", "list", "--watch", "0.1") as terminal:
        terminal.drawn(lambda lines: len(lines) == 4)
        api.tell(lambda: api.admin.bury(letter(12)))
        lines = terminal.drawn(lambda lines: len(lines) == 5)
        assert lines[0].startswith("Every 0.1 s, last at ")
        assert lines[2].split()[:2] == ["id", "died"]
        terminal.press(INTERRUPT)
        assert terminal.wait() == 0
        assert terminal.shown.endswith(LEFT)
        assert "Traceback" not in terminal.shown


def test_watch_follows_the_size_of_the_terminal(api: Served) -> None:
    """At once, though the next look is an hour away."""
    with Terminal("dead", "list", "--watch", "1h", SIZE="120x20") as terminal:
        wide = terminal.drawn(lambda lines: len(lines) == 4)
        terminal.resize(60, 20)
        assert max(map(len, wide)) > 60
        terminal.drawn(lambda lines: max(map(len, lines)) <= 60)
        terminal.press(INTERRUPT)
        assert terminal.wait() == 0


def test_watch_goes_on_when_the_server_is_away() -> None:
    """It says so, on the screen, and asks again."""
    with served(MemoryAdmin()) as api:
        url = api.url
    with Terminal("stats", "--watch", "0.1", DISPATCHER_API=url) as terminal:
        terminal.drawn(lambda lines: any("refused" in line for line in lines))
        terminal.press(INTERRUPT)
        assert terminal.wait() == 0


def test_terminal_is_given_back_on_sigterm(api: Served) -> None:
    """With the exit code that says so."""
    with Terminal("stats", "--watch", "1h") as terminal:
        terminal.drawn(lambda lines: len(lines) > 3)
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.wait() == 128 + signal.SIGTERM
        assert terminal.shown.endswith(LEFT)
        assert "Traceback" not in terminal.shown


def test_terminal_is_given_back_while_it_is_stopped(api: Served) -> None:
    """Ctrl-Z; when the shell lets it go on, it is drawn again."""
    with Terminal.of_shell("stats", "--watch", "1h") as terminal:
        terminal.drawn(lambda lines: len(lines) > 3)
        terminal.press(STOP)
        terminal.until(LEFT)
        terminal.until("stopped")
        terminal.press("\n")
        terminal.drawn(lambda lines: terminal.shown.count(ENTERED) == 2 and len(lines) > 3)
        terminal.press(INTERRUPT)
        assert terminal.wait() == 0
        assert terminal.shown.rstrip().endswith(LEFT)


def test_watch_prints_documents_for_programs(api: Served) -> None:
    """One after the other, each at once."""
    with subprocess.Popen(
        [sys.executable, "-m", "dispatcher", "stats", "--json", "--watch", "0.1"],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for _ in range(3):
            assert json.loads(process.stdout.readline())["dead"] == 1
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


@pytest.mark.parametrize("span", ["0", "2h", "0.01"])
def test_watch_refuses_a_span_that_is_none(api: Served, span: str) -> None:
    """A tenth of a second to an hour."""
    with Terminal("stats", "--watch", span) as terminal:
        assert terminal.wait() == 2
        assert "--watch" in terminal.shown
        assert ENTERED not in terminal.shown
