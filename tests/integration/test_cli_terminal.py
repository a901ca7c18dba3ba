"""Commands on a terminal: questions, colours, live views, and keys."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import pytest

from dispatcher.queue.admin.surface import MessageState
from dispatcher.testing.admin import MemoryAdmin, letter, message, message_id
from tests.integration.cli_serving import Served, heard, served

SECONDS = 20.0
INTERRUPT = "\x03"


class Terminal:
    """A command on a pseudo-terminal of its own, 120 columns wide. `shown` is all it wrote."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.shown = ""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        root = str(Path(__file__).parents[2])
        kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dispatcher", *arguments],
            env=kept | {"PYTHONPATH": root, "TERM": "xterm-256color"} | environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            # So that Ctrl-C interrupts the command, as a person's does.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)

    def until(self, text: str) -> None:
        """Wait until it has written this after what was waited for before."""
        deadline = time.monotonic() + SECONDS
        while text not in self.shown:
            assert self._read(deadline), self.shown

    def press(self, keys: str) -> None:
        """Press keys."""
        os.write(self._master, keys.encode())

    def wait(self) -> int:
        """Wait for its end. Returns its exit code."""
        deadline = time.monotonic() + SECONDS
        while self._read(deadline):
            pass
        return self.process.wait(SECONDS)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def _read(self, deadline: float) -> bool:
        if not select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        try:
            read = os.read(self._master, 65536)
        except OSError:  # Linux says so when the last one closes the other side
            return False
        self.shown += read.decode("utf-8", "replace")
        return bool(read)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """An API with some messages and two dead letters."""
    admin = MemoryAdmin()
    admin.put(message(1))
    admin.put(message(2, MessageState.SCHEDULED, "b"))
    admin.bury(letter(11))
    admin.bury(letter(12, status=404, reason="rejected"))
    with served(admin) as found:
        monkeypatch.setenv("DISPATCHER_API", found.url)
        yield found


@pytest.mark.parametrize(("key", "code", "left"), [("y", 0, 0), ("n", 1, 2), ("", 1, 2)])
def test_purge_asks_first(api: Served, key: str, code: int, left: int) -> None:
    """Only a yes is one."""
    with Terminal("dead", "purge", "--all") as terminal:
        terminal.until("Purge 2 dead letters for good? [y/N] ")
        assert len(api.admin.dead) == 2
        terminal.press(f"{key}\n")
        assert terminal.wait() == code
        assert len(api.admin.dead) == left
        assert "Traceback" not in terminal.shown


def test_ctrl_c_ends_a_question_with_130(api: Served) -> None:
    """Quietly, and nothing is changed."""
    with Terminal("dead", "redrive", "--all") as terminal:
        terminal.until("[y/N] ")
        terminal.press(INTERRUPT)
        assert terminal.wait() == 130
        assert "Traceback" not in terminal.shown
        assert "Abort" not in terminal.shown
        assert len(api.admin.dead) == 2


def test_redrive_does_not_ask_about_ids(api: Served) -> None:
    """They were named one by one."""
    with Terminal("dead", "redrive", message_id(11)) as terminal:
        assert terminal.wait() == 0
        assert "[y/N]" not in terminal.shown


def test_progress_is_shown_when_it_takes_several_batches(api: Served) -> None:
    """A bar, on a terminal only."""
    for number in range(100, 2100):
        api.admin.bury(letter(number))
    with Terminal("dead", "purge", "--all", "--yes") as terminal:
        assert terminal.wait() == 0
        assert "/2002" in terminal.shown
        assert "2002 dead letters were purged." in terminal.shown


def test_tables_have_colours_on_a_terminal_only_when_wanted(api: Served) -> None:
    """NO_COLOR and a terminal that can't are respected."""
    command = ("message", message_id(2))
    with Terminal(*command) as terminal:
        assert terminal.wait() == 0
        assert "\x1b[33mscheduled" in terminal.shown
    for unwanted in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        with Terminal(*command, **unwanted) as terminal:
            assert terminal.wait() == 0
            assert "scheduled" in terminal.shown
            assert "\x1b" not in terminal.shown


def test_ids_are_never_cut_when_the_terminal_is_narrow(api: Served) -> None:
    """They are there to be copied."""
    with Terminal("dead", "list", COLUMNS="60") as terminal:
        assert terminal.wait() == 0
        assert message_id(11) in terminal.shown


def test_escape_sequences_of_others_are_not_obeyed(api: Served) -> None:
    """What a destination answered is shown, not done."""
    api.admin.bury(letter(20, body=b"\x1b]0;owned\x07"))
    with Terminal("dead", "show", message_id(20)) as terminal:
        assert terminal.wait() == 0
        assert "\\x1b]0;owned\\x07" in terminal.shown
        assert "\x1b]" not in terminal.shown


@pytest.mark.parametrize(
    ("key", "command"), [("q", "top"), (INTERRUPT, "top"), (INTERRUPT, "tail")]
)
def test_live_views_end_with_0(api: Served, key: str, command: str) -> None:
    """By q and Ctrl-C; the terminal is as it was."""
    with Terminal(command) as terminal:
        if command == "top":
            terminal.until("https://b.example")
        else:
            _tell(api)
            terminal.until("delivered")
        terminal.press(key)
        assert terminal.wait() == 0
        assert "Traceback" not in terminal.shown
        if command == "top":
            assert "\x1b[?1049l" in terminal.shown  # the screen from before is back


def test_top_follows_what_changes(api: Served) -> None:
    """At every interval."""
    with Terminal("top", "--interval", "0.1") as terminal:
        terminal.until("https://a.example")
        api.tell(lambda: api.admin.put(message(7, to="new")))
        terminal.until("https://new.example")
        text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.shown)
        assert "in flight 0" in text
        terminal.press("q")
        assert terminal.wait() == 0


def _tell(api: Served) -> None:
    """Say that something was delivered, as soon as somebody listens."""
    heard(api)
    fields = {"attempt": 1, "status": 200, "duration_ms": 3}
    api.tell(lambda: api.admin.emit("delivered", message_id(5), "https://a.example", **fields))
