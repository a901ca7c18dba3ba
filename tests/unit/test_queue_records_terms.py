"""Messages with terms as they are stored: read back whole, and never taken for others."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.flow import MOST_BURST, MOST_PARALLEL, Flow
from dispatcher.core.message import Message
from dispatcher.core.rate import Rate
from dispatcher.core.terms import Terms
from dispatcher.errors import LogTooNew
from dispatcher.queue.records.kinds import Kind, RecordError
from dispatcher.queue.records.letters import DeadLetter, decode_dead, encode_dead, letter_facts
from dispatcher.queue.records.messages import (
    accepted_at_of,
    decode_message,
    decode_stored,
    encode_message,
    encode_moved,
    incarnation_in,
    message_facts,
    moved_facts,
    prefix_of,
)
from dispatcher.queue.records.shown import show_record
from dispatcher.queue.records.terms import decode_terms, encode_terms, message_at
from dispatcher.testing.queue import destination

ALL = Terms(
    not_before_us=1_800_000_000_000_001,
    deadline_us=1_900_000_000_000_002,
    retries=3,
    retry_delay_ms=250,
    retry_max_delay_ms=60_000,
    label="invoice-7",
    idempotency_key="order-1",
    request_print=0xFEDC_BA98_7654_3210,
    copy_of="0000deadbeef0000000100001000",
    callback="https://told.example/done?a=1",
    failure_callback="http://told.example:81/failed",
    key_place="group:orders/1",
)

urls = st.sampled_from(["", "http://a.example", "https://[::1]:9/x?y=z"])
KEYS = Terms(order_key="o", flow_key="f", flow=Flow(Rate(10, 60_000_000), 2), order_after=3)

visible = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=255)
rates = st.builds(
    Rate,
    st.integers(1, 999_999_999),
    st.integers(1, 366).map(lambda days: days * 86_400_000_000)
    | st.integers(1, 9999).map(lambda seconds: seconds * 1_000_000),
    st.integers(1, MOST_BURST),
)
parallel = st.integers(1, MOST_PARALLEL)
flows = st.builds(Flow, rates, st.none() | parallel) | st.builds(Flow, st.none(), parallel)

terms = st.builds(
    Terms,
    not_before_us=st.integers(0, 2**63),
    deadline_us=st.integers(0, 2**63),
    retries=st.none() | st.integers(0, 1000),
    retry_delay_ms=st.none() | st.integers(0, 2**40),
    retry_max_delay_ms=st.none() | st.integers(0, 2**40),
    label=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=64),
    idempotency_key=st.text("k1", min_size=1, max_size=255),
    request_print=st.integers(0, 2**64 - 1),
    copy_of=st.text("0f", max_size=28),
    callback=urls,
    failure_callback=urls,
    order_key=visible,
    flow_key=visible,
    flow=st.none() | flows,
    order_after=st.integers(0, 2**63),
)


def message(asked: Terms | None, *, chunks: tuple[int, ...] | None = None) -> Message:
    """A message with these terms."""
    sent = Message(
        destination("https://h.example:8443"),
        b"PUT /p HTTP/1.1\r\nHost: h\r\n",
        b"" if chunks else b"body",
        timeout_ms=1500,
        accepted_at=1_704_067_200_000_001,
        incarnation=0xDEADBEEF,
        chunks=chunks,
        body_size=9 if chunks else 4,
    )
    sent.position = 77
    sent.terms = asked
    return sent


def test_layout_of_terms_never_changes() -> None:
    """The bytes are those of the first version that wrote them: add fields, never change one."""
    first = replace(ALL, callback="", failure_callback="", key_place="")
    assert encode_terms(first).hex() == (
        "14"  # MESSAGE_TERMS
        "7700"
        "01" "0800" "0180982817650600"
        "02" "0800" "02c012390ac00600"
        "03" "0800" "0300000000000000"
        "04" "0800" "fa00000000000000"
        "05" "0800" "60ea000000000000"
        "06" "0900" "696e766f6963652d37"
        "07" "0700" "6f726465722d31"
        "09" "1c00" "30303030646561646265656630303030303030313030303031303030"
        "08" "0800" "1032547698badcfe"
    )  # fmt: skip
    assert encode_terms(Terms()).hex() == "140000"
    assert encode_terms(Terms(callback="http://a", failure_callback="http://b/")).hex() == (
        "14"
        "1700"
        "0b" "0800" "687474703a2f2f61"
        "0c" "0900" "687474703a2f2f622f"
    )  # fmt: skip
    assert encode_terms(Terms(key_place="group:a/1")).hex() == (
        "14"
        "0c00"
        "14" "0900" "67726f75703a612f31"
    )  # fmt: skip


def test_layout_of_keys_never_changes() -> None:
    """The terms of version 0.3 that say for whom a message waits."""
    assert encode_terms(KEYS).hex() == (
        "14"  # MESSAGE_TERMS
        "2e00"
        "0a" "0100" "6f"
        "0e" "0100" "66"
        "0f" "1800" + b"rate=10/m, parallelism=2".hex() +
        "10" "0800" "0300000000000000"
    )  # fmt: skip


def test_facts_of_a_letter_have_its_order_key() -> None:
    """Those of a letter without terms, or without a key, have none."""
    letters = [
        DeadLetter(0, message(asked), 1, "final_status", "", b"") for asked in (KEYS, ALL, None)
    ]
    assert [letter_facts(encode_dead(one)).order_key for one in letters] == ["o", "", ""]


@given(terms, st.none() | st.just((5, 6)))
def test_message_with_terms_is_read_back(asked: Terms, chunks: tuple[int, ...] | None) -> None:
    """All three records that hold one give it back, and the facts of recovery are the same."""
    sent = message(asked, chunks=chunks)
    plain = encode_message(message(None, chunks=chunks))
    payload = encode_message(sent)
    assert payload[0] == Kind.MESSAGE_TERMS
    assert payload.endswith(plain)
    found = decode_message(payload)
    assert (found.terms, found.head, found.body, found.chunks) == (
        asked,
        sent.head,
        sent.body,
        chunks,
    )
    assert message_facts(payload) == message_facts(plain)
    assert accepted_at_of(payload) == sent.accepted_at

    moved = encode_moved(sent, 9)
    assert moved[0] == Kind.MOVED_TERMS
    assert decode_stored(1, moved, 0).terms == asked
    position, _, due_at, start = moved_facts(moved)
    assert (position, due_at, decode_terms(moved, start)) == (77, 9, asked)

    dead = encode_dead(DeadLetter(0, sent, 1, "expired", "late", b""))
    assert dead[0] == Kind.DEAD_TERMS
    assert decode_dead(dead).message.terms == asked
    without = letter_facts(
        encode_dead(DeadLetter(0, message(None, chunks=chunks), 1, "expired", "late", b""))
    )
    assert letter_facts(dead) == without._replace(label=asked.label, order_key=asked.order_key)


def test_message_without_terms_is_stored_as_before() -> None:
    """It costs not one byte more, and an older program reads it."""
    sent = message(None)
    assert encode_message(sent)[0] == Kind.MESSAGE
    assert encode_moved(sent, 0)[0] == Kind.MOVED
    assert encode_dead(DeadLetter(0, sent, 1, "expired", "late", b""))[0] == Kind.DEAD
    assert decode_message(encode_message(sent)).terms is None


def test_fast_way_of_recovery_passes_over_messages_with_terms() -> None:
    """It knows nothing of terms: `visit` has to see them."""
    assert incarnation_in(prefix_of(encode_message(message(ALL)), 0)) is None


def test_term_of_a_later_version_is_refused() -> None:
    """Passing over it would break what was promised to the caller."""
    payload = bytearray(encode_message(message(Terms(label="x"))))
    payload[3] = 250
    with pytest.raises(LogTooNew):
        decode_message(bytes(payload))


@pytest.mark.parametrize("size", [1, 500])
def test_terms_of_a_wrong_size_are_an_error(size: int) -> None:
    """The checksum was right, so a program wrote it wrong."""
    payload = bytearray(encode_message(message(Terms(label="xyz"))))
    payload[1:3] = size.to_bytes(2, "little")
    with pytest.raises((RecordError, ValueError, IndexError)) as caught:
        decode_terms(bytes(payload), 0)
    assert not isinstance(caught.value, UnicodeDecodeError)


def test_record_shows_its_terms() -> None:
    """`dispatcher log dump` names them as callers do."""
    shown = show_record(77, encode_message(message(ALL)))
    assert shown["kind"] == "message"
    assert (shown["label"], shown["retries"]) == ("invoice-7", "3")
    assert message_at(encode_message(message(None)), 0) == 0


KEYS_OF_FULL = ("k", "f", Flow(None, 2), 9, "group:a/1")
FULL = Terms(1, 2, 3, 4, 5, "blue", "key", 6, "id", "http://a/", "http://b/", *KEYS_OF_FULL)


def test_every_term_is_stored() -> None:
    """A term has a tag, and is written and read by it."""
    for field in fields(Terms):
        assert getattr(FULL, field.name) != field.default, f"give FULL a value of {field.name}"
    assert decode_terms(encode_terms(FULL), 0) == FULL


COPIED = {"retries", "retry_delay_ms", "retry_max_delay_ms", "label", "order_key", "flow_key"}
NOT_COPIED = {
    "not_before_us",
    "deadline_us",
    "idempotency_key",
    "request_print",
    "copy_of",
    "callback",
    "failure_callback",
    "flow",
    "order_after",
    "key_place",
}


def test_each_term_is_kept_or_dropped_by_a_replay_on_purpose() -> None:
    """What makes a message one of a kind, or has passed, must not be in its copy: it would be a
    duplicate, or expired."""
    assert {field.name for field in fields(Terms)} == COPIED | NOT_COPIED, (
        "say in Terms.of_copied and here whether a replay keeps a new term"
    )
    copied = FULL.of_copied()
    for field in fields(Terms):
        kept = getattr(FULL, field.name) if field.name in COPIED else field.default
        assert getattr(copied, field.name) == kept, field.name
