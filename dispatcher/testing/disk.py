"""A disk that can be crashed: what was not synced is lost, kept or torn, as chance has it.

What it models:
- Files have a stable part and writes on top of it that only the page cache has. A crash keeps any
  subset of those writes, each torn at sectors of 512 bytes, in any order. `sync` makes them stable.
- Directory entries change in memory; a crash keeps any subset of the changes since
  `sync_directory`.
- A sync that fails has written some sectors and forgets the rest: they stay readable until the
  crash, and no later sync writes them (as Linux does, see "fsyncgate", 2018).
- Every call has a number, and any call can be made to fail, or a write to be short.
- `capacity_bytes`: no space beyond it. `lacking`: no memory now and then.

`crash` returns another disk, as found after power came back; `kill` ends the process and leaves the
machine up.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from random import Random
from typing import Final

SECTOR_BYTES: Final = 512


class Fault(Enum):
    """How a call fails."""

    EIO = errno.EIO
    ENOSPC = errno.ENOSPC
    EMFILE = errno.EMFILE
    ENFILE = errno.ENFILE
    ENOMEM = errno.ENOMEM
    SHORT = 0
    """A write writes half of what it was given. No fault for other calls."""


class Fate(Enum):
    """What a crash does to what was not synced."""

    LOST = "lost"
    KEPT = "kept"
    CHANCE = "chance"


@dataclass(slots=True)
class _File:
    content: bytearray = field(default_factory=bytearray)
    stable: bytearray = field(default_factory=bytearray)
    unsynced: list[tuple[int, bytes]] = field(default_factory=list)


_Entry = tuple[Path, _File | None]
"""A change of a directory: this name stands for this file now, or for none."""


def _put(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


class SimulatedDisk:
    """A `dispatcher.txlog.files.disk.Disk` in memory."""

    def __init__(self, *, seed: int = 0, capacity_bytes: int | None = None) -> None:
        """`seed` decides which sectors a failed sync has written."""
        self.calls = 0
        """Calls so far; the number of the last one."""
        self.faults: dict[int, Fault] = {}
        """By the number of the call."""
        self.lacking = 0.0
        """Share of the calls, syncs apart, that find no memory."""
        self.failed_syncs = 0
        """How many syncs, of files and of directories, were made to fail."""
        self.after_change: Callable[[], None] | None = None
        """Called after each call that changes something."""
        self.before_sync: Callable[[], object] | None = None
        """Called at the start of each sync of a file: a disk stands still when this does not
        return."""
        self.capacity_bytes = capacity_bytes
        self._random = Random(seed)
        self._names: dict[Path, _File] = {}
        self._stable_names: dict[Path, _File] = {}
        self._unsynced_names: list[list[_Entry]] = []
        self._directories: set[Path] = set()
        self._open: dict[int, tuple[Path, _File]] = {}
        self._next_fd = 100
        self._locks: dict[int, Path] = {}

    @property
    def used_bytes(self) -> int:
        """Bytes of all files that have a name: one that is removed, or cut, gives its space back at
        once."""
        return sum(len(file.content) for file in set_of(self._names))

    # What happens to it

    def crash(self, random: Random, fate: Fate = Fate.CHANCE) -> SimulatedDisk:
        """Return the disk as it is found after a power cut now. This one is left as it is."""
        after = SimulatedDisk(seed=random.getrandbits(32), capacity_bytes=self.capacity_bytes)
        after._directories = set(self._directories)
        share = random.choice((0.1, 0.5, 0.9))
        keeps: Callable[[], bool] = {
            Fate.LOST: lambda: False,
            Fate.KEPT: lambda: True,
            Fate.CHANCE: lambda: random.random() < share,
        }[fate]
        names = dict(self._stable_names)
        for change in self._unsynced_names:
            if keeps():
                _rename_in(names, change)
        for path, file in names.items():
            content = bytearray(file.stable)
            for offset, data in file.unsynced:
                for start, piece in _sectors(offset, data):
                    if keeps():
                        _put(content, start, piece)
            survivor = _File(content, bytearray(content))
            after._names[path] = after._stable_names[path] = survivor
        return after

    def kill(self) -> None:
        """End the process that uses it: descriptors and locks are gone, the page cache stays."""
        self._open.clear()
        self._locks.clear()
        self.faults.clear()

    def image(self) -> dict[str, bytes]:
        """Return what every file holds, as a process sees it."""
        return {path.name: bytes(file.content) for path, file in self._names.items()}

    def flip(self, path: Path, offset: int, mask: int = 0xFF) -> None:
        """Damage a byte, on stable storage too."""
        file = self._names[path]
        file.content[offset] ^= mask
        file.stable[offset] ^= mask

    # What a log does to it (see dispatcher.txlog.files.disk.Disk)

    def make_directory(self, path: Path) -> None:
        self._call()
        self._directories.add(path)

    def names(self, path: Path) -> list[str]:
        self._call()
        if path not in self._directories:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return [name.name for name in self._names if name.parent == path]

    def lock(self, path: Path, text: bytes | None) -> int:
        self._call()
        if path in self._locks.values():
            raise BlockingIOError(errno.EWOULDBLOCK, "the lock is taken")
        file = self._names.get(path)
        if file is None:
            file = _File()
            self._change_names([(path, file)])
        if text is not None:
            file.content[:] = text
        fd = self._descriptor(path, file)
        self._locks[fd] = path
        return fd

    def lock_directory(self, path: Path) -> int:
        self._call()
        if path in self._locks.values():
            raise BlockingIOError(errno.EWOULDBLOCK, "the lock is taken")
        fd = self._descriptor(path, _File())
        self._locks[fd] = path
        return fd

    def read_text(self, path: Path) -> bytes:
        self._call()
        return bytes(self._file(path).content)

    def open(self, path: Path, *, create: bool = False, write: bool = True) -> int:
        self._call()
        if not create:
            return self._descriptor(path, self._file(path))
        if path in self._names:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        file = _File()
        self._change_names([(path, file)])
        self._changed()
        return self._descriptor(path, file)

    def close(self, fd: int) -> None:
        del self._open[fd]
        self._locks.pop(fd, None)

    def size(self, fd: int) -> int:
        self._call()
        return len(self._open[fd][1].content)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        self._call()
        return bytes(self._open[fd][1].content[offset : offset + size])

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        if self._call() is Fault.SHORT:
            data = data[: max(1, len(data) // 2)]
        file = self._open[fd][1]
        data = data[: self._room(file, offset, len(data))]
        _put(file.content, offset, data)
        file.unsynced.append((offset, bytes(data)))
        self._changed()
        return len(data)

    def sync(self, fd: int) -> None:
        if self.before_sync is not None:
            self.before_sync()
        file = self._open[fd][1]
        writes, file.unsynced = file.unsynced, []
        try:
            self._call(syncs=True)
        except OSError:
            self.failed_syncs += 1
            for offset, data in writes:
                for start, piece in _sectors(offset, data):
                    if self._random.random() < 0.5:
                        _put(file.stable, start, piece)
            raise
        for offset, data in writes:
            _put(file.stable, offset, data)
        self._changed()

    def truncate(self, fd: int, size: int) -> None:
        self._call()
        file = self._open[fd][1]
        for content in (file.content, file.stable):
            del content[size:]
        file.unsynced = [(at, data[: size - at]) for at, data in file.unsynced if at < size]
        self._changed()

    def rename(self, old: Path, new: Path) -> None:
        self._call()
        self._change_names([(old, None), (new, self._file(old))])
        self._changed()

    def unlink(self, path: Path) -> None:
        self._call()
        self._file(path)
        self._change_names([(path, None)])
        self._changed()

    def open_directory(self, path: Path) -> int:
        self._call()
        return self._descriptor(path, _File())

    def sync_directory(self, fd: int) -> None:
        """All directories: there is only one."""
        assert fd in self._open
        try:
            self._call(syncs=True)
        except OSError:
            self.failed_syncs += 1
            raise
        self._unsynced_names.clear()
        self._stable_names = dict(self._names)
        self._changed()

    # How

    def _call(self, *, syncs: bool = False) -> Fault | None:
        self.calls += 1
        fault = self.faults.get(self.calls)
        if self.lacking and not syncs and self._random.random() < self.lacking:
            fault = Fault.ENOMEM
        if fault is not None and fault is not Fault.SHORT:
            raise OSError(fault.value, f"{os.strerror(fault.value)} (call {self.calls})")
        return fault

    def _changed(self) -> None:
        if self.after_change is not None:
            self.after_change()

    def _file(self, path: Path) -> _File:
        file = self._names.get(path)
        if file is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return file

    def _descriptor(self, path: Path, file: _File) -> int:
        self._next_fd += 1
        self._open[self._next_fd] = (path, file)
        return self._next_fd

    def _change_names(self, change: list[_Entry]) -> None:
        _rename_in(self._names, change)
        self._unsynced_names.append(change)

    def _room(self, file: _File, offset: int, size: int) -> int:
        """Return how many of `size` bytes can be written. Raises OSError when none can."""
        if self.capacity_bytes is None:
            return size
        free = self.capacity_bytes - self.used_bytes
        room = min(size, max(0, len(file.content) - offset) + max(0, free))
        if size and not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return room


def set_of(names: dict[Path, _File]) -> list[_File]:
    """Return each file once."""
    return list({id(file): file for file in names.values()}.values())


def _rename_in(names: dict[Path, _File], change: list[_Entry]) -> None:
    for path, file in change:
        if file is None:
            names.pop(path, None)
        else:
            names[path] = file


def _sectors(offset: int, data: bytes) -> list[tuple[int, bytes]]:
    """Cut a write where sectors end."""
    pieces = []
    at = 0
    while at < len(data):
        size = SECTOR_BYTES - (offset + at) % SECTOR_BYTES
        pieces.append((offset + at, data[at : at + size]))
        at += size
    return pieces
