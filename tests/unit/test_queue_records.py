"""What the queue writes is read back, and the layout of a kind never changes."""

from __future__ import annotations

from array import array
from dataclasses import replace

import pytest

from dispatcher.core.calls import CallReason
from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.queue.records.chunks import decode_chunk, encode_chunk
from dispatcher.queue.records.dead_calls import CallLetter, call_facts, decode_call, encode_call
from dispatcher.queue.records.history import (
    Attempt,
    decode_history,
    encode_attempt,
    encode_history,
)
from dispatcher.queue.records.ids import wire_id
from dispatcher.queue.records.keys import StoredKey, decode_keys, encode_keys
from dispatcher.queue.records.kinds import MAX_DETAIL_BYTES, NOTHING, RecordError
from dispatcher.queue.records.letters import (
    _DEAD,
    DeadLetter,
    decode_dead,
    encode_dead,
    letter_facts,
)
from dispatcher.queue.records.messages import (
    decode_message,
    decode_stored,
    encode_message,
    encode_moved,
)
from dispatcher.queue.records.removed import Removal, decode_removals, encode_removals
from dispatcher.queue.records.retry import Retry, decode_retry, encode_retry, retry_facts
from dispatcher.queue.records.settled import (
    decode_settled,
    encode_delivered,
    encode_settled,
    encode_settled_packed,
    encode_undelivered,
)
from dispatcher.queue.records.uptime import decode_uptime, encode_uptime
from dispatcher.testing.queue import destination


def _message() -> Message:
    sent = Message(
        destination("https://h.example:8443"),
        b"PUT /p HTTP/1.1\r\nHost: h\r\n",
        b"body",
        timeout_ms=1500,
        accepted_at=1_704_067_200_000_001,
        incarnation=0xDEADBEEF,
    )
    sent.position = 0x1_0000_1000
    sent.attempt = 2
    sent.redrives = 1
    sent.history = encode_attempt(
        1_704_067_200_000_002, AttemptResult(None, Failure.TIMEOUT, "late", 7)
    ) + encode_attempt(1_704_067_200_000_003, AttemptResult(503, None, "busy", 8))
    return sent


MESSAGE = (
    "01efbeadde01202110d70d0600dc05000016001a00000004000000000000000000000068747470733a2f2f682e6578"
    "616d706c653a38343433505554202f7020485454502f312e310d0a486f73743a20680d0a626f6479"
)
DEAD_CALL_HEAD = (
    "120300efbeadde001000000100008001000200000045202110d70d060001202110d70d06000060d71d14000000"
    "1032547698badcfedc05000078563412"
)
DEAD_CALL_REST = (
    "020710000000080003000100030004000400020000000000000002202110d70d060007000000c8000006687474"
    "703a2f2f6866c3bc76617070547970656e6f7065696e"
)
DEAD_CALL_LARGE = (
    "120300efbeadde001000000100008001000200000045202110d70d060001202110d70d06000060d71d14000000"
    "1032547698badcfedc05000078563412020710000000080003000100030004000400e093040002000000022021"
    "10d70d060007000000c8000006687474703a2f2f6866c3bc76617070547970656e6f7065002000000100000005"
    "00000000000000"
)
HISTORY = "02202110d70d06000700000000000400" + "03202110d70d060008000000f7010000"
KEYS = (
    "000102030405060708090a0b1032547698badcfe0010000001000000efbeadde01202110d70d060001"
    "0b0a0908070605040302010001000000000000000200000000000000070000000000000000000000" + "00"
)
GOLDEN = {
    "message": MESSAGE,
    "chunk": "026461746100",
    "settled": "0aefbeadde00100000010000000200000000000000",
    "retry": "0befbeadde0010000001000000020044202110d70d0600200000000400" + HISTORY + "62757379",
    "moved": "0500100000010000000200010044202110d70d060020000000" + HISTORY + MESSAGE,
    "nothing": "06",
    "dead": "0e030000100000010000000200010045202110d70d060020000000080004000300785634"
    "1272656a65637465646e6f706500ff0d",
    "removed": "080300efbeadde00100000010000000100",
    "removed_many": "0c" + "0300efbeadde01000200000002fe9f808010" + "0300efbeadde02000100000005",
    "settled_packed": "0defbeadde02fe9f808010",
    "delivered": "13efbeadde02fe9f808010",
    "undelivered": "18efbeadde02fe9f808010",
    "keys": "17" + KEYS,
    "uptime": "0f78563412",
    "dead_call": DEAD_CALL_HEAD + DEAD_CALL_REST,
    "dead_call_large": DEAD_CALL_LARGE,
}
DEAD_V1 = (
    "07030000100000010000000200010045202110d70d060020000000080004000300"
    + HISTORY
    + "72656a65637465646e6f706500ff0d"
    + MESSAGE
)
SETTLED_V1 = "0300100000010000000200000000000000"
RETRY_V1 = "040010000001000000020044202110d70d0600200000000400" + HISTORY + "62757379"


def _call() -> CallLetter:
    return CallLetter(
        wire_id(3, 0xDEADBEEF, 0x8000_0001_0000_1000),
        "http://h",
        "fü",
        "v",
        "app",
        0xFEDC_BA98_7654_3210,
        1_704_067_200_000_001,
        86_400_000_000,
        1500,
        1_704_067_200_000_069,
        CallReason.FAILED,
        7,
        "Type",
        "nope",
        2,
        encode_history([Attempt(1_704_067_200_000_002, 7, 200, None, 6)]),
        1,
        b"in",
        2,
        None,
        0x12345678,
    )


REMOVALS = [
    Removal(wire_id(3, 0xDEADBEEF, 0x1_0000_1000), 1),
    Removal(wire_id(3, 0xDEADBEEF, 2), 1),
    Removal(wire_id(3, 0xDEADBEEF, 5), 2),
]


STORED_KEYS = [
    StoredKey(
        bytes(range(12)),
        0xFEDC_BA98_7654_3210,
        0x1_0000_1000,
        0xDEADBEEF,
        1_704_067_200_000_001,
        undelivered=True,
    ),
    StoredKey(bytes(range(11, -1, -1)), 1, 2, 7, 0, undelivered=False),
]


def _encoded() -> dict[str, bytes]:
    sent = _message()
    dead = encode_dead(
        DeadLetter(3, sent, 1_704_067_200_000_069, "rejected", "nope", b"\x00\xff\r", 0x12345678)
    )
    head, letter = dead[: _DEAD.size], dead[_DEAD.size :]
    assert letter == bytes.fromhex(HISTORY) + b"rejectednope\x00\xff\r" + bytes.fromhex(MESSAGE)
    return {
        "message": encode_message(sent),
        "chunk": encode_chunk(b"data\x00"),
        "settled": encode_settled(sent.incarnation, array("Q", [0x1_0000_1000, 2])),
        "retry": encode_retry(sent, 1_704_067_200_000_068, "busy"),
        "moved": encode_moved(sent, 1_704_067_200_000_068),
        "nothing": NOTHING,
        "dead": head + b"rejectednope\x00\xff\r",
        "removed": encode_removals([REMOVALS[0]]),
        "removed_many": encode_removals(REMOVALS),
        "settled_packed": encode_settled_packed(sent.incarnation, array("Q", [0x1_0000_1000, 2])),
        "delivered": encode_delivered(sent.incarnation, array("Q", [0x1_0000_1000, 2])),
        "undelivered": encode_undelivered(sent.incarnation, array("Q", [0x1_0000_1000, 2])),
        "keys": encode_keys(STORED_KEYS),
        "uptime": encode_uptime(0x12345678),
        "dead_call": encode_call(_call()),
        "dead_call_large": encode_call(
            replace(_call(), body=b"", body_size=300_000, chunks=(0x1_0000_2000, 5))
        ),
    }


@pytest.mark.parametrize("kind", GOLDEN)
def test_record_has_the_bytes_of_its_kind(kind: str) -> None:
    """A log written by this version is read by every later one: its bytes are pinned."""
    assert _encoded()[kind].hex() == GOLDEN[kind]


def test_moved_record_of_version_1_is_read() -> None:
    """Old bytes come back as the message they were."""
    read = decode_stored(77, bytes.fromhex(GOLDEN["moved"]), 3)
    sent = _message()
    for name in ("head", "body", "timeout_ms", "accepted_at", "incarnation", "position", "attempt"):
        assert getattr(read, name) == getattr(sent, name), name
    assert read.history == sent.history
    assert read.redrives == 1
    assert read.destination == sent.destination
    assert read.wire_id == b"0003deadbeef0000000100001000"
    assert decode_history(read.history) == [
        Attempt(1_704_067_200_000_002, 7, None, Failure.TIMEOUT),
        Attempt(1_704_067_200_000_003, 8, 503, None),
    ]


def test_records_that_name_positions_alone_are_read() -> None:
    """What version 0.1 wrote when a message was done, or waited for its next attempt."""
    assert decode_settled(bytes.fromhex(SETTLED_V1)) == (
        None,
        array("Q", [0x1_0000_1000, 2]),
    )
    payload = bytes.fromhex(RETRY_V1)
    assert retry_facts(payload) == (None, 0x1_0000_1000, 2, 1_704_067_200_000_068)
    assert decode_retry(payload) == Retry(
        None, 0x1_0000_1000, 2, 1_704_067_200_000_068, _message().history, "busy"
    )


def test_dead_call_is_read_as_it_was_written() -> None:
    """All of it, and the facts that its row is made of."""
    payload = bytes.fromhex(GOLDEN["dead_call"])
    assert decode_call(payload) == _call()
    facts = call_facts(payload)
    assert facts.message_id == _call().id
    assert (facts.redrives, facts.dead_at, facts.uptime_s) == (1, _call().dead_at, 0x12345678)
    assert facts.destination == "http://h\0fü".encode()
    assert (facts.status, facts.failure, facts.reason) == (0, 64 + 7, "failed")
    assert (facts.body_size, facts.chunks) == (2, None)
    large = bytes.fromhex(GOLDEN["dead_call_large"])
    assert decode_call(large).chunks == (0x1_0000_2000, 5)
    assert call_facts(large).chunks == array("Q", [0x1_0000_2000, 5])
    assert call_facts(large).body_size == 300_000


def test_names_of_a_dead_call_are_cut_between_characters() -> None:
    """Whatever a caller calls its functions: no record is too large, and each is text."""
    long = replace(_call(), function="é" * 5000, error_type="ü" * 1000, detail="x" * 10_000)
    read = decode_call(encode_call(long))
    assert read.function == "é" * 2048
    assert read.error_type == "ü" * 128
    assert read.detail == "x" * MAX_DETAIL_BYTES
    odd = replace(_call(), function="\ud800", status=4000)
    assert decode_call(encode_call(odd)).function == "?"
    assert decode_call(encode_call(odd)).error == "status_191"


def test_dead_call_of_an_unknown_reason_is_refused() -> None:
    """A later version may know more."""
    payload = bytearray(bytes.fromhex(GOLDEN["dead_call"]))
    at = len(DEAD_CALL_HEAD) // 2
    assert payload[at] == 2
    payload[at] = 9
    with pytest.raises(RecordError, match="unknown reason 9"):
        decode_call(bytes(payload))
    with pytest.raises(RecordError, match="kind 14"):
        decode_call(bytes([14]) + bytes(payload[1:]))
    with pytest.raises(RecordError, match="length"):
        decode_call(bytes.fromhex(GOLDEN["dead_call"]) + b"x")


def test_records_of_many_are_read() -> None:
    """Packed, in whatever order they came."""
    removed = decode_removals(bytes.fromhex(GOLDEN["removed_many"]))
    assert sorted(removed) == sorted(REMOVALS)
    assert list(decode_removals(bytes.fromhex(GOLDEN["removed"]))) == REMOVALS[:1]
    for name in ("settled_packed", "delivered"):
        assert decode_settled(bytes.fromhex(GOLDEN[name])) == (
            0xDEADBEEF,
            array("Q", [2, 0x1_0000_1000]),
        )
    assert decode_uptime(bytes.fromhex(GOLDEN["uptime"])) == 0x12345678


def test_keys_are_read_back() -> None:
    """All of a record; one that is cut off is refused."""
    payload = encode_keys(STORED_KEYS)
    assert list(decode_keys(payload)) == STORED_KEYS
    with pytest.raises(RecordError):
        list(decode_keys(payload[:-1]))


def test_dead_record_of_version_1_is_read() -> None:
    """It knows no uptime of the log, and all else that a later one does."""
    letter = decode_dead(bytes.fromhex(DEAD_V1))
    assert (letter.partition, letter.dead_at, letter.uptime_s) == (3, 1_704_067_200_000_069, 0)
    assert (letter.reason, letter.detail) == ("rejected", "nope")
    assert letter.response_start == b"\x00\xff\r"
    assert letter.message.history == _message().history
    facts = letter_facts(bytes.fromhex(DEAD_V1))
    assert (facts.message_id, facts.uptime_s) == (b"0003deadbeef0000000100001000", 0)


def test_record_is_refused_when_it_is_of_another_kind() -> None:
    """A record that is not what the index says is a mistake, and is not delivered."""
    with pytest.raises(RecordError):
        decode_stored(1, NOTHING, 0)
    with pytest.raises(RecordError):
        decode_chunk(b"\x01x")
    with pytest.raises(RecordError):
        decode_message(bytes.fromhex(MESSAGE) + b"x")
    with pytest.raises(RecordError):
        decode_retry(bytes.fromhex(GOLDEN["retry"]) + b"x")
    with pytest.raises(RecordError):
        decode_dead(bytes.fromhex(MESSAGE) + bytes(40))


def test_failures_keep_their_numbers() -> None:
    """The order of `Failure` is part of the stored format: new ones go to the end."""
    assert [failure.name for failure in Failure][:6] == [
        "CONNECTION",
        "DNS",
        "TLS",
        "TIMEOUT",
        "BROKEN",
        "EGRESS",
    ]


def test_detail_is_cut_where_it_is_long() -> None:
    """A destination cannot make records grow."""
    retry = decode_retry(encode_retry(_message(), 5, "é" * 1000))
    assert len(retry.detail.encode()) <= MAX_DETAIL_BYTES + 2
