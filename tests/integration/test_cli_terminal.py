"""Commands on a terminal: questions, colours, live views, and keys."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from dispatcher.queue.admin.surface import MessageState
from dispatcher.testing.admin import MemoryAdmin, letter, message, message_id
from tests.integration.cli_serving import Served, heard, served
from tests.integration.cli_terminal import INTERRUPT, Terminal


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
