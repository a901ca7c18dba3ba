"""`dispatcher log verify`, `repair` and `dump`: exit codes, what they say, and that looking changes
nothing."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dispatcher.cli.main import main
from dispatcher.txlog import each
from dispatcher.txlog.files import FileLog, inspect
from dispatcher.txlog.files.disk import RealDisk
from dispatcher.txlog.files.frame import offset_of, segment_of
from dispatcher.txlog.files.scan import Found
from dispatcher.txlog.files.segment import Sizes, name_of

PAYLOADS = [b"\x01first", b"\x02second", b"\x03third", b""]


@pytest.fixture
async def positions(tmp_path: Path) -> list[int]:
    """A closed log with one record a batch; returns their positions."""
    log = FileLog(tmp_path / "log")
    await log.open("test", 1)
    found = [(await log.append([payload]))[0] for payload in PAYLOADS]
    await log.close()
    return found


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    """Run a command; returns its exit code and all it printed."""
    with pytest.raises(SystemExit) as ended:
        main(["log", *map(str, arguments)])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return int(ended.value.code or 0), said.out + said.err


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def damage(path: Path, position: int) -> None:
    """Flip a bit in the frame of a record."""
    file = path / name_of(position >> 32)
    content = bytearray(file.read_bytes())
    content[offset_of(position) + 8] ^= 1
    file.write_bytes(content)


def test_verify_says_that_a_log_is_intact(
    tmp_path: Path, positions: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 0, the number of records, and not a byte is changed."""
    before = contents(tmp_path / "log")
    code, said = run(capsys, "verify", "--path", tmp_path / "log")
    assert code == 0
    assert "intact: 4 records" in said
    assert contents(tmp_path / "log") == before


def test_verify_takes_the_path_from_the_setting(
    tmp_path: Path,
    positions: list[int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """TRANSACTION_LOG names the log that the server would use."""
    monkeypatch.setenv("TRANSACTION_LOG", str(tmp_path / "log"))
    code, said = run(capsys, "verify")
    assert code == 0
    assert str(tmp_path / "log") in said


def test_verify_names_a_torn_tail(
    tmp_path: Path, positions: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    """A torn tail is no damage: exit code 0, with its place."""
    damage(tmp_path / "log", positions[-1])
    code, said = run(capsys, "verify", "--path", tmp_path / "log")
    assert code == 0
    assert "torn tail" in said
    assert f"offset {offset_of(positions[-1])}" in said


def test_verify_names_each_damage(
    tmp_path: Path, positions: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 5, with the file and the offset of every one, and nothing is changed."""
    damage(tmp_path / "log", positions[0])
    damage(tmp_path / "log", positions[2])
    before = contents(tmp_path / "log")
    code, said = run(capsys, "verify", "--path", tmp_path / "log")
    assert code == 5
    for position in (positions[0], positions[2]):
        assert f"{name_of(1)}: damaged at offset {offset_of(position)}" in said
    assert contents(tmp_path / "log") == before


@pytest.fixture
async def large(tmp_path: Path) -> Path:
    """A closed log with 120 records in three segments."""
    log = FileLog(tmp_path / "log")
    await log.open("test", 1)
    for number in range(120):
        await log.append([b"%06d" % number + bytes(60_000)])
    await log.close()
    return tmp_path / "log"


def shorten(log: Path) -> tuple[Path, int]:
    file = log / name_of(2)
    file.write_bytes(file.read_bytes()[:1_000_000])
    return file, 1_000_000


def lose_the_first(log: Path) -> tuple[Path, int]:
    (log / name_of(1)).unlink()
    return log / name_of(1), 0


def lose_the_last(log: Path) -> tuple[Path, int]:
    file = max(log.glob("*.seg"))
    file.unlink()
    return file, 0


def lose_the_span(log: Path) -> tuple[Path, int]:
    (log / "span").unlink()
    return log / "span", 0


@pytest.mark.parametrize(
    ("damage_it", "loss"),
    [
        (shorten, "at most 17 records"),
        (lose_the_first, "an unknown number of records would be lost"),
        (lose_the_last, "an unknown number of records"),
        (lose_the_span, "nothing would be lost by that"),
    ],
)
def test_what_is_missing_is_damage_and_repair_says_what_it_costs(
    large: Path,
    capsys: pytest.CaptureFixture[str],
    damage_it: Callable[[Path], tuple[Path, int]],
    loss: str,
) -> None:
    """Exit code 5 with the file and the offset; the loss is told before anything is changed; and
    after the repair the log is intact."""
    file, offset = damage_it(large)
    before = contents(large)
    code, said = run(capsys, "verify", "--path", large)
    assert code == 5
    assert f"{file}: damaged at offset {offset}" in said
    code, said = run(capsys, "repair", "--path", large)
    assert (code, loss in said) == (0, True)
    assert {**contents(large), "lock": b""} == {**before, "lock": b""}
    assert run(capsys, "repair", "--apply", "--path", large)[0] == 0
    assert run(capsys, "verify", "--path", large)[0] == 0


@pytest.mark.parametrize("command", ["verify", "repair", "dump"])
def test_commands_say_when_there_is_no_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """A wrong path is a wrong setting: exit code 2, and no log is made."""
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "missing", tmp_path / "empty"):
        code, said = run(capsys, command, "--path", path)
        assert code == 2
        assert str(path) in said
    assert contents(tmp_path / "empty") == {}


@pytest.mark.parametrize("command", ["verify", "repair", "dump"])
def test_commands_say_what_to_name_when_it_is_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """A log is a directory, that of the first Dispatcher was a file."""
    (tmp_path / "log").write_bytes(b"")
    code, text = run(capsys, command, "--path", tmp_path / "log")
    assert code == 2
    assert "not a directory; name the one of a log" in text


def test_repair_says_first_what_would_be_lost(
    tmp_path: Path, positions: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --apply nothing is changed; with it the log opens again, and a copy is beside it."""
    damage(tmp_path / "log", positions[1])
    before = contents(tmp_path / "log")
    code, said = run(capsys, "repair", "--path", tmp_path / "log")
    assert code == 0
    assert "at most 1 record, 39 bytes, would be lost" in said
    assert contents(tmp_path / "log") == before

    code, said = run(capsys, "repair", "--apply", "--path", tmp_path / "log")
    assert code == 0
    assert "at most 1 record, 39 bytes, were lost" in said
    after = contents(tmp_path / "log")
    (copy,) = set(after) - set(before)
    assert after[copy] == before[name_of(1)]
    assert run(capsys, "verify", "--path", tmp_path / "log")[0] == 0

    visited: list[tuple[int, bytes]] = []

    async def start() -> None:
        log = FileLog(tmp_path / "log")
        await log.open("test", 1, each(lambda *record: visited.append(record)))
        await log.close()

    asyncio.run(start())
    assert visited == [(p, x) for p, x in zip(positions, PAYLOADS, strict=True) if x != PAYLOADS[1]]


def test_repair_does_nothing_to_an_intact_log(
    tmp_path: Path, positions: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing to repair, nothing changed but the number in the lock file."""
    before = {**contents(tmp_path / "log"), "lock": b""}
    code, said = run(capsys, "repair", "--apply", "--path", tmp_path / "log")
    assert code == 0
    assert "nothing to repair" in said
    assert {**contents(tmp_path / "log"), "lock": b""} == before


@pytest.mark.parametrize("arguments", [["repair"], ["repair", "--apply"]])
def test_repair_is_refused_while_the_log_is_in_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """Exit code 4; looking is allowed."""
    disk = RealDisk()

    async def serve() -> None:
        log = FileLog(tmp_path / "log")
        await log.open("server", 1)
        await log.append([b"\x01"])
        code, said = run(capsys, *arguments, "--path", tmp_path / "log")
        assert code == 4
        assert "in use" in said
        assert isinstance(inspect.verify(tmp_path / "log", disk, Sizes()), Found)
        await log.close()

    asyncio.run(serve())


def test_dump_prints_a_line_for_each_frame(
    tmp_path: Path, positions: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Position, sequence, type, length and durable_upto, and the payload on demand."""
    before = contents(tmp_path / "log")
    code, said = run(capsys, "dump", "--payload", "--path", tmp_path / "log")
    assert code == 0
    lines = said.splitlines()
    assert "seq=1 open" in lines[0]
    assert "owner=test epoch=1" in lines[0]
    assert f"{positions[0]:#014x}  seq=2 data length=6" in lines[2]
    assert f"durable_upto={positions[0]:#x}" in lines[2]
    assert lines[3].strip() == PAYLOADS[0].hex()
    assert "the log ends here" in lines[-1]
    assert contents(tmp_path / "log") == before


def test_dump_works_up_to_the_damage(
    tmp_path: Path, positions: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    """What is before it is shown; exit code 5."""
    damage(tmp_path / "log", positions[1])
    code, said = run(capsys, "dump", "--path", tmp_path / "log")
    assert code == 5
    assert len(said.splitlines()) == 3
    assert f"{positions[1]:#014x}  damaged here" in said.splitlines()[-1]


def test_verify_beside_a_running_server_sees_no_damage(tmp_path: Path) -> None:
    """The end moves on and segments come and go while it reads: none of that is damage."""
    sizes = Sizes(smallest=64 << 10, largest=128 << 10, batch=32 << 10)
    written_in: set[int] = set()  # segments, of which the first are gone

    async def serve() -> None:
        log = FileLog(tmp_path / "log", sizes=sizes)
        await log.open("server", 1)
        looking = asyncio.create_task(asyncio.to_thread(look))
        recent: list[int] = []
        while not looking.done():
            recent += await log.append([bytes(500)] * 10)
            written_in.add(segment_of(recent[-1]))
            if len(recent) > 400:
                await log.trim(recent[200])
                del recent[:200]
        await looking
        await log.close()

    def look() -> None:
        looks, until = 0, time.monotonic() + 60
        while looks < 20 or len(written_in) < 10:
            assert time.monotonic() < until, "the machine is too busy"
            result = inspect.verify(tmp_path / "log", RealDisk(), sizes)
            assert isinstance(result, Found), result
            looks += 1

    asyncio.run(serve())


def test_everything_is_said_in_json_too(
    tmp_path: Path, positions: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    """For programs: one document, and for `dump` one a line, with the exit codes of the text."""
    log = tmp_path / "log"
    code, said = run(capsys, "dump", "--json", "--payload", "--path", log)
    lines = [json.loads(line) for line in said.splitlines()]
    assert code == 0
    shown = [line["payload"] for line in lines if line.get("position") in positions]
    assert shown == [payload.hex() for payload in PAYLOADS]
    damage(log, positions[1])
    code, said = run(capsys, "repair", "--json", "--path", log)
    planned = json.loads(said)
    assert (code, planned["applied"], planned["copies"]) == (0, False, [])
    assert planned["losses"][0]["offset"] == offset_of(positions[1])
    code, said = run(capsys, "dump", "--json", "--path", log)
    assert (code, json.loads(said.splitlines()[-1])["damaged"]) == (5, True)
    code, said = run(capsys, "repair", "--json", "--apply", "--path", log)
    assert (code, json.loads(said)["applied"]) == (0, True)
    assert all(Path(copy).exists() for copy in json.loads(said)["copies"])
    code, said = run(capsys, "repair", "--json", "--path", log)
    assert json.loads(said)["losses"] == []
