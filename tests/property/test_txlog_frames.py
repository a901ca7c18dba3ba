"""Any records become frames and records again, and nothing else ever does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.txlog import each
from dispatcher.txlog.files.chain import Chain, read_batches
from dispatcher.txlog.files.frame import encode_batch, find_header, position_of
from dispatcher.txlog.files.reader import runs

SEED = 0x1234
START = position_of(3, 4096)
BATCHES = st.lists(st.lists(st.binary(max_size=60), min_size=1, max_size=6), max_size=6)


def encode(batches: list[list[bytes]]) -> tuple[bytes, list[tuple[int, bytes]], list[int]]:
    """Return the bytes of these batches, their records, and where each batch ends."""
    data, end, sequence = b"", position_of(2, 5000), 9
    records: list[tuple[int, bytes]] = []
    ends = []
    for number, batch in enumerate(batches):
        start = START + len(data)
        more, positions = encode_batch(
            batch, start=start, sequence=sequence, batch=number, durable_upto=end, seed=SEED
        )
        data += more
        end = START + len(data)
        sequence += len(batch)
        records += zip(positions, batch, strict=True)
        ends.append(end)
    return data, records, ends


def decode(data: bytes) -> tuple[list[tuple[int, bytes]], int]:
    """Return the records, and the bytes that were read."""
    visited: list[tuple[int, bytes]] = []
    stop = read_batches(data, START, Chain(), SEED, each(lambda *record: visited.append(record)))
    return visited, stop.consumed


@given(BATCHES, st.binary(max_size=40))
def test_records_are_read_as_they_were_written(batches: list[list[bytes]], rest: bytes) -> None:
    """Whatever follows them."""
    data, records, _ = encode(batches)
    assert decode(data + rest) == (records, len(data))


@given(BATCHES, st.integers(min_value=0))
def test_cut_bytes_give_whole_batches(batches: list[list[bytes]], cut: int) -> None:
    """Cut anywhere: the batches before the cut, and nothing of the one it is in."""
    data, records, ends = encode(batches)
    size = cut % (len(data) + 1)
    whole = max((end for end in ends if end <= START + size), default=START)
    assert decode(data[:size]) == ([r for r in records if r[0] < whole], whole - START)


@given(BATCHES, st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_a_damaged_byte_gives_the_batches_before_it(
    batches: list[list[bytes]], at: int, mask: int
) -> None:
    """Damage is never read, wherever it is."""
    data, records, ends = encode(batches)
    if not data:
        return
    at %= len(data)
    damaged = data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]
    whole = max((end for end in ends if end <= START + at), default=START)
    assert decode(damaged) == ([r for r in records if r[0] < whole], whole - START)


@given(BATCHES)
def test_every_frame_is_found_by_searching(batches: list[list[bytes]]) -> None:
    """After damage the next frames are found without knowing where they start."""
    data, records, _ = encode(batches)
    found = set()
    for segment in (2, 3):
        at = find_header(data, segment, 0)
        while at >= 0:
            found.add(START + at)
            at = find_header(data, segment, at + 1)
    assert {position for position, _ in records} <= found


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(4096, 2_000_000)), max_size=40))
def test_neighbours_share_a_read(places: list[tuple[int, int]]) -> None:
    """Each position is in exactly one run, in order; a run is short and in one segment."""
    positions = sorted({position_of(*place) for place in places})
    found = runs(positions)
    assert [position for run in found for position in run] == positions
    for run in found:
        assert run[-1] >> 32 == run[0] >> 32
        assert run[-1] - run[0] <= 512 * 1024
