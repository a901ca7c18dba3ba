"""Records of a log that is being opened, many at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence


class Records:
    """Records as they follow each other in the log: the payload of the n-th is `data[begins[n] :
    ends[n]]`, and its position `origin + begins[n]`.

    `data` holds other bytes too, and is not copied: a reader takes out what it needs.
    """

    __slots__ = ("begins", "data", "ends", "origin")

    def __init__(self, data: bytes, origin: int, begins: list[int], ends: list[int]) -> None:
        self.data = data
        self.origin = origin
        self.begins = begins
        self.ends = ends

    def __len__(self) -> int:
        return len(self.begins)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Position and payload of each."""
        data, origin = self.data, self.origin
        for begin, end in zip(self.begins, self.ends, strict=True):
            yield origin + begin, data[begin:end]


Visit = Callable[[Records], object]
"""Told the records of an opening log, in order; together these are all of them."""


def one_record(position: int, payload: bytes) -> Records:
    """Return a record by itself."""
    return Records(payload, position, [0], [len(payload)])


def records_of(found: Sequence[tuple[int, bytes]]) -> Records:
    """Return records that follow each other, of which payloads and positions are known."""
    data = bytearray()
    begins, ends = [], []
    origin = found[0][0]
    for position, payload in found:
        begins.append(position - origin)
        data += bytes(begins[-1] - len(data)) + payload
        ends.append(len(data))
    return Records(bytes(data), origin, begins, ends)


def each(visit: Callable[[int, bytes], object]) -> Visit:
    """Return a visitor that tells `visit` the position and the payload of every record."""

    def visit_all(records: Records) -> None:
        for position, payload in records:
            visit(position, payload)

    return visit_all
