"""The format of a state, byte by byte: the bytes here are those that calls wait with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dispatcher.sdk.replay.journal import BadState, Columns, decode, encode
from dispatcher.sdk.replay.model import Cancelled, Failure, Value
from dispatcher.sdk.replay.results import Kept
from dispatcher.testing.durable import call, close_all, ended, start, suspended, value


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_all()


STATE = bytes.fromhex(
    "0801"  # version 1
    "15 04030201"  # nonce 0x01020304
    "18 c0843d"  # began 1 000 000 us after the epoch
    "20 0b"  # Python 3.11
    "28 02"  # two outcomes
    "30 01"  # operation 1 was new in the last one
    "3a 14 63616c6c 00 6665746368 00 00 6170702e70793a32"  # call of fetch, own endpoint, app.py:2
    "3a 0f 736c656570 00 00 00 6170702e70793a"  # a sleep at app.py:
    "42 00"  # the body
    "42 03 312e32"  # task 1.2
    "4a 02 0001"  # operation 0 is at place 0, 1 at place 1
    "52 02 0001"  # in tasks 0 and 1
    "5a 08 efbeadde 60ea0000"  # CRC-32 0xdeadbeef; 60 000 ms
    "62 06 00 00 02 00 01 00"  # operations 0, 0, 1, 1, 0, 0, as distances
    "6a 07 00 8827 01 00 00 02"  # after 0, 5000, 1, 0, 0, 2 ms
    "72 25"
    "62 0807"  # Int64Value 7, in short
    "01 0161 0162"  # value of type a: b
    "00"  # nothing
    "02 0165 0166 0167 0168"  # failure of type e: f, value g, traceback h
    "03 023961"  # kept: 9a
    "04 0d 62792074686520757365722e20"  # cancelled
)

COLUMNS = Columns(
    nonce=0x01020304,
    started_us=1_000_000,
    python=11,
    outcomes=2,
    sent=1,
    places=["call\0fetch\0\0app.py:2", "sleep\0\0\0app.py:"],
    paths=["", "1.2"],
    place_of=[0, 1],
    path_of=[0, 1],
    inputs=[0xDEADBEEF, 60_000],
    event_of=[0, 0, 1, 1, 0, 0],
    event_ms=[0, 5000, 1, 0, 0, 2],
    results=[
        Value("google.protobuf.Int64Value", b"\x08\x07"),
        Value("a", b"b"),
        None,
        Failure("e", "f", b"g", b"h"),
        Kept("9a"),
        Cancelled("by the user. "),
    ],
)


def test_state_has_the_bytes_that_the_format_says() -> None:
    """Calls wait for a year with such bytes: they may not change without another version."""
    assert encode(COLUMNS, whole=True) == STATE
    assert decode(STATE) == COLUMNS


def test_piece_begins_with_its_nonce_and_has_what_is_new() -> None:
    """Version, start and Python are in the state that it extends."""
    piece = encode(Columns(nonce=5, outcomes=3, sent=2), whole=False)
    assert piece == bytes.fromhex("15 05000000 28 03 30 02")
    columns = decode(STATE + piece)
    assert (columns.nonce, columns.outcomes, columns.sent) == (5, 3, 2)
    assert columns.results == COLUMNS.results


async def _pipeline() -> int:
    return sum([await call("f", n % 9) for n in range(1000)])


def test_await_takes_about_eleven_bytes_when_its_value_is_small() -> None:
    """Of them 4 are the input's fingerprint, and 4 the value with its type."""
    run = start(_pipeline)
    suspended(run)
    suspended(run, *[ended(n, n % 9) for n in range(999)])
    assert len(run.state()) / 1000 < 11.2
    run.close()


def test_nonce_follows_from_the_record() -> None:
    """Two hosts with one record agree, and another result is another state."""
    nonces = []
    for result in (1, 1, 2):
        run = start(_pipeline)
        suspended(run)
        suspended(run, ended(0, result))
        nonces.append(run.nonce)
        run.close()
    assert nonces[0] == nonces[1] != nonces[2]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (b"", "the state is none that this SDK wrote"),
        (b"\x08", "the state is damaged: "),
        (b"junk", "the state is none that this SDK wrote"),
        (b"\x08\x07", "the state has version 7 of the format, this SDK knows 1: a later version"),
        (STATE[:-1], "the state ends too early"),
        (STATE + b"\x80\x01\x01", "the state has a field 16, which nothing is known of"),
        (STATE + b"\x79", "the state has a field of wire type 1"),
        (STATE + b"\x4a\x01\x00", "the state has operations in part"),
        (STATE + b"\x6a\x01\x00", "the state has events in part"),
        (STATE + b"\x30\x09", "the state begins wrongly"),
        (STATE + b"\x78\x09", "the state begins wrongly"),
        (STATE + b"\x15\0\0\0\0", "the state begins wrongly"),
        (STATE + b"\x42\x00", "the state has a path twice"),
        (STATE + b"\x3a\x01x", "the state has a place in other than four parts"),
        (STATE.replace(b"\x4a\x02\0\1", b"\x4a\x02\0\2"), "names a place that it does not have"),
        (STATE.replace(b"\x52\x02\0\1", b"\x52\x02\0\2"), "names a path that it does not have"),
        (STATE.replace(b"\x62\x06\0\0\2", b"\x62\x06\0\0\4"), "names an operation that it does"),
        (STATE.replace(b"\x03\x029a", b"\x05\x029a"), "the state is damaged: a result of kind 5"),
        (STATE.replace(b"call\0", b"cell\0"), "an operation of a kind that nothing is known of"),
    ],
)
def test_state_that_cannot_be_read_says_why(state: bytes, message: str) -> None:
    """Whatever is wrong with it, it is `BadState`, before the body has begun."""
    with pytest.raises(BadState, match=message):
        start(_pipeline, state, kept={"9a": value(1)})
