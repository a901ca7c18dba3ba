"""The chunked coding: one reading only, whatever the pieces it comes in."""

from __future__ import annotations

import pytest

from dispatcher.ingress.chunked import MAX_EXTRA_BYTES, ChunkedDecoder
from dispatcher.ingress.refusals import MalformedError
from dispatcher.ingress.turn import TURN_STEPS, Turn


def decode(data: bytes, *, piece: int) -> tuple[bytes, bool, bytes]:
    """Feed `data` in pieces; the content, whether it is over, and what follows it."""
    decoder = ChunkedDecoder()
    content = b""
    for at in range(0, len(data), piece):
        arrived = data[: at + piece]
        while at < len(arrived):
            content += decoder.feed(arrived, at, Turn())
            at = decoder.end
            if decoder.done:
                return content, True, data[at:]
    return content, False, b""


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 10_000])
@pytest.mark.parametrize(
    ("data", "content"),
    [
        (b"0\r\n\r\n", b""),
        (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"0003\r\nabc\r\n000\r\n\r\n", b"abc"),
        (b"1\r\n\r\r\n2\r\n\r\n\r\n0\r\n\r\n", b"\r\r\n"),
        (b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2),
        (b'1;x;y=z;q="a;b"\r\na\r\n1 \t;x\r\nb\r\n0;last\r\n\r\n', b"ab"),
        (b"1\r\na\r\n0\r\nX: y\r\nZ:\r\n\r\n", b"a"),
        (b"1\r\na\r\n0\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\n\r\n", b"a"),
    ],
)
def test_body_is_decoded_in_pieces_of_any_size(data: bytes, content: bytes, piece: int) -> None:
    """Extensions and trailers are dropped, and what follows the body is left alone."""
    assert decode(data, piece=piece) == (content, True, b"")
    assert decode(data + b"GET / HTT", piece=piece) == (content, True, b"GET / HTT")


@pytest.mark.parametrize("piece", [1, 2, 10_000])
@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"g\r\n",
        b"-1\r\na",
        b"+1\r\na",
        b"0x1\r\na",
        b" 1\r\na",
        b"1 \r\na",
        b"1_0\r\na",
        b"1,1\r\na",
        b"1.0\r\na",
        b"\xb2\r\na",
        b"00000000000000001\r\na",
        b"FFFFFFFFFFFFFFFFF\r\na",
        b"1\na\r\n0\r\n\r\n",
        b"1\r\na\n0\r\n\r\n",
        b"1\r\nab\r\n0\r\n\r\n",
        b"1\r\naX",
        b"2\r\na\r\n0\r\n\r\n",
        b"1;\nx\r\na\r\n0\r\n\r\n",
        b"1;\rx\r\na\r\n0\r\n\r\n",
        b"1;\0\r\na\r\n0\r\n\r\n",
        b"1 x\r\na\r\n0\r\n\r\n",
        b"0\r\n\n",
        b"0\r\nX: y\n\r\n",
        b"0\r\nX : y\r\n\r\n",
        b"0\r\n X: y\r\n\r\n",
        b"0\r\nX\r\n\r\n",
        b"0\r\nX: a\rb\r\n\r\n",
        b"0\r\nX: a\0b\r\n\r\n",
        b"0\r\nGET / HTTP/1.1\r\n\r\n",
    ],
)
def test_body_is_refused_when_two_readers_could_disagree(data: bytes, piece: int) -> None:
    """Sizes are hexadecimal digits, lines end in CR LF, and data is as long as it said."""
    with pytest.raises(MalformedError):
        decode(data, piece=piece)


@pytest.mark.parametrize("piece", [100, 1_000_000])
@pytest.mark.parametrize(
    "data",
    [
        b"1;" + b"x" * (MAX_EXTRA_BYTES + 100),
        b"1;" + b"x" * (MAX_EXTRA_BYTES + 100) + b"\r\na\r\n0\r\n\r\n",
        b"1;xxxxxxxxx\r\na\r\n" * (MAX_EXTRA_BYTES // 10 + 1),
        b"0\r\nX: " + b"y" * (MAX_EXTRA_BYTES + 100),
        b"0\r\n" + b"X: yyyyyyyyyyyyyyy\r\n" * (MAX_EXTRA_BYTES // 20 + 1),
    ],
)
def test_extensions_and_trailers_are_bounded(data: bytes, piece: int) -> None:
    """They are dropped, so sending more than 16 KiB of them only costs work."""
    with pytest.raises(MalformedError):
        decode(data, piece=piece)


def test_announced_size_is_known_before_the_data() -> None:
    """So that a chunk that is too large is refused by its size line."""
    decoder = ChunkedDecoder()
    decoder.feed(b"5\r\nabcde\r\nFFFFFFFF\r\n", 0, Turn())
    assert decoder.announced == 5 + 0xFFFFFFFF
    assert not decoder.done


def test_no_more_is_decoded_than_a_turn_allows() -> None:
    """What is left begins at `end`, and the next turn goes on there."""
    chunks = b"1\r\na\r\n" * 2000
    decoder, content, at, turns = ChunkedDecoder(), b"", 0, 0
    while at < len(chunks):
        turn = Turn()
        content += decoder.feed(chunks, at, turn)
        assert decoder.end > at
        assert turn.steps == 0 or decoder.end == len(chunks)
        at, turns = decoder.end, turns + 1
    assert content == b"a" * 2000
    assert turns == -(-6000 // TURN_STEPS)


def test_bytes_of_one_chunk_need_no_turn() -> None:
    """They are handed on as they are, however many."""
    decoder, turn = ChunkedDecoder(), Turn()
    decoder.feed(b"FFFFF\r\n", 0, turn)
    turn.steps = 0
    assert decoder.feed(b"x" * 100_000, 1, turn) == b"x" * 99_999
    assert decoder.end == 100_000
