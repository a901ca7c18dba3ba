"""A copy of the stream's batches on this machine, for reading single records: without it each one
costs a request to a server, and a message of half a megabyte.

Files that have no name: nothing of them is there after a crash, nothing is ever synced, and the
page cache decides what is in memory. Nobody trusts what is read from them: a record that is not
intact, or not there, is read from the stream.

All of it belongs to one thread. Pieces of a fixed size are given back one by one, as the stream is
trimmed.
"""

from __future__ import annotations

import errno
import os
import tempfile
from array import array
from bisect import bisect_right
from pathlib import Path
from typing import Final

from dispatcher.txlog.nats.batch import (
    RECORD_HEADER_BYTES,
    offset_of,
    record_end,
    record_in,
    sequence_of,
)

PIECE_BYTES: Final = 64 << 20
_AHEAD_BYTES: Final = 4096
"""Read with a record's header, whose length is not known before: most records are smaller."""
_NOWHERE: Final = 0xFFFFFFFF


class _Piece:
    """One file: where in it messages from `first` on begin, and `size_bytes` of it."""

    __slots__ = ("begins", "fd", "first", "size_bytes")

    def __init__(self, fd: int, first: int) -> None:
        self.fd = fd
        self.first = first
        self.begins = array("I")
        self.size_bytes = 0


class Mirror:
    """Copies of messages, by number. `trouble` is the last reason why one could not be kept."""

    def __init__(self, directory: Path, *, piece_bytes: int = PIECE_BYTES) -> None:
        self.trouble: OSError | None = None
        self._directory = directory
        self._piece_bytes = piece_bytes
        self._pieces: list[_Piece] = []

    def put(self, sequence: int, data: bytes) -> None:
        """Keep a copy of a message; numbers grow. Where it cannot be kept it is not there."""
        try:
            piece = self._piece_for(sequence, len(data))
            os.pwrite(piece.fd, data, piece.size_bytes)
        except OSError as error:
            self.trouble = error
            return
        missing = sequence - piece.first - len(piece.begins)
        piece.begins.extend([_NOWHERE] * missing)
        piece.begins.append(piece.size_bytes)
        piece.size_bytes += len(data)

    def _piece_for(self, sequence: int, size: int) -> _Piece:
        last = self._pieces[-1] if self._pieces else None
        if last is None or last.size_bytes + size > self._piece_bytes:
            last = _Piece(_nameless(self._directory), sequence)
            self._pieces.append(last)
        return last

    def records(self, positions: list[int]) -> list[bytes | None]:
        """Return the payloads at these positions; None: it is not here, or not intact."""
        return [self._record(position) for position in positions]

    def _record(self, position: int) -> bytes | None:
        place = self._place(sequence_of(position))
        if place is None:
            return None
        fd, begin, _ = place
        offset = offset_of(position)
        try:
            data = os.pread(fd, RECORD_HEADER_BYTES + _AHEAD_BYTES, begin + offset)
            end = record_end(data, 0)
            if end is not None and end > len(data) and end <= self._piece_bytes:
                data = os.pread(fd, end, begin + offset)
        except OSError as error:
            self.trouble = error
            return None
        return record_in(data, 0, offset)

    def message(self, sequence: int) -> bytes | None:
        """Return a whole message, which may be another one's bytes or damaged; None: it is not
        here."""
        place = self._place(sequence)
        if place is None:
            return None
        fd, begin, end = place
        try:
            return os.pread(fd, end - begin, begin)
        except OSError as error:
            self.trouble = error
            return None

    def _place(self, sequence: int) -> tuple[int, int, int] | None:
        """File, begin and end of a message."""
        index = bisect_right(self._pieces, sequence, key=lambda piece: piece.first) - 1
        if index < 0:
            return None
        piece = self._pieces[index]
        at = sequence - piece.first
        if at >= len(piece.begins) or piece.begins[at] == _NOWHERE:
            return None
        for later in range(at + 1, len(piece.begins)):
            if piece.begins[later] != _NOWHERE:
                return piece.fd, piece.begins[at], piece.begins[later]
        return piece.fd, piece.begins[at], piece.size_bytes

    def drop_before(self, sequence: int) -> None:
        """Give back the files of which no message from here on is needed."""
        while len(self._pieces) > 1 and self._pieces[1].first <= sequence:
            os.close(self._pieces.pop(0).fd)

    def close(self) -> None:
        """Give all of them back. Idempotent."""
        pieces, self._pieces = self._pieces, []
        for piece in pieces:
            os.close(piece.fd)


def _nameless(directory: Path) -> int:
    """Open a new file without a name. Raises OSError."""
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in {errno.EOPNOTSUPP, errno.EISDIR}:
            raise
    fd, name = tempfile.mkstemp(prefix="mirror-", dir=directory)  # file systems without O_TMPFILE
    os.unlink(name)
    return fd
