"""`dispatcher dead redrive` of one letter that is changed, against the whole API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.cli.editing import edited, sent
from dispatcher.cli.errors import BadUsage
from dispatcher.testing.admin import MemoryAdmin, letter, message_id
from tests.integration.cli_running import Run, one_line, runner
from tests.integration.cli_serving import Served, served

ID, OTHER = message_id(11), message_id(12)
SHOWN = [["A", "1"], ["b", "2"], ["a", "3"], ["Cookie", "***"]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a command in this process."""
    for name in ("DISPATCHER_KEY", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return runner(capsys, monkeypatch)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """An API with two dead letters."""
    admin = MemoryAdmin()
    admin.bury(letter(11))
    admin.bury(letter(12))
    with served(admin) as found:
        monkeypatch.setenv("DISPATCHER_API", found.url)
        yield found


@pytest.mark.parametrize(
    ("given", "removed", "found"),
    [
        ([], [], SHOWN),
        (["B: x"], [], [["A", "1"], ["B", "x"], ["a", "3"], ["Cookie", "***"]]),
        (["A:x", "a:  y "], [], [["A", "x"], ["a", "y"], ["b", "2"], ["Cookie", "***"]]),
        (["New: "], ["A"], [["b", "2"], ["Cookie", "***"], ["New", ""]]),
        (["b: again"], ["B"], [["A", "1"], ["a", "3"], ["Cookie", "***"], ["b", "again"]]),
    ],
)
def test_headers_stand_where_those_of_their_name_did(
    given: list[str], removed: list[str], found: list[list[str]]
) -> None:
    """And at the end where there were none."""
    assert edited(SHOWN, given, removed) == found


@pytest.mark.parametrize(
    ("given", "removed", "what"),
    [(["nothing"], [], "Name: value"), ([": x"], [], "Name: value"), ([], ["None"], "no such")],
)
def test_what_is_no_header_is_refused(given: list[str], removed: list[str], what: str) -> None:
    """With what is expected."""
    with pytest.raises(BadUsage, match=what):
        edited(SHOWN, given, removed)


def test_letter_is_redriven_changed(api: Served, run: Run, tmp_path: Path) -> None:
    """Destination, headers and body; the others stay."""
    (tmp_path / "new").write_bytes(b"new \xff")
    said = run(
        *("dead", "redrive", ID, "--to", "https://new.example", "--body-file", "new"),
        *("--header", "X-Version: 2", "--remove-header", "x-name"),
    )
    assert said.out == f"{ID} was redriven, with destination, headers and body changed.\n"
    (edit,) = api.admin.edits
    assert str(edit.destination) == "https://new.example"
    assert edit.lines == b"Content-Type: application/json\r\nX-Version: 2\r\n"
    assert edit.body == [b"new \xff"]
    assert OTHER in api.admin.dead
    assert "no dead letter" in one_line(run("dead", "redrive", ID, "--to", "https://b"), 6)


def test_dry_run_shows_it_and_changes_nothing(api: Served, run: Run) -> None:
    """The headers that would be sent, and where to: `Host` is that of the new destination."""
    said = run("dead", "redrive", ID, "--to", "https://n", "--header", "A: b", "--dry-run")
    assert said.out.splitlines() == [
        f"{ID} would be redriven, with destination and headers changed.",
        "Destination: https://n",
        "Request: POST /hooks/11?x=%2F",
        "  Host: n",
        "  Content-Type: application/json",
        "  X-Name: Jürgen",
        "  A: b",
        "Nothing was changed.",
    ]
    assert not api.admin.edits
    (told,) = run("dead", "redrive", ID, "--to", "HTTPS://N:443", "--dry-run", "--json").lines()
    headers = [["Host", "n"], ["Content-Type", "application/json"], ["X-Name", "Jürgen"]]
    assert told == {"id": ID, "dry_run": True, "destination": "https://n", "headers": headers}
    assert "expected [http" in one_line(run("dead", "redrive", ID, "--to", "n/a", "--dry-run"), 2)


@pytest.mark.parametrize(
    ("shown", "size_bytes", "found"),
    [
        (
            [["A", "1"], ["host", "old"], ["B", "2"]],
            None,
            [["A", "1"], ["host", "n:8"], ["B", "2"]],
        ),
        ([["A", "1"]], None, [["Host", "n:8"], ["A", "1"]]),
        ([["Host", "old"], ["Content-length", "5"]], 7, [["Host", "n:8"], ["Content-length", "7"]]),
        (
            [["Host", "old"], ["Content-Length", "5"]],
            None,
            [["Host", "n:8"], ["Content-Length", "5"]],
        ),
    ],
)
def test_headers_that_are_made_are_shown_as_they_are_sent(
    shown: list[list[str]], size_bytes: int | None, found: list[list[str]]
) -> None:
    """`Host` for the destination and `Content-Length` for the body, each at its place."""
    assert sent(shown, "http://n:8", size_bytes) == found


@pytest.mark.parametrize(
    "words",
    [
        ("--all",),
        (ID, OTHER),
        ("--status", "503"),
        (ID, "--rate", "5"),
        ("-",),
    ],
)
def test_change_is_of_one_letter(api: Served, run: Run, words: tuple[str, ...]) -> None:
    """Nobody changes many by mistake."""
    assert "give one id" in one_line(run("dead", "redrive", *words, "--to", "https://n"), 2)
    assert "expected a file" in one_line(run("dead", "redrive", ID, "--body-file", "none"), 2)
    assert not api.admin.edits
