"""The segments around the active one: those kept behind it, and the spare ones ahead.

A spare is made (or recycled from a segment that is not needed any more) before it is needed, in the
background, and is durable with its name before anybody may write to it. All that touches the
directory is here.

The order of things, for a crash between any two of them: a file is filled, synced, renamed to
`*.seg`, and the directory is synced; segments are removed oldest first, with a sync of the
directory after each, so that what is left is never without one in its middle; a segment that is
recycled loses its old name for good (directory synced) before its header is changed.

Changed by one thread at a time except for `spares`, which the writer takes from: a deque's ends are
safe for that.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Final

from dispatcher.txlog.disk import Disk
from dispatcher.txlog.segment import (
    HEADER_SPACE,
    MIB,
    Header,
    Segment,
    Sizes,
    is_no_space,
    name_of,
    write_all,
)

UNFINISHED: Final = "unfinished.tmp"
_FILL_BYTES: Final = MIB
_SYNC_EVERY: Final = 4 * MIB
"""While filling, so that the writer's small syncs do not queue behind 64 MiB of zeros."""


class Supply:
    """Makes, recycles and removes the segments of one log."""

    def __init__(self, directory: Path, disk: Disk, sizes: Sizes, uid: bytes) -> None:
        self.uid = uid
        self.spares: deque[Segment] = deque()
        self.ends: dict[int, int] = {}
        """End position of every segment behind the active one, oldest first."""
        self.bytes_behind: dict[int, int] = {}
        """Size of each of them."""
        self.newest = 0
        """The highest number that a segment was given."""
        self.no_space = False
        """The last try to make a spare found the disk full."""
        self.failure: OSError | None = None
        """Something other than a full disk: the log cannot go on."""
        self._directory = directory
        self._disk = disk
        self._sizes = sizes

    @property
    def size_bytes(self) -> int:
        """Bytes of all segments but the active one."""
        spare = sum(segment.size_bytes for segment in tuple(self.spares))
        return spare + sum(tuple(self.bytes_behind.values()))

    def path(self, number: int) -> Path:
        """Return where a segment is."""
        return self._directory / name_of(number)

    def left_behind(self, segment: Segment, end: int) -> None:
        """Note that a segment, complete up to `end`, is not the active one any more."""
        self.bytes_behind[segment.number] = segment.size_bytes
        self.ends[segment.number] = end

    def tend(self, active: Segment, dead_upto: int) -> None:
        """Remove or recycle the segments that end at or before `dead_upto`; have a spare.

        Never raises: a full disk is noted in `no_space`, anything else in `failure`.
        """
        if self.failure is not None:
            return
        try:
            self._drop(active, dead_upto)
            if not self.spares:
                self._keep(self.make(self.newest + 1, self._sizes.after(active.size_bytes)))
        except OSError as error:
            self.failure = error

    def _keep(self, spare: Segment | None) -> None:
        self.no_space = spare is None
        if spare is not None:
            self.newest = spare.number
            self.spares.append(spare)

    def _drop(self, active: Segment, dead_upto: int) -> None:
        for number, end in list(self.ends.items()):
            if end > dead_upto:
                return
            # First of all, so that a reader which meets another segment's bytes finds that its own
            # is gone.
            size_bytes = self.bytes_behind.pop(number)
            del self.ends[number]
            wanted = self._sizes.after(active.size_bytes)
            if not self.spares and (self.no_space or 2 * size_bytes >= wanted):
                self._keep(self._recycle(number, size_bytes))
            else:
                self._disk.unlink(self.path(number))
                self._disk.sync_directory(self._directory)

    def _recycle(self, number: int, size_bytes: int) -> Segment | None:
        """Make a spare of a segment that is not needed any more. Its old frames stay in it: none of
        them can follow the log's end, because they name older places."""
        unfinished = self._directory / UNFINISHED
        self._disk.rename(self.path(number), unfinished)
        self._disk.sync_directory(self._directory)
        fd = self._disk.open(unfinished)
        return self._finish(Segment(self.newest + 1, size_bytes, fd, recycled=True), unfinished)

    def make(self, number: int, size_bytes: int) -> Segment | None:
        """Make a zero-filled segment, smaller than asked for where space is short.

        Returns None when there is no space for even the smallest. Raises OSError for anything else.
        """
        unfinished = self._directory / UNFINISHED
        if UNFINISHED in self._disk.names(self._directory):
            self._disk.unlink(unfinished)
        try:
            fd = self._disk.open(unfinished, create=True)
        except OSError as error:
            if is_no_space(error):
                return None
            raise
        try:
            filled = self._fill(fd, size_bytes)
        except BaseException:
            self._disk.close(fd)
            raise
        if filled < self._sizes.smallest:
            self._discard(fd, unfinished)
            return None
        return self._finish(Segment(number, filled, fd), unfinished)

    def _fill(self, fd: int, size_bytes: int) -> int:
        """Fill a new file with zeros; returns how large the segment can be, 0 if no space for
        any."""
        written = 0
        try:
            while written < size_bytes:
                zeros = bytes(min(_FILL_BYTES, size_bytes - written))
                written += self._disk.pwrite(fd, zeros, written)
                if written % _SYNC_EVERY == 0:
                    self._disk.sync(fd)
        except OSError as error:
            if not is_no_space(error):
                raise
        usable = size_bytes
        while usable > written and usable >= self._sizes.smallest:
            usable //= 2
        if usable < self._sizes.smallest:
            return 0
        if usable < written:
            self._disk.truncate(fd, usable)
        return usable

    def _discard(self, fd: int, unfinished: Path) -> None:
        self._disk.close(fd)
        self._disk.unlink(unfinished)

    def _finish(self, segment: Segment, unfinished: Path) -> Segment | None:
        """Give a file its header, and then its name."""
        header = Header(segment.number, segment.size_bytes, self.uid, segment.recycled)
        try:
            write_all(self._disk, segment.fd, header.encode().ljust(HEADER_SPACE, b"\0"), 0)
            self._disk.sync(segment.fd)
            self._disk.rename(unfinished, self.path(segment.number))
        except OSError as error:
            if is_no_space(error):
                self._discard(segment.fd, unfinished)
                return None
            self._disk.close(segment.fd)
            raise
        try:
            self._disk.sync_directory(self._directory)
        except OSError:
            self._disk.close(segment.fd)
            raise
        return segment
