"""Reading records back, one by one, from the segments of an open log.

Runs beside the writer and the housekeeper, and shares nothing with them but the files: whatever is
read is verified, and a segment that is gone afterwards was trimmed away meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from dispatcher.errors import LogCorrupt, LogTrimmed
from dispatcher.txlog import Bounds
from dispatcher.txlog.files import frame
from dispatcher.txlog.files.disk import Disk
from dispatcher.txlog.files.frame import (
    DATA,
    HEADER,
    HEADER_BYTES,
    MAGIC,
    offset_of,
    segment_of,
)
from dispatcher.txlog.files.place import lacking
from dispatcher.txlog.files.recovery import read_file
from dispatcher.txlog.files.segment import Sizes, is_passing, name_of

_GAP_BYTES: Final = 16 * 1024
"""Reading this much for nothing costs less than a call of its own."""
_RUN_BYTES: Final = 512 * 1024
_AHEAD_BYTES: Final = 4 * 1024
"""Read behind the last position of a run, whose length is not known before: most records are
smaller."""


class Kept(Protocol):
    """What the reader asks the log."""

    def bounds(self) -> Bounds:
        """Return the first position that is kept, and the end."""


class Reader:
    """Reads one log, which says what it has."""

    def __init__(
        self,
        directory: Path,
        disk: Disk,
        *,
        sizes: Sizes,
        seed: int,
        log: Kept,
    ) -> None:
        self._directory = directory
        self._disk = disk
        self._sizes = sizes
        self._seed = seed
        self._log = log

    def read(self, positions: Sequence[int]) -> list[bytes]:
        """Return the payloads at these positions, in the order asked for.

        Raises LogCorrupt when one is not the position of an intact record, LogTrimmed, LogBusy.
        """
        self._check_kept(positions)
        payloads: dict[int, bytes] = {}
        try:
            for run in runs(sorted(set(positions))):
                self._read_run(run, payloads)
        except LogCorrupt:
            self._check_kept(positions)
            raise
        except (OSError, MemoryError) as error:
            if isinstance(error, MemoryError) or is_passing(error):
                raise lacking(self._directory, error) from error
            self._check_kept(positions)
            path = error.filename or self._directory
            raise LogCorrupt(str(path), 0, f"it cannot be opened: {error.strerror}") from error
        # Its segment may have become another one while we read.
        self._check_kept(positions)
        return [payloads[position] for position in positions]

    def _read_run(self, run: Sequence[int], payloads: dict[int, bytes]) -> None:
        """Read neighbours in one go. On the way of every message of a backlog: no call that is not
        needed."""
        number, start = segment_of(run[0]), offset_of(run[0])
        data = self._segment(number, offset_of(run[-1]) - start + _AHEAD_BYTES, start)
        unpack, checksum, seed, size = HEADER.unpack_from, frame.checksum, self._seed, len(data)
        for position in run:
            at = position - run[0]
            if at + HEADER_BYTES > size:
                raise self._no_record(position)
            crc, length, _, _, _, magic, type_, _ = unpack(data, at)
            if magic != MAGIC or length > self._sizes.batch:
                raise self._no_record(position)
            whole = data[at + 4 : at + HEADER_BYTES + length]
            if len(whole) < HEADER_BYTES - 4 + length:
                whole = self._segment(number, HEADER_BYTES + length, start + at)[4:]
            if checksum(seed, whole) != crc or type_ != DATA:
                raise self._no_record(position)
            payloads[position] = whole[HEADER_BYTES - 4 :]

    def _no_record(self, position: int) -> LogCorrupt:
        path = str(self._directory / name_of(segment_of(position)))
        return LogCorrupt(path, offset_of(position), "there is no intact record here")

    def _segment(self, number: int, size: int, offset: int) -> bytes:
        return read_file(self._disk, self._directory / name_of(number), size, offset)

    def _check_kept(self, positions: Sequence[int]) -> None:
        first = self._log.bounds().first
        if positions and min(positions) < first:
            lost = min(positions)
            raise LogTrimmed(f"{self._directory}: position {lost:#x} was trimmed away")


def runs(positions: Sequence[int]) -> list[list[int]]:
    """Group sorted positions that are near enough to be read in one go."""
    found: list[list[int]] = []
    for position in positions:
        run = found[-1] if found else None
        if (
            run is not None
            and segment_of(run[0]) == segment_of(position)
            and position - run[-1] <= _GAP_BYTES
            and position - run[0] <= _RUN_BYTES
        ):
            run.append(position)
        else:
            found.append([position])
    return found
