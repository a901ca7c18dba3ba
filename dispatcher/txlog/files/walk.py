"""Reading a log from its beginning while it is written: what it held at one moment, in order.

Shares nothing with the writer but the files, like `reader`, and verifies what it reads as a start
does: each batch has to follow the one before it. Nothing is kept for it: where the beginning is
trimmed away under a walk, the walk says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol

from dispatcher.errors import LogCorrupt, LogTrimmed
from dispatcher.txlog import Bounds, Records
from dispatcher.txlog.files.chain import Chain, read_batches
from dispatcher.txlog.files.disk import Disk
from dispatcher.txlog.files.frame import offset_of, position_of, segment_of
from dispatcher.txlog.files.place import lacking
from dispatcher.txlog.files.recovery import read_file
from dispatcher.txlog.files.segment import HEADER_SPACE, is_passing, name_of

PORTION_BYTES: Final = 256 * 1024
"""What is read at once: a millisecond or two, so that single records are read in between."""


class Walked(Protocol):
    """What a walk asks the log."""

    def bounds(self) -> Bounds:
        """Return the first position that is kept, and the end."""

    def end_of(self, number: int) -> int | None:
        """Return where a segment ends that the writer has left; None: there is no such one."""


class FileWalk:
    """A walk through one log, up to the position `upto`, where a batch ends."""

    def __init__(self, directory: Path, disk: Disk, *, seed: int, upto: int, log: Walked) -> None:
        self._directory = directory
        self._disk = disk
        self._seed = seed
        self._log = log
        self._upto = upto
        self._chain = Chain()
        self._at = log.bounds().first

    def next(self) -> Records | None:
        """Return the next records; None: there are no more. Raises LogCorrupt, LogTrimmed, and
        LogBusy: then the same ones can be asked for again."""
        found: list[Records] = []
        size = PORTION_BYTES
        while not found and self._at < self._upto:
            left = self._end() - self._at
            if left <= 0:
                self._at = position_of(segment_of(self._at) + 1, HEADER_SPACE)
                continue
            data = self._read(min(size, left))
            stop = read_batches(data, self._at, self._chain, self._seed, found.append)
            if stop.consumed:
                self._at += stop.consumed
            elif stop.short and size < left:
                size *= 2  # a batch is larger than that
            else:
                raise LogCorrupt(self._path(), offset_of(self._at) + stop.at, stop.why)
        return found[0] if found else None

    def _end(self) -> int:
        """Where the segment that is being read ends."""
        number = segment_of(self._at)
        if number == segment_of(self._upto):
            return self._upto
        end = self._log.end_of(number)
        if end is None:
            raise self._trimmed()
        return end

    def _read(self, size: int) -> bytes:
        try:
            data = read_file(self._disk, Path(self._path()), size, offset_of(self._at))
        except (OSError, MemoryError) as error:
            if isinstance(error, MemoryError) or is_passing(error):
                raise lacking(self._directory, error) from error
            self._check_kept()
            reason = f"it cannot be opened: {error.strerror}"
            raise LogCorrupt(self._path(), 0, reason) from error
        # It may have become another segment while it was read.
        self._check_kept()
        return data

    def _check_kept(self) -> None:
        if self._at < self._log.bounds().first:
            raise self._trimmed()

    def _trimmed(self) -> LogTrimmed:
        return LogTrimmed(f"{self._directory}: position {self._at:#x} was trimmed away")

    def _path(self) -> str:
        return str(self._directory / name_of(segment_of(self._at)))
