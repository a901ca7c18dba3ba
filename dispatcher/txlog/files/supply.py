"""The segments around the active one: those kept behind it, and the spare ones ahead.

A spare is made (or recycled from a segment that is not needed any more) before it is needed, in the
background, and is durable with its name before anybody may write to it. All that touches the
directory while the log is open is here; `recovery` and `inspect` do so before and without that.

The order of things, for a crash between any two of them: a file is filled, synced, renamed to
`*.seg`, the directory is synced, and the span (see `span`) says that it has to be there; only then
may it be written to. Before segments are removed the span says that they need not be there any
more; a segment that is recycled loses its old name for good (directory synced) before its header is
changed.

Space, descriptors and memory may be lacking at any call, and that passes: each step is such that it
can be done again from where it stopped, by the next `tend`. What needs a descriptor takes it before
anything is changed, and the directory's is held from the beginning, so that a sync that is made is
one that can fail for one reason only: the disk. A sync that fails is final.

Space is kept back, in the active segment and in the spares, for urgent records: those that settle
what is stored, and so make space. It is a part of the whole log (`kept_back`), because all of the
log may have to be settled before its oldest segment is free, and it lies in segments that were made
before the disk was full: the last one may be as small as the disk had room for.

Changed by one thread at a time except for `spares`, which the writer takes from: a deque's ends are
safe for that.
"""

from __future__ import annotations

import contextlib
import errno
from collections import deque
from pathlib import Path
from typing import Final

from dispatcher.txlog.files.disk import Disk
from dispatcher.txlog.files.segment import (
    HEADER_SPACE,
    MIB,
    Header,
    Segment,
    Sizes,
    is_no_space,
    is_passing,
    name_of,
    write_all,
)
from dispatcher.txlog.files.span import SPAN, Span

UNFINISHED: Final = "unfinished.tmp"
_KEPT_BACK: Final = 16
"""One byte of so many is kept back. The smallest message takes some 110 bytes, its part of a
record that settles many a few."""
_ZEROS: Final = bytes(MIB)
"""What segments are filled with. Here once, for there may be no memory for it when it is needed."""
_SYNC_EVERY: Final = 4 * MIB
"""While filling, so that the writer's small syncs do not queue behind 64 MiB of zeros."""


class Supply:
    """Makes, recycles and removes the segments of one log."""

    def __init__(self, directory: Path, disk: Disk, sizes: Sizes, span: Span) -> None:
        """The log's span is on the disk, and says what `span` says. Raises OSError."""
        self.spares: deque[Segment] = deque()
        self.ends: dict[int, int] = {}
        """End position of every segment behind the active one, oldest first."""
        self.bytes_behind: dict[int, int] = {}
        """Size of each of them."""
        self.leaving: dict[int, int] = {}
        """Sizes of the segments that are not needed any more and still there, oldest first."""
        self.pinned = 0
        """Segments up to this number are not removed or recycled, because they are being copied
        (see `cut`); 0: there are none. Taken back when the disk is full and they take space."""
        self.newest = 0
        """The highest number that a segment was given."""
        self.lack: OSError | None = None
        """What the last `tend` lacked: space, descriptors or memory."""
        self.failure: OSError | None = None
        """Something that does not pass: the log cannot go on."""
        self._directory = directory
        self._unfinished = directory / UNFINISHED
        self._disk = disk
        self._sizes = sizes
        self.kept_back = min(MIB, sizes.smallest // 4)
        """Bytes ahead of the log's end that only urgent records may take."""
        self._span = span
        self._span_fd = disk.open(directory / SPAN)
        try:
            self._directory_fd = disk.open_directory(directory)
        except BaseException:
            disk.close(self._span_fd)
            raise

    def close(self) -> None:
        """Close the descriptors of the spares and of the directory. Once."""
        for segment in self.spares:
            self._disk.close(segment.fd)
        self._disk.close(self._directory_fd)
        self._disk.close(self._span_fd)

    @property
    def no_space(self) -> bool:
        """The last `tend` found the disk full."""
        return self.lack is not None and is_no_space(self.lack)

    @property
    def size_bytes(self) -> int:
        """Bytes of all segments but the active one."""
        spare = sum(segment.size_bytes for segment in tuple(self.spares))
        return spare + sum((*self.bytes_behind.values(), *self.leaving.values()))

    @property
    def is_short(self) -> bool:
        """The spares are less than what is kept back, and one batch."""
        return self._spare_bytes < self.kept_back + self._sizes.batch + HEADER_SPACE

    @property
    def _spare_bytes(self) -> int:
        return sum(spare.size_bytes for spare in tuple(self.spares))

    def keep_back(self, active: Segment) -> None:
        """Choose how much is kept back, after segments were made or removed."""
        part = (self.size_bytes + active.size_bytes) // _KEPT_BACK
        self.kept_back = max(min(MIB, active.size_bytes // 4), min(part, self._sizes.largest // 4))

    @property
    def has_leftovers(self) -> bool:
        """There are segments that can be removed."""
        return any(number > self.pinned for number in tuple(self.leaving))

    @property
    def uid(self) -> bytes:
        """The log's."""
        return self._span.uid

    def path(self, number: int) -> Path:
        """Return where a segment is."""
        return self._directory / name_of(number)

    def sync_directory(self) -> None:
        """Put the names of the segments on stable storage. Raises OSError, which is final."""
        try:
            self._disk.sync_directory(self._directory_fd)
        except OSError as error:
            self.failure = error
            raise

    def confirm(self) -> None:
        """Put on stable storage what a start has found: the names and the span may be readable
        only because the kernel has them in memory, after a sync that failed or was never made.
        Before anything is removed, or written to, that counts on them. Raises OSError.

        The span is written with the same bytes at the same place, so that a torn write changes
        nothing.
        """
        self.sync_directory()
        self._note(self._span)

    def note_newest(self, number: int) -> None:
        """Put on stable storage that the segments up to this one have to be there. Raises
        OSError."""
        if number > self._span.newest:
            self._note(self._span.after(newest=number))

    def _note(self, span: Span) -> None:
        """The value before stays readable until this one is whole. A write that failed can be made
        again, a sync is final as any other."""
        write_all(self._disk, self._span_fd, span.encode(), span.offset)
        try:
            self._disk.sync(self._span_fd)
        except OSError as error:
            self.failure = error
            raise
        self._span = span

    def left_behind(self, segment: Segment, end: int) -> None:
        """Note that a segment, complete up to `end`, is not the active one any more."""
        self.bytes_behind[segment.number] = segment.size_bytes
        self.ends[segment.number] = end

    def tend(self, active: Segment, dead_upto: int) -> None:
        """Remove or recycle the segments that end at or before `dead_upto`; have spares.

        Never raises: what passes is noted in `lack`, anything else in `failure`.
        """
        if self.failure is not None:
            return
        try:
            self.keep_back(active)
            self._drop(active, dead_upto)
            self.keep_back(active)
            while self.is_short:
                self._keep(self.make(self.newest + 1, self._wanted(active)))
                self.keep_back(active)
            self.lack = None
        except MemoryError as error:
            self.lack = OSError(errno.ENOMEM, str(error) or "no memory")
        except OSError as error:
            if is_passing(error):
                self.lack = error  # where it was a sync that failed, `failure` is set already
                if self.no_space and self.leaving:
                    self.pinned = 0
            else:
                self.failure = error

    def _wanted(self, active: Segment) -> int:
        """The size wanted for the next segment."""
        *_, last = active, *tuple(self.spares)  # the writer may be taking one
        return self._sizes.after(last.size_bytes)

    def _keep(self, spare: Segment) -> None:
        self.newest = spare.number
        self.spares.append(spare)

    def _drop(self, active: Segment, dead_upto: int) -> None:
        for number, end in list(self.ends.items()):
            if end > dead_upto:
                break
            # Before their files go, so that a reader which meets another segment's bytes finds that
            # its own is gone.
            self.leaving[number] = self.bytes_behind.pop(number)
            del self.ends[number]
        if self.leaving and self._span.first <= max(self.leaving):
            self._note(self._span.after(first=max(self.leaving) + 1))
        for number, size_bytes in list(self.leaving.items()):
            if number <= self.pinned:
                continue
            suits = self.no_space or 2 * size_bytes >= self._wanted(active)
            if suits and self.is_short:
                self._keep(self._recycle(number, size_bytes))
            else:
                self._disk.unlink(self.path(number))
                del self.leaving[number]
                self.sync_directory()

    def _recycle(self, number: int, size_bytes: int) -> Segment:
        """Make a spare of a segment that is not needed any more. Its old frames stay in it: none of
        them can follow the log's end, because they name older places."""
        fd = self._disk.open(self.path(number))
        try:
            self._disk.rename(self.path(number), self._unfinished)
            del self.leaving[number]
            self.sync_directory()
        except BaseException:
            self._disk.close(fd)
            raise
        return self._finish(Segment(self.newest + 1, size_bytes, fd, recycled=True))

    def make(self, number: int, size_bytes: int) -> Segment:
        """Make a zero-filled segment, smaller than asked for where space is short.

        Raises OSError; `failure` is set when that is final whatever its number.
        """
        with contextlib.suppress(FileNotFoundError):
            self._disk.unlink(self._unfinished)
        fd = self._disk.open(self._unfinished, create=True)
        try:
            usable = self._fill(fd, size_bytes)
        except BaseException:
            self._discard(fd)
            raise
        return self._finish(Segment(number, usable, fd))

    def _fill(self, fd: int, size_bytes: int) -> int:
        """Fill a new file with zeros; returns how large the segment can be. Raises OSError when
        there is no space for any."""
        written = 0
        while written < size_bytes:
            left = size_bytes - written
            try:
                written += self._disk.pwrite(fd, _ZEROS if left >= MIB else bytes(left), written)
            except OSError as error:
                usable = size_bytes
                while usable > written:
                    usable //= 2
                if usable < self._sizes.smallest or not is_no_space(error):
                    raise
                self._disk.truncate(fd, usable)
                return usable
            if written % _SYNC_EVERY == 0:
                self._sync(fd)
        return size_bytes

    def _finish(self, segment: Segment) -> Segment:
        """Give a file its header, and then its name."""
        header = Header(segment.number, segment.size_bytes, self._span.uid, segment.recycled)
        try:
            write_all(self._disk, segment.fd, header.encode().ljust(HEADER_SPACE, b"\0"), 0)
            self._sync(segment.fd)
            self._disk.rename(self._unfinished, self.path(segment.number))
        except BaseException:
            self._discard(segment.fd)
            raise
        try:
            self.sync_directory()
            self.note_newest(segment.number)
        except BaseException:
            # Where only the span could not be written, the next one that is made takes its name.
            self._disk.close(segment.fd)
            raise
        return segment

    def _sync(self, fd: int) -> None:
        """Sync a file that is being made. Where only the sync finds out that there is no space,
        nothing is lost: the file, which holds nothing yet, is given up and never synced again."""
        try:
            self._disk.sync(fd)
        except OSError as error:
            if not is_no_space(error):
                self.failure = error
            raise

    def _discard(self, fd: int) -> None:
        """Give up a file that has no name of a segment yet. It may stay: the next one that is made
        takes its place, and so does the next start."""
        self._disk.close(fd)
        with contextlib.suppress(OSError):
            self._disk.unlink(self._unfinished)
