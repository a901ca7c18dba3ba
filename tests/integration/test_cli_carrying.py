"""`dispatcher export` and `import` against the whole API: files, line numbers, being stopped."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dispatcher.cli.main import main
from dispatcher.testing.admin import MemoryAdmin
from tests.integration.cli_serving import Canned, Served, answer, served

GOOD = json.dumps({"destination": "a", "method": "POST", "target": "/"}).encode()
ROWS = b"{}\n" * 20_000


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Served]:
    """An API that takes what it is sent."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISPATCHER_KEY", raising=False)
    with served(MemoryAdmin()) as made:
        monkeypatch.setenv("DISPATCHER_API", made.url)
        yield made


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Run a command; returns its exit code and what it printed."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return int(ended.value.code or 0), said.out + said.err


def exported(capsys: pytest.CaptureFixture[str], file: Path | str) -> tuple[int, str]:
    """Run an export of 20 000 lines."""
    with Canned([answer(200, ROWS.decode())]) as server:
        return run(capsys, "export", str(file), "--url", server.url)


def test_export_to_a_full_disk_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """The server is not to blame, nor is it asked after."""
    code, said = exported(capsys, "/dev/full")
    assert code == 1
    assert said == "dispatcher: error: /dev/full: No space left on device\n"


def test_export_tells_of_lines_that_are_not_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are no messages that were exported."""
    rows = '{"id": "1", "incomplete": true}\n{"id": "2"}\n{"id": "3", "incomplete": true}\n'
    with Canned([answer(200, rows)] * 2) as server:
        where = ("export", str(tmp_path / "out"), "--url", server.url)
        code, said = run(capsys, *where)
        assert code == 0
        assert said.startswith("1 message exported.\n2 lines with `incomplete`")
        _, said = run(capsys, *where, "--json", "--force")
        assert said.startswith('{"exported": 1, "incomplete": 2}\n')


def test_import_that_stops_says_where_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the line after the last one whose outcome is known, also at the very end."""
    (tmp_path / "in").write_bytes(b"\n" + (GOOD + b"\n") * 3)
    for stopped_at, line in ((1, 2), (2, 3), (4, 5)):
        told = {
            "imported": stopped_at - 1, "refused": [], "refused_count": 0,
            "stopped_at": stopped_at, "error": "disk_full", "message": "Full.",
        }  # fmt: skip
        with Canned([answer(200, json.dumps(told))]) as server:
            code, said = run(capsys, "import", str(tmp_path / "in"), "--url", server.url)
        assert code != 0
        assert f"Imported so far: {stopped_at - 1}. Go on with --from-line {line}." in said


def test_export_is_for_its_owner_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bodies and headers are secret, whatever the umask says; and nothing else is left."""
    before = os.umask(0)
    try:
        assert exported(capsys, tmp_path / "out") == (0, "20000 messages exported.\n")
    finally:
        os.umask(before)
    assert (tmp_path / "out").read_bytes() == ROWS
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["out"]


def test_export_writes_into_what_is_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A device stays one, and a link leads where it led."""
    os.symlink("/dev/null", tmp_path / "null")
    os.symlink(tmp_path / "out", tmp_path / "link")
    for name in ("null", "link"):
        assert exported(capsys, tmp_path / name)[0] == 0
        assert (tmp_path / name).is_symlink()
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert (tmp_path / "out").read_bytes() == ROWS
    reader, writer = os.pipe()  # as a shell names it: `export >(gzip > FILE)`
    assert exported(capsys, Path(f"/dev/fd/{writer}"))[0] == 0
    os.close(writer)
    with open(reader, "rb") as came:
        assert came.read() == ROWS


def test_export_replaces_a_file_only_when_it_is_told_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be the only copy of the last export; the server is not asked."""
    (tmp_path / "out").write_text("the last one")
    with Canned([]) as server:
        code, said = run(capsys, "export", str(tmp_path / "out"), "--url", server.url)
    assert code == 2
    assert "--force replaces it" in said
    assert (tmp_path / "out").read_text() == "the last one"
    with Canned([answer(200, ROWS.decode())]) as server:
        assert run(capsys, "export", str(tmp_path / "out"), "--force", "--url", server.url)[0] == 0
    assert (tmp_path / "out").read_bytes() == ROWS


def test_export_that_breaks_off_leaves_what_was_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half an export is none."""
    (tmp_path / "out").write_text("the last one")
    with Canned([answer(200, ROWS.decode())[:-5]]) as server:
        code, _ = run(capsys, "export", str(tmp_path / "out"), "--force", "--url", server.url)
    assert code == 7
    assert (tmp_path / "out").read_text() == "the last one"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("start", [b"", b"\n", b"\r\n", b"  \n", b"\n\n"])
def test_file_keeps_its_numbers_when_it_begins_with_empty_lines(
    api: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str], start: bytes
) -> None:
    """The line that is named is the one that is wrong, and from there it goes on."""
    (tmp_path / "in").write_bytes(start + GOOD + b"\n{}\n")
    code, said = run(capsys, "import", "in")
    assert code == 1
    assert "1 message imported" in said
    assert f"Line {start.count(bytes([10])) + 2} is not imported" in said


def test_import_leaves_out_what_comes_before_the_line(
    api: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong there is not told again."""
    (tmp_path / "in").write_bytes(b"{}\n" + GOOD + b"\n")
    assert run(capsys, "import", "in", "--from-line", "2") == (0, "1 message imported.\n")


def test_import_of_a_directory_says_what_to_do(
    api: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A log of this version is one, and of the same name as the file of the first Dispatcher."""
    (tmp_path / "transaction.log").mkdir()
    code, said = run(capsys, "import", "transaction.log")
    assert code == 1
    assert "transaction.log: a directory; expected a file" in said
    assert "`dispatcher export`" in said


def test_import_says_what_nobody_knows_when_no_answer_comes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is imported again may be there twice; what was refused as a whole is not."""
    (tmp_path / "in").write_bytes((GOOD + b"\n") * 3)
    refused = json.dumps({"error": "import_under_way", "message": "Another one."})
    for answers, code, is_unknown in (([], 7, True), ([answer(409, refused)], 9, False)):
        with Canned(answers) as server:
            ended, said = run(capsys, "import", str(tmp_path / "in"), "--url", server.url)
        assert ended == code
        assert "Imported so far: 0. Go on with --from-line 1." in said
        assert ("Some lines up to 3 may be imported already" in said) == is_unknown


def test_import_is_sure_that_nothing_is_imported_when_nobody_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A connection that is refused carries nothing."""
    (tmp_path / "in").write_bytes(GOOD + b"\n")
    with Canned([]) as server:
        gone = server.url
    ended, said = run(capsys, "import", str(tmp_path / "in"), "--url", gone)
    assert ended == 7
    assert "Imported so far: 0. Go on with --from-line 1." in said
    assert "may be imported already" not in said


@pytest.mark.parametrize("state", [(), ("--state", "waiting")])
def test_export_says_which_option_a_filter_of_dead_letters_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], state: tuple[str, ...]
) -> None:
    """In the words of the command line; and no file is left."""
    target = tmp_path / "out"
    ended, said = run(capsys, "export", str(target), "--status", "404", *state)
    assert ended == 2
    assert "add --state dead" in said
    assert not target.exists()


def test_import_says_how_to_go_on_when_it_is_interrupted(
    api: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the server refuses."""

    class Typed(io.RawIOBase):
        """1001 lines, and then Ctrl-C."""

        rest = (GOOD + b"\n") * 1001

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            if not self.rest:
                raise KeyboardInterrupt
            size = min(len(buffer), len(self.rest))
            buffer[:size], self.rest = self.rest[:size], self.rest[size:]
            return size

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Typed())))
    code, said = run(capsys, "import", "-")
    assert code == 130
    assert said == "Imported so far: 1000. Go on with --from-line 1001.\n"
