"""What the queue writes is read back, and format version 1 never changes."""

from __future__ import annotations

from array import array

import pytest

from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.queue import records
from dispatcher.queue.records import RecordError
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
    sent.history = records.encode_attempt(
        1_704_067_200_000_002, AttemptResult(None, Failure.TIMEOUT, "late", 7)
    ) + records.encode_attempt(1_704_067_200_000_003, AttemptResult(503, None, "busy", 8))
    return sent


MESSAGE = (
    "01efbeadde01202110d70d0600dc05000016001a00000004000000000000000000000068747470733a2f2f682e6578"
    "616d706c653a38343433505554202f7020485454502f312e310d0a486f73743a20680d0a626f6479"
)
HISTORY = "02202110d70d06000700000000000400" + "03202110d70d060008000000f7010000"
GOLDEN = {
    "message": MESSAGE,
    "chunk": "026461746100",
    "settled": "0300100000010000000200000000000000",
    "retry": "040010000001000000020044202110d70d0600200000000400" + HISTORY + "62757379",
    "moved": "0500100000010000000200010044202110d70d060020000000" + HISTORY + MESSAGE,
    "nothing": "06",
    "dead": "07030000100000010000000200010045202110d70d06002000000008000400030072656a65637465646e"
    "6f706500ff0d",
    "removed": "080300efbeadde00100000010000000100",
}


def _encoded() -> dict[str, bytes]:
    sent = _message()
    dead = records.encode_dead(
        records.DeadLetter(
            3, sent, 1_704_067_200_000_069, "rejected", "nope", response_start=b"\x00\xff\r"
        )
    )
    head, letter = dead[: records._DEAD.size], dead[records._DEAD.size :]
    assert letter == bytes.fromhex(HISTORY) + b"rejectednope\x00\xff\r" + bytes.fromhex(MESSAGE)
    return {
        "message": records.encode_message(sent),
        "chunk": records.encode_chunk(b"data\x00"),
        "settled": records.encode_settled(array("Q", [0x1_0000_1000, 2])),
        "retry": records.encode_retry(sent, 1_704_067_200_000_068, "busy"),
        "moved": records.encode_moved(sent, 1_704_067_200_000_068),
        "nothing": records.NOTHING,
        "dead": head + b"rejectednope\x00\xff\r",
        "removed": records.encode_removed(3, sent.incarnation, sent.position, 1),
    }


@pytest.mark.parametrize("kind", GOLDEN)
def test_record_has_the_bytes_of_format_version_1(kind: str) -> None:
    """A log written by this version is read by every later one: its bytes are pinned."""
    assert _encoded()[kind].hex() == GOLDEN[kind]


def test_moved_record_of_version_1_is_read() -> None:
    """Old bytes come back as the message they were."""
    read = records.decode_stored(77, bytes.fromhex(GOLDEN["moved"]), 3)
    sent = _message()
    for name in ("head", "body", "timeout_ms", "accepted_at", "incarnation", "position", "attempt"):
        assert getattr(read, name) == getattr(sent, name), name
    assert read.history == sent.history
    assert read.redrives == 1
    assert read.destination == sent.destination
    assert read.wire_id == b"0003deadbeef0000000100001000"
    assert records.decode_history(read.history) == [
        records.Attempt(1_704_067_200_000_002, 7, None, Failure.TIMEOUT),
        records.Attempt(1_704_067_200_000_003, 8, 503, None),
    ]


def test_record_is_refused_when_it_is_of_another_kind() -> None:
    """A record that is not what the index says is a mistake, and is not delivered."""
    with pytest.raises(RecordError):
        records.decode_stored(1, records.NOTHING, 0)
    with pytest.raises(RecordError):
        records.decode_chunk(b"\x01x")
    with pytest.raises(RecordError):
        records.decode_message(bytes.fromhex(MESSAGE) + b"x")
    with pytest.raises(RecordError):
        records.decode_retry(bytes.fromhex(GOLDEN["retry"]) + b"x")
    with pytest.raises(RecordError):
        records.decode_dead(bytes.fromhex(MESSAGE) + bytes(40))


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
    retry = records.decode_retry(records.encode_retry(_message(), 5, "é" * 1000))
    assert len(retry.detail.encode()) <= records.MAX_DETAIL_BYTES + 2
