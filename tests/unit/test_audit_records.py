"""Entries of the audit as bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.audit.entries import Entry
from dispatcher.audit.records import MOST_BYTES, Head, decode_entry, encode_entry, head_of
from dispatcher.audit.shown import is_of_audit, show_audit_record
from dispatcher.errors import LogTooNew
from dispatcher.queue.records.kinds import RecordError

ENTRY = Entry(
    at_us=0x0102030405060708,
    action="purged",
    key="älice",
    selection={"destination": "http://a.example", "all": True},
    count=3,
    error="disk_full",
    job="5e0f3a91",
    number=7,
)
BYTES = (
    b"\x60\x07\x00\x00\x00\x00\x00\x00\x00\x08\x07\x06\x05\x04\x03\x02\x01\x06\x06\x00"
    b"purged\xc3\xa4lice"
    b'{"selection":{"destination":"http://a.example","all":true},"count":3,"error":"disk_full",'
    b'"job":"5e0f3a91"}'
)
"""A layout never changes."""


def test_entry_is_these_bytes_for_ever() -> None:
    """As `records` says."""
    assert encode_entry(ENTRY) == BYTES
    assert decode_entry(BYTES) == ENTRY
    assert head_of(BYTES) == Head(7, ENTRY.at_us, "purged", "älice")


@given(
    st.builds(
        Entry,
        at_us=st.integers(0, 2**64 - 1),
        action=st.text(min_size=1, max_size=40).filter(lambda text: len(text.encode()) < 256),
        key=st.none() | st.text(max_size=255),
        selection=st.dictionaries(st.text(), st.text() | st.booleans() | st.integers()),
        count=st.none() | st.integers(0),
        error=st.none() | st.text(),
        job=st.none() | st.text(),
        number=st.integers(1, 2**64 - 1),
    )
)
def test_entry_comes_back_as_it_was(entry: Entry) -> None:
    """Whatever is in it."""
    assert decode_entry(encode_entry(entry)) == entry


def test_entry_that_says_little_has_no_names_for_nothing() -> None:
    """And what a later version adds is ignored."""
    entry = Entry(at_us=1, action="held", key=None, number=1)
    payload = encode_entry(entry)
    assert payload.endswith(b"held{}")
    assert decode_entry(payload[:-1] + b'"later":[1]}') == entry


def test_selection_that_is_too_large_is_left_out() -> None:
    """The rest is kept."""
    entry = Entry(1, "purged", "alice", {"x": "y" * MOST_BYTES}, 5, number=1)
    payload = encode_entry(entry)
    assert len(payload) < 200
    found = decode_entry(payload)
    assert (found.count, list(found.selection)) == (5, ["left_out"])


def test_record_of_a_later_kind_is_not_skipped() -> None:
    """A program that skipped it would lose it in silence."""
    with pytest.raises(LogTooNew):
        head_of(b"\x61" + BYTES[1:])


@pytest.mark.parametrize("payload", [b"", BYTES[:10], BYTES[:22], BYTES[:-1], BYTES[:31] + b"[]"])
def test_record_that_is_none_says_so(payload: bytes) -> None:
    """Rather than to end the program."""
    with pytest.raises(RecordError):
        decode_entry(payload)


def test_dump_shows_an_entry() -> None:
    """And one that cannot be read as such."""
    assert is_of_audit(BYTES)
    assert not is_of_audit(b"\x40")
    shown = show_audit_record(BYTES)
    assert (shown["kind"], shown["number"], shown["action"]) == ("entry", 7, "purged")
    assert (shown["key"], shown["count"], shown["job"]) == ("älice", 3, "5e0f3a91")
    assert shown["selection"] == '{"destination": "http://a.example", "all": true}'
    assert "unreadable" in show_audit_record(BYTES[:22])
