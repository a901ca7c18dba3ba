"""Reading batches in a row: each has to follow the one before it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.txlog import Visit, frame
from dispatcher.txlog.frame import (
    DATA,
    HEADER,
    HEADER_BYTES,
    HOLE,
    LAST,
    MAGIC,
    OPEN,
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

    `visit` is called for the data records of whole batches only. The hottest loop of a start: about
    1 µs a record, so no call, no object a frame but the payload itself.
    """
    unpack, extend, size = HEADER.unpack_from, frame.checksum, len(data)
    consumed = 0
    first = _first_expected(data, base, chain)
    end, expected = first
    records: list[tuple[int, bytes]] = []
    while True:
        at, sequence, opened = consumed, expected, b""
        records.clear()
        count = 0
        batch = -1
        while True:
            body = at + HEADER_BYTES
            if body > size:
                return Stop(consumed, at, "the segment ends within a frame", short=True)
            crc, length, number, nonce, durable_upto, magic, type_, flags = unpack(data, at)
            if magic != MAGIC:
                return Stop(consumed, at, "there is no frame")
            if durable_upto != end or number != sequence or (nonce != batch and batch >= 0):
                if type_ != HOLE or durable_upto != end or number < sequence:
                    return Stop(consumed, at, "the frame does not follow the one before it")
                sequence = number
            stop = body + length
            if stop > size:
                return Stop(consumed, at, "the segment ends within a frame", short=True)
            if extend(seed, data[at + 4 : stop]) != crc:
                return Stop(consumed, at, "the checksum does not fit")
            if type_ == DATA:
                count += 1
                if visit is not None:
                    records.append((base + at, data[body:stop]))
            elif type_ == OPEN:
                opened = data[body:stop]
            elif type_ != HOLE:
                return Stop(consumed, at, f"frames of type {type_} are not known to this version")
            batch = nonce
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
        if visit is not None:
            for position, payload in records:
                visit(position, payload)


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
