"""`dispatcher top` beside a real server, driven by keys on a terminal of 80 by 24."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.testing.destination import answer
from tests.acceptance.receiver import Receiver, eventually
from tests.acceptance.running import accept, dead, quick, run
from tests.acceptance.served import ServerProcess
from tests.integration.cli_terminal import ENTERED, INTERRUPT, LEFT, Terminal

ENTER, ESCAPE, DOWN = "\r", "\x1b", "\x1b[B"


@pytest.fixture
def down(tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A destination whose breaker is open, with messages waiting and a dead letter."""
    with ServerProcess(tmp_path, **quick(RETRY_DELAY="50", RETRY_MAX_DELAY="1h")) as server:
        monkeypatch.setenv("DISPATCHER_API", "http://{}:{}".format(*server.api))
        receiver.script(answer(404))
        dead(server, accept(server, receiver).id)
        receiver.script(*[answer(503)] * 1000)
        for _ in range(15):
            accept(server, receiver)
        eventually(lambda: "backs off" in run(tmp_path, "stats").stdout)
        yield receiver


def seen(lines: list[str], *words: str) -> bool:
    """Whether one line has all of the words."""
    return any(all(word in line for word in words) for line in lines)


def test_top_shows_lanes_opens_them_and_acts_on_them(down: Receiver) -> None:
    """What waits, why, and its letters; hold asks, and each says what came of it."""
    name = down.authority
    with Terminal("top", "--interval", "0.1", SIZE="80x24") as top:
        top.drawn(lambda lines: seen(lines, name, "backs off", "http_503"))
        screen = top.drawn(lambda lines: seen(lines, "has been failing"))
        assert len(screen) == 24
        assert max(map(len, screen)) <= 80
        assert seen(screen, "dead letters 1")

        top.press(ENTER)
        lane = top.drawn(lambda lines: seen(lines, "15 messages waiting, 1 message dead"))
        assert seen(lane, "> ", "POST")
        top.press(ENTER)
        top.drawn(
            lambda lines: seen(lines, "nothing is sent there") and seen(lines, "breaker_open")
        )
        top.press(ESCAPE)
        top.drawn(lambda lines: seen(lines, "15 messages waiting"))
        top.press("G")
        top.drawn(lambda lines: seen(lines, "> ", "dead", "http_404"))
        top.press(ENTER)
        top.drawn(lambda lines: seen(lines, "attempt 1: http_404"))
        top.press(ESCAPE)
        top.drawn(lambda lines: seen(lines, "15 messages waiting"))
        top.press(ESCAPE)
        top.drawn(lambda lines: seen(lines, "sorted by waiting"))

        top.press("h")
        top.drawn(lambda lines: seen(lines, f"Hold http://{name}?", "y/n"))
        top.press("n")
        top.drawn(lambda lines: seen(lines, "Nothing was done."))
        top.press("hy")
        top.drawn(lambda lines: seen(lines, f"http://{name} is held"))
        top.drawn(lambda lines: seen(lines, name, "held", "15"))
        top.press("r")
        top.drawn(lambda lines: seen(lines, f"http://{name} is no longer held"))

        before = len(down.requests)
        top.press("t")
        top.drawn(lambda lines: seen(lines[-1:], "one message is sent as a probe"))
        down.received(before + 1)
        top.press("q")
        assert top.wait() == 0
        assert top.shown.endswith(LEFT)
        assert "Traceback" not in top.shown
        assert top.modes_now == top.modes


def test_top_filters_sorts_and_helps(down: Receiver) -> None:
    """What is typed after / is a filter; ? shows the keys, in any size."""
    with Terminal("top", "--interval", "0.1", SIZE="80x24") as top:
        top.drawn(lambda lines: seen(lines, "1 destination, sorted by waiting"))
        top.press("/nothing")
        top.drawn(lambda lines: seen(lines, "/nothing") and seen(lines, "0 destinations"))
        top.press(ENTER + ESCAPE)
        top.drawn(lambda lines: seen(lines, down.authority))
        top.press("s")
        top.drawn(lambda lines: seen(lines, "1 destination, sorted by state"))
        top.press("?")
        top.drawn(lambda lines: seen(lines, "retry now: the destination"))
        top.resize(44, 16)
        small = top.drawn(lambda lines: len(lines) == 16)
        assert max(map(len, small)) <= 44
        top.press("xq")
        assert top.wait() == 0


def test_top_gives_the_terminal_back_however_it_ends(down: Receiver) -> None:
    """On SIGTERM and Ctrl-C, and while it is stopped by Ctrl-Z."""
    with Terminal("top", SIZE="80x24") as top:
        top.drawn(lambda lines: len(lines) == 24)
        top.process.send_signal(signal.SIGTERM)
        assert top.wait() == 128 + signal.SIGTERM
        assert top.shown.endswith(LEFT)
        assert top.modes_now == top.modes
    with Terminal.of_shell("top", SIZE="80x24") as top:
        top.drawn(lambda lines: len(lines) == 24)
        top.press("\x1a")
        top.until("stopped")
        assert top.shown.count(LEFT) == 1
        top.press("\n")
        top.drawn(lambda lines: top.shown.count(ENTERED) == 2 and len(lines) == 24)
        top.press(INTERRUPT)
        assert top.wait() == 0
        assert top.shown.count(LEFT) == 2


def test_top_says_that_the_server_is_gone_and_goes_on(tmp_path: Path) -> None:
    """When it is there again, it is seen again: who watches a restart need not begin anew."""
    with ServerProcess(tmp_path, **quick()) as server:
        where = "http://{}:{}".format(*server.api)
        with Terminal("top", "--interval", "0.1", DISPATCHER_API=where, SIZE="80x24") as top:
            top.drawn(lambda lines: seen(lines, "No destinations"))
            assert server.stop() == 0
            top.drawn(lambda lines: seen(lines, "Connection refused"))
            with ServerProcess(tmp_path, **quick(API_LISTEN=where.removeprefix("http://"))):
                top.drawn(lambda lines: not seen(lines, "Connection refused"))
                top.press("q")
                assert top.wait() == 0
