"""The engines that the conformance suite runs, each on storage that can be made to misbehave."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final, Protocol

from dispatcher.errors import LogUnknown
from dispatcher.testing.disk import SimulatedDisk
from dispatcher.txlog import TransactionLog
from dispatcher.txlog.disk import Disk, RealDisk
from dispatcher.txlog.files import FileLog
from dispatcher.txlog.memory import MemoryLog, MemoryStore
from dispatcher.txlog.segment import MIB, Sizes


class Storage(Protocol):
    """Where a log is kept; it outlives the log objects. What it is told holds until it is told
    otherwise."""

    def new(self) -> TransactionLog:
        """Return a log object on it, as a process that starts has one."""

    def fill(self, *, full: bool) -> None:
        """Have space for urgent records only."""

    def lack(self, *, lacking: bool) -> None:
        """Have no descriptors or no memory."""

    def fail(self) -> None:
        """Have the next batch fail in a way that leaves its fate unknown."""

    def hold(self, *, held: bool) -> None:
        """Let no batch get there."""


class Memory:
    """`MemoryLog`."""

    def __init__(self) -> None:
        self._store = MemoryStore()
        self._log = MemoryLog(self._store)

    def new(self) -> TransactionLog:
        self._log = MemoryLog(self._store)
        return self._log

    def fill(self, *, full: bool) -> None:
        self._log.full = full

    def lack(self, *, lacking: bool) -> None:
        self._log.lacking = lacking

    def fail(self) -> None:
        self._log.failure = LogUnknown("the connection broke")

    def hold(self, *, held: bool) -> None:
        if held:
            self._log.gate.clear()
        else:
            self._log.gate.set()


SMALL: Final = Sizes(smallest=256 << 10, largest=MIB, batch=128 << 10, chunk=256 << 10)


class Files:
    """`FileLog` on a disk, real or simulated."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path = path
        self._disk = TroubledDisk(disk)

    def new(self) -> TransactionLog:
        self._disk.failing_syncs = False
        return FileLog(self._path, self._disk, sizes=SMALL)

    def fill(self, *, full: bool) -> None:
        self._disk.making = errno.ENOSPC if full else 0

    def lack(self, *, lacking: bool) -> None:
        self._disk.making = self._disk.reading = errno.EMFILE if lacking else 0

    def fail(self) -> None:
        self._disk.failing_syncs = True

    def hold(self, *, held: bool) -> None:
        """A disk is never as slow as that: the batch is under way for the moment it takes."""


def real(path: Path) -> Storage:
    """Files on the file system that `path` is on."""
    return Files(path, RealDisk())


def simulated(path: Path) -> Storage:
    """Files on the simulated disk."""
    return Files(Path("/simulated") / path.name, SimulatedDisk())


class TroubledDisk:
    """A disk of which some calls fail."""

    def __init__(self, disk: Disk) -> None:
        self.making = 0
        """Error number with which no file can be made."""
        self.reading = 0
        """Error number with which no file can be opened to be read."""
        self.failing_syncs = False
        self._disk = disk
        self.make_directory = disk.make_directory
        self.names = disk.names
        self.lock = disk.lock
        self.lock_directory = disk.lock_directory
        self.read_text = disk.read_text
        self.close = disk.close
        self.size = disk.size
        self.pread = disk.pread
        self.pwrite = disk.pwrite
        self.truncate = disk.truncate
        self.rename = disk.rename
        self.unlink = disk.unlink
        self.open_directory = disk.open_directory
        self.sync_directory = disk.sync_directory

    def open(self, path: Path, *, create: bool = False, write: bool = True) -> int:
        _raise(self.making if create else 0 if write else self.reading)
        return self._disk.open(path, create=create, write=write)

    def sync(self, fd: int) -> None:
        _raise(errno.EIO if self.failing_syncs else 0)
        self._disk.sync(fd)


def _raise(number: int) -> None:
    if number:
        raise OSError(number, os.strerror(number))
