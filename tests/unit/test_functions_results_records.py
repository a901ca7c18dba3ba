"""Records of the results' log: their bytes never change."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dispatcher.functions.model import How
from dispatcher.functions.results.records import (
    KnownRange,
    StoredResult,
    decode_forgotten,
    decode_known,
    decode_result,
    encode_forgotten,
    encode_known,
    encode_result,
    key_of,
    parts_of_key,
    result_facts,
)
from dispatcher.functions.results.shown import is_of_results, show_result_record
from dispatcher.queue.records.kinds import Kind, RecordError

KEY = key_of(0xA1B2C3D4, 1 << 63 | 0x1234)
RESULT = StoredResult(
    KEY,
    function="f",
    endpoint="http://a",
    version="v2",
    application="app",
    created_us=0x0102,
    expires_us=0x0506,
    ended_us=0x0304,
    how=How.FAILED,
    status="no",
    is_error=True,
    attempts=7,
    steps=8,
    restarts=9,
    result=b"\x0a\x00",
)
BYTES = (
    "40 d4c3b2a1 3412000000000080 0201000000000000 0605000000000000 0403000000000000 02 01"
    "07000000 08000000 0900 0100 0800 0200 0300 0200 02000000 0000"
    "66 687474703a2f2f61 7632 617070 6e6f 0a00"
)


def test_result_has_the_bytes_that_are_documented() -> None:
    """The layout on the disk is the one in the table."""
    payload = bytes.fromhex(BYTES.replace(" ", ""))
    assert encode_result(RESULT) == payload
    assert decode_result(payload) == RESULT
    facts = result_facts(payload)
    assert facts == (0xA1B2C3D4, 1 << 63 | 0x1234, 0x0304, 2, None)


def test_large_result_names_its_chunks_and_holds_nothing_of_itself() -> None:
    """Positions stand where the result would."""
    payload = encode_result(RESULT, (5, 1 << 40))
    assert payload[-16:] == (5).to_bytes(8, "little") + (1 << 40).to_bytes(8, "little")
    facts = result_facts(payload)
    assert facts.chunks is not None
    assert (list(facts.chunks), facts.size_bytes) == ([5, 1 << 40], 2)
    assert decode_result(payload).result == b""


def test_small_records_have_the_bytes_that_are_documented() -> None:
    """FORGOTTEN and KNOWN are lists of fixed fields."""
    forgotten = encode_forgotten([KEY, KEY + 1])
    assert forgotten.hex() == "41d4c3b2a13412000000000080d4c3b2a13512000000000080"
    assert list(decode_forgotten(forgotten)) == [parts_of_key(KEY), parts_of_key(KEY + 1)]
    known = encode_known([KnownRange(1, 2, 3)])
    assert known.hex() == "420100000002000000000000000300000000000000"
    assert list(decode_known(known)) == [KnownRange(1, 2, 3)]


def test_names_are_cut_when_they_are_longer_than_a_record_may_hold() -> None:
    """No batch of the log is ever too small for a result."""
    long = replace(RESULT, function="f" * 70_000, endpoint="e" * 70_000, status="s" * 999)
    found = decode_result(encode_result(long))
    assert found.result == RESULT.result
    assert [len(found.function), len(found.endpoint), len(found.status)] == [8192, 8192, 512]


def test_kinds_are_no_kinds_of_the_queue() -> None:
    """A number means the same in every log, so that a dump can tell."""
    for payload in (encode_result(RESULT), encode_forgotten([KEY]), encode_known([])):
        assert payload[0] not in set(Kind)
        assert is_of_results(payload)
    assert not is_of_results(b"")
    assert not is_of_results(b"\x02chunk")


def test_other_record_is_refused_where_a_result_was_expected() -> None:
    """What is no result is not taken for one."""
    for payload in (b"", b"\x02" * 80, encode_result(RESULT)[:30]):
        with pytest.raises(RecordError):
            decode_result(payload)


def test_dump_shows_what_a_record_says() -> None:
    """Ids as callers see them, names, and how it ended."""
    shown = show_result_record(encode_result(RESULT, (5,)))
    assert shown["id"] == "0000a1b2c3d48000000000001234"
    assert (shown["kind"], shown["function"], shown["how"]) == ("result", "f", "failed")
    assert (shown["result_bytes"], shown["chunks"]) == (2, 1)
    assert show_result_record(encode_forgotten([KEY]))["ids"] == ["0000a1b2c3d48000000000001234"]
    assert show_result_record(encode_known([KnownRange(1, 2, 3)])) == {
        "kind": "known",
        "first": ["0000000000010000000000000002"],
        "last": ["0000000000010000000000000003"],
    }
    assert "unreadable" in show_result_record(encode_result(RESULT)[:30])
