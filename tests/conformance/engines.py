"""The engines that the conformance suite runs, each on storage that can be made to misbehave."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final, Protocol
from uuid import uuid4

from dispatcher.errors import LogUnknown
from dispatcher.testing.disk import SimulatedDisk
from dispatcher.testing.nats import TroubledLink
from dispatcher.txlog import TransactionLog
from dispatcher.txlog.files import FileLog
from dispatcher.txlog.files.disk import Disk, RealDisk
from dispatcher.txlog.files.segment import MIB, Sizes
from dispatcher.txlog.memory import MemoryLog, MemoryStore
from dispatcher.txlog.nats.asking import Patience
from dispatcher.txlog.nats.client import NatsLink
from dispatcher.txlog.nats.log import NatsLog


class Storage(Protocol):
    """Where a log is kept; it outlives the log objects. What it is told holds until it is told
    otherwise. `batches_need_it` says that appends find out too what `lack` says."""

    batches_need_it: bool

    def new(self) -> TransactionLog:
        """Return a log object on it, as a process that starts has one."""

    def beside(self) -> Storage:
        """Return another storage of the kind, always the same one."""

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

    batches_need_it = True

    def __init__(self) -> None:
        self._store = MemoryStore()
        self._log = MemoryLog(self._store)
        self._beside: Memory | None = None

    def new(self) -> TransactionLog:
        self._log = MemoryLog(self._store)
        return self._log

    def beside(self) -> Memory:
        if self._beside is None:
            self._beside = Memory()
        return self._beside

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

    batches_need_it = True

    def __init__(self, path: Path, disk: Disk) -> None:
        self.sizes = SMALL
        self._path = path
        self._below = disk
        self._disk = TroubledDisk(disk)

    def new(self) -> TransactionLog:
        self._disk.failing_syncs = False
        return FileLog(self._path, self._disk, sizes=self.sizes)

    def beside(self) -> Files:
        other = Files(self._path.with_name("beside"), self._below)
        other.sizes = self.sizes
        return other

    def fill(self, *, full: bool) -> None:
        self._disk.making = errno.ENOSPC if full else 0

    def lack(self, *, lacking: bool) -> None:
        self._disk.making = self._disk.reading = errno.EMFILE if lacking else 0

    def fail(self) -> None:
        self._disk.failing_syncs = True

    def hold(self, *, held: bool) -> None:
        """A disk is never as slow as that: the batch is under way for the moment it takes."""


class Streams:
    """`NatsLog`, each storage a stream of its own."""

    batches_need_it = False

    def __init__(self, path: Path, link: NatsLink, *, replicas: int) -> None:
        self.link = TroubledLink(link)
        self.others: list[Streams] = []
        self.logs: list[NatsLog] = []
        self._path = path.parent
        self._below = link
        self._replicas = replicas
        self.name = f"log-{uuid4().hex}"

    def new(self) -> NatsLog:
        self.link.is_silent = False
        self.logs.append(
            NatsLog(
                self.link,
                self.name,
                self._path,
                replicas=self._replicas,
                quota_bytes=_QUOTA_BYTES,
                patience=PATIENT,
            )
        )
        return self.logs[-1]

    def beside(self) -> Streams:
        if not self.others:
            self.others.append(Streams(self._path / "log", self._below, replicas=self._replicas))
        return self.others[0]

    def fill(self, *, full: bool) -> None:
        for log in self.logs:
            log.quota_bytes = log.size_bytes if full else _QUOTA_BYTES

    def lack(self, *, lacking: bool) -> None:
        """No server answers, and there is nothing on this machine."""
        self.link.is_silent = lacking
        for log in self.logs:
            log.without_mirror()
            log.patience = QUICK if lacking else PATIENT

    def fail(self) -> None:
        self.link.is_silent = True
        for log in self.logs:
            log.patience = QUICK

    def hold(self, *, held: bool) -> None:
        if held:
            self.link.gate.clear()
        else:
            self.link.gate.set()


_QUOTA_BYTES: Final = 100 << 20
PATIENT: Final = Patience(again_s=0.01, open_s=120, unknown_s=120)
"""A busy machine breaks no test."""
QUICK: Final = Patience(again_s=0.01, open_s=0.3, unknown_s=0.3)
"""For when nobody answers, as the test wants it."""


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
