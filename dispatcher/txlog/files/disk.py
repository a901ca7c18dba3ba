"""What the log asks of a disk, and the real one. The twin that loses what was not synced is
`dispatcher.testing.disk`.

Every call but `close` may raise OSError. Each is one system call where it can be, so that tools
that inject faults into system calls see what they expect to see.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from typing import Final, Protocol

_CLOSED_TO_OTHERS: Final = 0o600
"""The log holds whole requests, with the credentials in them."""

_CANNOT_LOCK_DIRECTORIES: Final = frozenset({errno.EBADF, errno.EINVAL, errno.EOPNOTSUPP})
"""What a file system says that locks only what can be written to (NFS). There the lock file has to
do."""


class Disk(Protocol):
    """Files by descriptor, directories by path."""

    def make_directory(self, path: Path) -> None:
        """Make a directory, and those above it, durable themselves; fine when it is there."""

    def names(self, path: Path) -> list[str]:
        """Return the names in a directory, in any order."""

    def lock(self, path: Path, text: bytes | None) -> int:
        """Take the lock of a file for this process and write `text` into it; the file is made if it
        is missing. With None nothing is written or made.

        Returns the descriptor that holds it. Raises BlockingIOError when somebody else has it.
        """

    def lock_directory(self, path: Path) -> int:
        """Take the lock of a directory, whatever is in it; returns the descriptor that holds it.

        Raises BlockingIOError when somebody else has it.
        """

    def read_text(self, path: Path) -> bytes:
        """Return what a small file holds."""

    def open(self, path: Path, *, create: bool = False, write: bool = True) -> int:
        """Open a file; with `create` it must not be there yet."""

    def close(self, fd: int) -> None:
        """Close a descriptor. Raises nothing: what was written through it was synced before anybody
        was told so, and on Linux a close that fails has closed it all the same."""

    def size(self, fd: int) -> int:
        """Return the size of a file in bytes."""

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        """Read up to `size` bytes; fewer only at the end of the file."""

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        """Write, and return how many bytes were: it may be fewer."""

    def sync(self, fd: int) -> None:
        """Put a file's bytes and its size on stable storage."""

    def truncate(self, fd: int, size: int) -> None:
        """Cut or extend a file."""

    def rename(self, old: Path, new: Path) -> None:
        """Rename a file within its directory."""

    def unlink(self, path: Path) -> None:
        """Remove a file."""

    def open_directory(self, path: Path) -> int:
        """Open a directory, to sync it."""

    def sync_directory(self, fd: int) -> None:
        """Put the entries of a directory on stable storage.

        By a descriptor: a sync that could not be tried, because there was none left to open the
        directory with, would look like one that failed.
        """


class RealDisk:
    """The operating system's."""

    def make_directory(self, path: Path) -> None:
        missing = [made for made in (path, *path.parents) if not made.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        for made in missing:
            fd = self.open_directory(made.parent)
            try:
                self.sync_directory(fd)
            finally:
                self.close(fd)

    def names(self, path: Path) -> list[str]:
        return os.listdir(path)

    def lock(self, path: Path, text: bytes | None) -> int:
        flags = os.O_RDONLY if text is None else os.O_RDWR | os.O_CREAT
        fd = os.open(path, flags, _CLOSED_TO_OTHERS)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if text is not None:
                os.ftruncate(fd, 0)
                os.pwrite(fd, text, 0)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def lock_directory(self, path: Path) -> int:
        fd = self.open_directory(path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _CANNOT_LOCK_DIRECTORIES:
                return fd
            os.close(fd)
            raise
        return fd

    def read_text(self, path: Path) -> bytes:
        return path.read_bytes()

    def open(self, path: Path, *, create: bool = False, write: bool = True) -> int:
        # Without waiting: somebody may have put a pipe in its place, which nobody writes to. Of a
        # file that changes nothing.
        flags = os.O_NONBLOCK | (os.O_RDWR if write else os.O_RDONLY)
        return os.open(path, flags | (os.O_CREAT | os.O_EXCL if create else 0), _CLOSED_TO_OTHERS)

    def close(self, fd: int) -> None:
        with contextlib.suppress(OSError):
            os.close(fd)

    def size(self, fd: int) -> int:
        return os.fstat(fd).st_size

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        data = os.pread(fd, size, offset)
        while 0 < len(data) < size:
            more = os.pread(fd, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        return os.pwrite(fd, data, offset)

    def sync(self, fd: int) -> None:
        os.fdatasync(fd)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def rename(self, old: Path, new: Path) -> None:
        os.rename(old, new)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def open_directory(self, path: Path) -> int:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def sync_directory(self, fd: int) -> None:
        os.fsync(fd)
