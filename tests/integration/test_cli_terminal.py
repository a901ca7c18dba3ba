"""Commands on a terminal: questions, colours, live views, and keys."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from dispatcher.queue.admin.surface import MessageState
from dispatcher.testing.admin import Lately, MemoryAdmin, letter, message, message_id
from tests.integration.cli_serving import Canned, Served, answer, heard, served
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


def test_list_of_messages_says_in_eighty_columns_what_each_waits_for(api: Served) -> None:
    """The id whole, how it stands in the words of destinations, and what went wrong there."""
    api.admin.put(message(3, to="orders.example-company"))
    api.admin.put(message(4, to="c"))
    place = "https://orders.example-company.example"
    api.admin.backing_off[place] = 1
    api.admin.courses[place] = Lately("connection_failed", 1, 1)
    api.admin.held.add("https://c.example")
    with Terminal("messages", "list", SIZE="80x24", NO_COLOR="1") as terminal:
        assert terminal.wait() == 0
        titles, *rows = (line.rstrip() for line in terminal.shown.splitlines())
    assert titles.split() == ["id", "age", "state", "destination", "last", "error"]
    assert all(len(row) <= 80 for row in rows)
    stands = {row.split()[0]: re.split("  +", row)[2:] for row in rows}
    assert stands[message_id(1)] == ["ready", "…a.example", "-"]
    assert stands[message_id(2)][::2] == ["scheduled", "http_503"]
    assert stands[message_id(3)][::2] == ["backs off", "connection_failed"]
    assert stands[message_id(4)][::2] == ["held", "-"]


@pytest.mark.parametrize(
    ("options", "said"),
    [((), "Nothing waits, and nothing is held."), (("--state", "held"), "No such destinations.")],
)
def test_list_of_no_destinations_says_what_that_means(
    monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], said: str
) -> None:
    """That all is quiet, or that the filter leaves none."""
    with served(MemoryAdmin()) as quiet:
        monkeypatch.setenv("DISPATCHER_API", quiet.url)
        with Terminal("destinations", "list", *options) as terminal:
            assert terminal.wait() == 0
            assert said in terminal.shown


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


def test_progress_is_shown_when_it_takes_long(api: Served) -> None:
    """A bar, on a terminal only."""
    for number in range(100, 2100):
        api.admin.bury(letter(number))
    with Terminal("dead", "redrive", "--all", "--yes", "--rate", "1500") as terminal:
        assert terminal.wait() == 0
        assert "/2002" in terminal.shown
        assert "2002 dead letters were redriven." in terminal.shown


def test_ctrl_c_leaves_the_job_to_the_server(api: Served) -> None:
    """The person is told how to end it, and can see it, hurry it and end it."""
    for number in range(100, 200):
        api.admin.bury(letter(number))
    with Terminal("dead", "redrive", "--all", "--yes", "--rate", "1") as terminal:
        terminal.until("/102")
        terminal.press(INTERRUPT)
        assert terminal.wait() == 130
        assert "goes on" in terminal.shown
        (job_id,) = set(re.findall(r"jobs watch ([0-9a-f]{8})", terminal.shown))
    for words, said in (
        (("list",), "running"),
        (("show", job_id), "all=yes rate=1"),
        (("rate", job_id, "2/1h"), "at most 2/h"),
        (("cancel", job_id), "cancelled"),
        (("show", job_id), "cancelled"),
    ):
        with Terminal("jobs", *words) as terminal:
            assert terminal.wait() == 0
            assert said in terminal.shown
    with Terminal("jobs", "watch", job_id) as terminal:
        assert terminal.wait() == 1
    assert 0 < len(api.admin.messages) - 2 < 102


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


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize(
    "command", [("dead", "list"), ("dead", "groups"), ("stats",)], ids=lambda words: words[-1]
)
def test_no_line_of_a_table_is_folded(api: Served, command: tuple[str, ...], columns: int) -> None:
    """However long a host is: it is cut in its middle; times are ages."""
    api.admin.bury(letter(20, to="webhooks.a-customer-with-a-very-long-name-17"))
    with Terminal(*command, COLUMNS=str(columns), NO_COLOR="1") as terminal:
        assert terminal.wait() == 0
        shown = terminal.shown
    assert "…" in shown or command == ("stats",)
    assert max(map(len, shown.splitlines())) <= columns
    assert "T00:" not in shown


def test_wide_table_is_whole_on_a_terminal(api: Served) -> None:
    """With exact times and every column, however narrow the terminal is."""
    with Terminal("dead", "list", "--wide", COLUMNS="40", NO_COLOR="1") as terminal:
        assert terminal.wait() == 0
        titles, row, _ = terminal.shown.splitlines()
    assert titles.split("  ")[-1] == "label"
    assert re.search(r"[0-9]Z  https://a\.example  ", row)


def test_empty_list_says_so_to_a_person(api: Served) -> None:
    """Rather than to show titles with nothing under them."""
    with Terminal("dead", "list", "--status", "599") as terminal:
        assert terminal.wait() == 0
        assert terminal.shown.strip() == "No dead letters."


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


def test_escape_sequences_in_a_response_are_not_obeyed() -> None:
    """`send` prints what the destination answered; on a terminal, as what it is."""
    lines = [f"X-Dispatcher-Message-Id: {message_id(1)}", "X-Dispatcher-Outcome: delivered"]
    with (
        Canned([answer(200, "\x1b]0;owned\x07", *lines)]) as server,
        Terminal("send", "h", "--response-within", "9s", "--listener", server.url) as terminal,
    ):
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
