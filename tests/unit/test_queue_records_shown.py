"""What `dispatcher log dump` says of records."""

from __future__ import annotations

import asyncio
from array import array
from pathlib import Path

import pytest

from dispatcher.cli.main import main
from dispatcher.queue.records.settled import encode_settled
from dispatcher.queue.records.shown import Shown, as_text, show_record
from dispatcher.txlog.files import FileLog
from tests.golden.queue_life import load


def shown(version: int, log: str) -> list[Shown]:
    """All records of a golden log."""
    return [show_record(position, bytes.fromhex(data)) for position, data in load(version)[log]]


@pytest.mark.parametrize("version", [1, 2, 4, 6])
def test_record_of_every_kind_says_what_it_is_about(version: int) -> None:
    """Its kind in words, and its ids (or positions, where the record has nothing else) or its
    destination; never a payload."""
    records = shown(version, "log") + shown(version, "dead_log")
    assert not any("unreadable" in record for record in records)
    kinds = {str(record["kind"]) for record in records}
    assert kinds >= {"message", "chunk", "settled", "retry", "moved", "held", "dead", "removed"}
    for record in records:
        about = {"id", "ids", "positions", "destination", "destinations", "body_bytes"}
        assert about & set(record) or record["kind"] == "nothing"
    messages = [record for record in records if record["kind"] in {"message", "dead", "moved"}]
    for record in messages:
        assert len(str(record["id"])) == 28
        assert str(record["destination"]).startswith("http")


def test_ids_of_a_settled_record_are_those_of_its_messages() -> None:
    """So that one can look for them."""
    records = shown(2, "log")
    known = {record["id"] for record in records if record["kind"] in {"message", "moved"}}
    settled = [one for r in records if r["kind"] == "settled" for one in r["ids"]]  # type: ignore[union-attr]  # a list in this kind
    assert set(settled) & known


@pytest.mark.parametrize("payload", [b"\x01", b"\x05abc", b"\x0a", b"\x07" * 20, b"\x0c\x01"])
def test_record_that_cannot_be_read_is_shown_all_the_same(payload: bytes) -> None:
    """The log may be looked at because of it."""
    record = show_record(4096, payload)
    assert "unreadable" in record
    assert "unreadable" in as_text(record)


def test_unknown_kind_and_an_empty_record_are_shown() -> None:
    """A newer version may have written them."""
    assert as_text(show_record(1, b"\xee")) == "0xee unreadable=not known to this version"
    assert as_text(show_record(1, b"")) == "empty"


def test_line_of_many_ids_names_the_first_ones() -> None:
    """A record may settle thousands of messages."""
    record = show_record(1, encode_settled(7, array("Q", range(1000))))
    assert len(record["ids"]) == 1000  # type: ignore[arg-type]  # a list in this kind
    assert as_text(record).endswith("and 994 more")


def test_dump_shows_kinds_ids_and_destinations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the text and in JSON."""
    payloads = [bytes.fromhex(data) for _, data in load(2)["log"]]

    async def write() -> None:
        log = FileLog(tmp_path / "log")
        await log.open("test", 1)
        await log.append(payloads)
        await log.close()

    asyncio.run(write())
    for arguments in ([], ["--json"]):
        with pytest.raises(SystemExit):
            main(["log", "dump", "--path", str(tmp_path / "log"), *arguments])
        said = capsys.readouterr().out
        for word in ("message", "settled", "retry", "http://", "destination"):
            assert word in said
        assert "kind=0x" not in said
