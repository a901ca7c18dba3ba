"""Reading batches in a row: each has to follow the one before it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.txlog import Records, Visit
from dispatcher.txlog.files import frame
from dispatcher.txlog.files.frame import (
    CHECKED_AT,
    DATA,
    FIRST_FIELDS,
    FLAGS_AT,
    HEADER,
    HEADER_BYTES,
    HOLE,
    LAST,
    MAGIC,
    OPEN,
    SAME_AT,
    SEQUENCE_AT,
    decode_header,
    read_open_payload,
    segment_of,
)


@dataclass(slots=True)
class Chain:
    """How far a log has been read, and with it what the next frame has to say.

    `end` is the position after the last whole batch and `sequence` that of the next frame; both are
    None until a batch was read. `last_batch` is where the last whole batch starts. `epoch` and
    `owner` are the highest that opened the log.
    """

    end: int | None = None
    sequence: int | None = None
    last_batch: int | None = None
    records: int = 0
    epoch: int = -1
    owner: str = ""

    def opened(self, payload: bytes) -> None:
        """Note an open frame."""
        owner, epoch = read_open_payload(payload)
        if epoch >= self.epoch:
            self.owner, self.epoch = owner, epoch


@dataclass(frozen=True, slots=True)
class Stop:
    """Where reading batches ended: `consumed` bytes were whole batches, the frame at `at` is not
    believed for the reason `why`. `short` is true when more bytes could make it whole."""

    consumed: int
    at: int
    why: str
    short: bool = False


def read_batches(data: bytes, base: int, chain: Chain, seed: int, visit: Visit | None) -> Stop:
    """Read whole batches from the start of `data`, which stands at position `base`, moving `chain`
    on.

    `visit` is told the data records of whole batches only.
    """
    begins: list[int] = []
    ends: list[int] = []
    before = chain.records
    stop = _follow(data, base, chain, seed, begins, ends)
    whole = chain.records - before
    if visit is not None and whole:
        del begins[whole:], ends[whole:]
        visit(Records(data, base - HEADER_BYTES, begins, ends))
    return stop


def _follow(
    data: bytes, base: int, chain: Chain, seed: int, begins: list[int], ends: list[int]
) -> Stop:
    """Do what `read_batches` does, and note where the payloads of data records begin and end, those
    of the batch that is not whole too.

    The hottest loop of a start: about 1 µs a record, so no call and no object a frame but what the
    checksum is over. The headers of a batch differ in few bytes: all fields are taken apart only
    where the other bytes are not as in the frame before, or cannot be (a carry from the lowest byte
    of the sequence number).
    """
    unpack, unpack_first, extend = HEADER.unpack_from, FIRST_FIELDS.unpack_from, frame.checksum
    size = len(data)
    consumed = 0
    end, expected = _first_expected(data, base, chain)
    while True:
        at, sequence, batch = consumed, expected, -1
        type_, count, opened, same = 0, 0, b"", b""
        while True:
            body = at + HEADER_BYTES
            if body > size:
                return Stop(consumed, at, "the segment ends within a frame", short=True)
            low = sequence & 0xFF
            kept = data[at + SAME_AT : at + FLAGS_AT] == same
            if not kept or not low or data[at + SEQUENCE_AT] != low:
                _, _, number, nonce, durable_upto, magic, type_, _ = unpack(data, at)
                if magic != MAGIC:
                    return Stop(consumed, at, "there is no frame")
                if durable_upto != end or number != sequence or (nonce != batch and batch >= 0):
                    if type_ != HOLE or durable_upto != end or number < sequence:
                        return Stop(consumed, at, "the frame does not follow the one before it")
                    sequence = number
                batch = nonce
                same = data[at + SAME_AT : at + FLAGS_AT]
            first: tuple[int, int] = unpack_first(data, at)
            crc, length = first
            stop = body + length
            if stop > size:
                return Stop(consumed, at, "the segment ends within a frame", short=True)
            if extend(seed, data[at + CHECKED_AT : stop]) != crc:
                return Stop(consumed, at, "the checksum does not fit")
            if type_ == DATA:
                count += 1
                begins.append(body)
                ends.append(stop)
            elif type_ == OPEN:
                opened = data[body:stop]
            elif type_ != HOLE:
                return Stop(consumed, at, f"frames of type {type_} are not known to this version")
            flags = data[at + FLAGS_AT]
            sequence += 1
            at = stop
            if flags & LAST:
                break
        chain.last_batch = base + consumed
        consumed = at
        chain.end = end = base + at
        chain.sequence = expected = sequence
        chain.records += count
        if opened:
            chain.opened(opened)


def _first_expected(data: bytes, base: int, chain: Chain) -> tuple[int, int]:
    """Return the (durable_upto, sequence) that the first frame in `data` must have.

    Where nothing was read before (the segments before were trimmed away), the frame may say it
    itself, if it names a place in the segment before its own: what is left over in a recycled
    segment names an older one.
    """
    if chain.end is not None and chain.sequence is not None:
        return chain.end, chain.sequence
    header = decode_header(data, 0)
    if header is None or segment_of(header.durable_upto) != segment_of(base) - 1:
        return -1, -1
    return header.durable_upto, header.sequence
