"""The bytes of the transaction log are what FORMAT.md says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import dispatcher.txlog
from dispatcher.txlog import RECORD_OVERHEAD_BYTES, each
from dispatcher.txlog.files.chain import Chain, read_batches
from dispatcher.txlog.files.frame import (
    DATA,
    HEADER_BYTES,
    LAST,
    MAGIC,
    OPEN,
    Frame,
    encode_batch,
    encode_frame,
    open_payload,
    position_of,
    read_open_payload,
    seed_of,
)
from dispatcher.txlog.files.segment import HEADER_BYTES as SEGMENT_HEADER_BYTES
from dispatcher.txlog.files.segment import Header, Sizes, name_of, number_in
from dispatcher.txlog.files.span import Span, decode_span

FORMAT = (Path(dispatcher.txlog.__file__).parent / "FORMAT.md").read_text(encoding="utf-8")
UID = b"example!"
START = position_of(1, 4096)


def example(name: str) -> bytes:
    """Return the bytes of a block of the documentation's example."""
    match = re.search(rf"^```{name}\n(.*?)^```", FORMAT, re.MULTILINE | re.DOTALL)
    assert match is not None
    return bytes.fromhex(match[1])


def two_batches() -> tuple[bytes, bytes, list[int]]:
    seed = seed_of(UID)
    opening, _ = encode_batch(
        [open_payload("node", 1)],
        type_=OPEN,
        start=START,
        sequence=1,
        batch=7,
        durable_upto=0,
        seed=seed,
    )
    end = START + len(opening)
    data, positions = encode_batch(
        [b"hello", b""], start=end, sequence=2, batch=8, durable_upto=end, seed=seed
    )
    return opening, data, positions


def test_header_is_as_documented() -> None:
    """The example's header is what the code writes, and is read back."""
    header = Header(1, 1 << 20, UID)
    assert header.encode() == example("header")
    assert Header.decode(example("header")) == header
    assert len(header.encode()) == SEGMENT_HEADER_BYTES == 40


def test_span_is_as_documented() -> None:
    """The example's span is what the code writes, and is read back."""
    span = Span(UID, 1, 1, generation=2)
    assert span.encode() == example("span")
    assert decode_span(example("span")) == span
    assert span.offset == 0


def test_header_of_version_1_differs_in_nothing_else() -> None:
    """The same fields in the same places."""
    old, new = (Header(1, 1 << 20, UID, version=version).encode() for version in (1, 2))
    assert [at for at in range(36) if old[at] != new[at]] == [8]


def test_frames_are_as_documented() -> None:
    """The example's frames are what the code writes, at the positions that are given there."""
    opening, data, positions = two_batches()
    assert opening == example("open")
    assert data == example("data")
    assert [f"{position:#x}" in FORMAT for position in positions] == [True, True]
    assert f"{seed_of(UID):#x}" in FORMAT


def test_example_is_read_back() -> None:
    """Reading the documented bytes gives the records, and who opened the log."""
    visited: list[tuple[int, bytes]] = []
    chain = Chain()
    opening, data, positions = two_batches()
    stop = read_batches(
        opening + data + bytes(100), START, chain, seed_of(UID), each(lambda *r: visited.append(r))
    )
    assert visited == list(zip(positions, [b"hello", b""], strict=True))
    assert (chain.epoch, chain.owner, chain.sequence, chain.records) == (1, "node", 4, 2)
    assert chain.end == START + stop.consumed == START + len(opening + data)
    assert stop.why == "there is no frame"


@pytest.mark.parametrize("cut", range(1, 70))
def test_batch_counts_for_nothing_when_it_is_cut(cut: int) -> None:
    """All or nothing: without its last byte no record of a batch is read."""
    visited: list[bytes] = []
    opening, data, _ = two_batches()
    kept = (opening + data)[:-cut]
    chain = Chain()
    read_batches(kept, START, chain, seed_of(UID), each(lambda _, payload: visited.append(payload)))
    assert visited == []
    assert chain.end == START + len(opening)


def _frames(numbers: list[int]) -> bytes:
    """One batch whose frames have these sequence numbers, and checksums that fit."""
    frames = []
    for left, number in enumerate(numbers, 1 - len(numbers)):
        flags = 0 if left else LAST
        fields = Frame(0, 0, 0, number, 7, START, MAGIC, DATA, flags)
        frames.append(encode_frame(b"record", fields, seed_of(UID)))
    return b"".join(frames)


@pytest.mark.parametrize("first", [1, 254, 0xFFFE, (1 << 56) - 2])
def test_frames_follow_each_other_beyond_a_byte_of_the_sequence_number(first: int) -> None:
    """All 64 bits of it count in every frame, wherever it is in its batch."""
    right = [first, first + 1, first + 2, first + 3]
    chain = Chain(end=START, sequence=first)
    assert read_batches(_frames(right), START, chain, seed_of(UID), None).consumed
    assert (chain.sequence, chain.records) == (first + 4, 4)
    for at in range(4):
        for bit in range(64):
            wrong = [*right]
            wrong[at] ^= 1 << bit
            chain = Chain(end=START, sequence=first)
            stop = read_batches(_frames(wrong), START, chain, seed_of(UID), None)
            assert (stop.consumed, stop.why) == (0, "the frame does not follow the one before it")
            assert stop.at == at * (HEADER_BYTES + len(b"record"))


def test_frames_of_another_log_are_not_read() -> None:
    """The seed keeps out a segment of another log, and frames inside a message."""
    opening, data, _ = two_batches()
    chain = Chain()
    stop = read_batches(opening + data, START, chain, seed_of(b"another!"), None)
    assert stop.consumed == 0
    assert stop.why == "the checksum does not fit"


def test_frames_of_an_unknown_type_are_not_skipped() -> None:
    """A later version's frame stops the reader: to skip it could lose what it says."""
    data, _ = encode_batch(
        [b"?"], type_=9, start=START, sequence=1, batch=1, durable_upto=0, seed=seed_of(UID)
    )
    stop = read_batches(data, START, Chain(), seed_of(UID), None)
    assert stop.why == "frames of type 9 are not known to this version"


@pytest.mark.parametrize("at", range(40))
def test_header_is_refused_when_a_byte_is_damaged(at: int) -> None:
    """Each of its 40 bytes counts."""
    data = bytearray(Header(7, 1 << 20, UID, recycled=True).encode())
    data[at] ^= 0x10
    assert isinstance(Header.decode(bytes(data)), str)


def test_header_is_refused_when_it_is_short() -> None:
    """An empty file is no segment."""
    assert isinstance(Header.decode(b""), str)


def test_open_payload_keeps_owner_and_epoch() -> None:
    """Owners may have any letters."""
    assert read_open_payload(open_payload("Knoten ü", 2**40)) == ("Knoten ü", 2**40)


def test_names_are_numbers_in_hex() -> None:
    """Other files in the directory are no segments."""
    assert name_of(0x1F) == "0000001f.seg"
    assert number_in("0000001f.seg") == 0x1F
    for other in ("lock", "1f.seg", "0000001F.seg", "0000001f.seg.bak", "unfinished.tmp"):
        assert number_in(other) is None


def test_sizes_double_up_to_the_largest() -> None:
    """Small logs are small, and large ones do not make a file a second."""
    sizes = Sizes()
    size, seen = sizes.smallest, []
    for _ in range(8):
        seen.append(size >> 20)
        size = sizes.after(size)
    assert seen == [1, 2, 4, 8, 16, 32, 64, 64]
    with pytest.raises(ValueError, match="fit"):
        Sizes(smallest=4096)


def test_record_overhead_is_the_header() -> None:
    """A record takes its payload and 32 bytes."""
    data, _ = encode_batch([b"abc"], start=START, sequence=1, batch=1, durable_upto=0, seed=0)
    assert len(data) == 3 + HEADER_BYTES == 35
    assert HEADER_BYTES == RECORD_OVERHEAD_BYTES
    assert data[30] == DATA
