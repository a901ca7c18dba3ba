"""`dispatcher messages` and `destinations retry` against the whole API."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.queue.admin.surface import MessageState
from dispatcher.testing.admin import MemoryAdmin, letter, message, message_id
from tests.integration.cli_running import Run, one_line, runner
from tests.integration.cli_serving import Served, served

READY, SCHEDULED, IN_FLIGHT, DELIVERED = (message_id(number) for number in (1, 2, 3, 4))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a command in this process."""
    for name in ("DISPATCHER_KEY", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return runner(capsys, monkeypatch)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """An API with one message in each state and a dead letter."""
    admin = MemoryAdmin()
    admin.put(message(1))
    admin.put(message(2, MessageState.SCHEDULED))
    admin.put(message(3, MessageState.IN_FLIGHT, "b"))
    admin.put(message(4, MessageState.DELIVERED))
    admin.bury(letter(11))
    with served(admin) as found:
        monkeypatch.setenv("DISPATCHER_API", found.url)
        yield found


def test_list_shows_what_waits(api: Served, run: Run) -> None:
    """A line each; filters are those of the API, and a wrong one is its error."""
    said = run("messages", "list")
    assert said.code == 0
    assert "accepted" in said.out
    assert "POST /hooks/2?x=%2F  1         2026-01-01T00:01:02.000Z  http_503" in said.out
    found = run("messages", "list", "--json").lines()
    assert [one["id"] for one in found] == [READY, SCHEDULED, IN_FLIGHT]
    for filters in (
        ("--state", "scheduled"),
        ("--target", "/hooks/2"),
        ("--destination", "https://a.example", "--state", "scheduled"),
    ):
        (one,) = run("messages", "list", "--json", *filters).lines()
        assert one["id"] == SCHEDULED
    assert run("messages", "list", "--label", "none").out.count("\n") == 1
    assert "--older-than" in one_line(run("messages", "list", "--older-than", "soon"), 2)
    assert not run("messages", "list", "--state", "held", "--json").lines()
    for word in ("backs off", "backs-off", "probing"):
        told = one_line(run("messages", "list", "--state", word), 2)
        assert "`dispatcher destinations list`" in told
        assert "ready, scheduled, in_flight or held" in told
    assert "more than 1" in run("messages", "list", "--limit", "1").err


def test_show_has_the_request_and_its_body(api: Served, run: Run) -> None:
    """Secrets are masked; the body alone is as it came."""
    lines = ((b"Host", b"a.example"), (b"Cookie", b"s3cret"))
    api.admin.requests[READY] = (lines, b"one\ntwo \x07")
    said = run("messages", "show", READY)
    assert said.code == 0
    for expected in ("state:", "  Host: a.example", "  Cookie: ***", "  one", "  two \\x07"):
        assert expected in said.out
    assert "s3cret" in run("messages", "show", READY, "--reveal").out
    (document,) = run("messages", "show", READY, "--json").lines()
    assert document["headers"] == [["Host", "a.example"], ["Cookie", "***"]]
    assert run("messages", "body", READY).out == "one\ntwo \x07"
    assert run("messages", "show", READY, "--body").out == "one\ntwo \x07"
    assert "Headers" not in run("messages", "show", DELIVERED).out
    assert "message_delivered" in one_line(run("messages", "body", DELIVERED), 9)
    assert "message_unknown" in one_line(run("messages", "show", message_id(99)), 6)


def test_cancel_asks_and_counts(api: Served, run: Run) -> None:
    """Nothing is done before it is answered; what is in flight is left, and told."""
    said = run("messages", "cancel", "--all", "--dry-run")
    assert said.out.splitlines() == [
        "2 messages would be cancelled. Nothing was changed.",
        "1 was in flight, and left alone.",
    ]
    assert "--yes" in one_line(run("messages", "cancel", "--all"), 2)
    assert READY in api.admin.messages
    said = run("messages", "cancel", "--all", "--yes")
    assert (said.code, said.out.splitlines()[0]) == (0, "2 messages were cancelled.")
    assert set(api.admin.messages) == {IN_FLIGHT, DELIVERED}
    assert "they do not wait" in one_line(run("messages", "cancel", READY, "--yes"), 6)
    assert "--yes" in one_line(run("messages", "cancel", "-", stdin=READY), 2)
    assert "--state" in one_line(run("messages", "cancel"), 2)


def test_cancel_of_named_messages_does_not_ask(api: Served, run: Run) -> None:
    """It is known which; as the older command did, which help names no more."""
    assert run("messages", "cancel", READY).out == "1 message was cancelled.\n"
    assert READY not in api.admin.messages
    listed = run("--help").out
    assert "  messages  " in listed
    assert not re.search(r"^  (message|cancel) ", listed, re.M)
    assert run("cancel", "--help").code == 0


@pytest.mark.parametrize("verb", ["cancel", "retry", "dead-letter", "redirect"])
def test_messages_are_changed_at_a_rate(api: Served, run: Run, verb: str) -> None:
    """So many a second, or in another time; what is no rate is refused first."""
    to = ("--to", "b.example") if verb == "redirect" else ()
    given = ("messages", verb, *to, "--destination", "https://a.example", "--yes")
    assert run(*given, "--rate", "50").code == 0
    assert api.admin.rates == [50]
    assert "--rate: expected" in one_line(run(*given, "--rate", "fast"), 2)
    assert api.admin.rates == [50]


@pytest.mark.parametrize("verb", ["cancel", "retry", "dead-letter"])
def test_a_span_without_a_unit_is_refused(api: Served, run: Run, verb: str) -> None:
    """Whoever means days by `--older-than 30` does not lose what is 30 ms old."""
    before = {id_: message.state for id_, message in api.admin.messages.items()}
    said = run("messages", verb, "--older-than", "30", "--yes")
    assert "--older-than 30: expected a span such as" in one_line(said, 2)
    assert {id_: message.state for id_, message in api.admin.messages.items()} == before


def test_retry_takes_ids_of_a_list(api: Served, run: Run) -> None:
    """As `dead redrive` does; what was due before is told, and what helps there."""
    listed = run("messages", "list", "--json").out
    said = run("messages", "retry", "-", stdin=listed)
    assert said.out.splitlines() == [
        "1 message was retried.",
        "1 was due before: `dispatcher explain ID` says what one waits for, "
        "`dispatcher destinations retry` tries its destination.",
        "1 was in flight, and left alone.",
    ]
    assert api.admin.messages[SCHEDULED].state is MessageState.READY
    (told,) = run("messages", "retry", "--all", "--dry-run", "--json").lines()
    assert told == {"retried": 0, "not_found": [], "dry_run": True, "due": 2, "in_flight": 1}


def test_destination_is_tried_now(api: Served, run: Run) -> None:
    """The sentence says what comes of it, of a hold too."""
    api.admin.backing_off["https://a.example"] = 0
    said = run("destinations", "retry", "https://a.example")
    assert said.code == 0
    assert said.out.startswith("https://a.example: 1 message retried.\nIts breaker is open")
    again = run("destinations", "retry", "https://a.example")
    assert again.out.startswith("https://a.example: What waits for it is sent")  # no "0 messages"
    run("hold", "https://a.example")
    (found,) = run("destinations", "retry", "https://a.example", "--json").lines()
    assert (found["held"], found["waiting"]) == (True, 2)
    assert "destination_invalid" in one_line(run("destinations", "retry", "a b"), 2)


def test_dead_letter_moves_what_waits(api: Served, run: Run) -> None:
    """What is in flight is left and said; nothing is with --dry-run; all are asked for."""
    said = run("messages", "dead-letter", READY, SCHEDULED, IN_FLIGHT, "--dry-run")
    assert said.out.splitlines() == [
        "2 messages would be dead-lettered. Nothing was changed.",
        "1 was in flight, and left alone.",
    ]
    assert READY in api.admin.messages
    assert "--yes" in one_line(run("messages", "dead-letter", "--all"), 2)
    said = run("messages", "dead-letter", "--destination", "https://a.example")
    assert said.out.splitlines() == ["2 messages were dead-lettered."]
    assert {READY, SCHEDULED} <= api.admin.dead.keys()
    assert "they do not wait" in one_line(run("messages", "dead-letter", READY), 6)


def test_redirect_sends_what_waits_elsewhere(api: Served, run: Run) -> None:
    """To a destination that has to be said, and to be one."""
    assert "--to" in run("messages", "redirect", READY).err
    assert "scheme" in one_line(run("messages", "redirect", READY, "--to", "ftp://x"), 2)
    said = run("messages", "redirect", "--state", "scheduled", "--to", "https://new.example")
    assert said.out.splitlines() == ["1 message was redirected."]
    assert api.admin.messages[SCHEDULED].destination == "https://new.example"
    assert api.admin.messages[READY].destination == "https://a.example"
    told = run("messages", "redirect", READY, "--to", "https://new.example", "--json").lines()
    assert told == [{"redirected": 1, "not_found": [], "dry_run": False, "in_flight": 0}]
