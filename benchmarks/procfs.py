"""What Linux says about a process: CPU time, memory, descriptors, and the file system of a path."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_MEMORY_FILE_SYSTEMS = frozenset({"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"})


@dataclass(frozen=True, slots=True)
class Memory:
    """Sizes in bytes: all resident pages, those of no file, and the most that was ever resident."""

    resident: int
    anonymous: int
    peak: int


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process, ended ones too; 10 ms is the unit."""
    text = Path(f"/proc/{pid}/stat").read_text()
    # The name in parentheses may hold anything; the fields after it are counted from the third.
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


def memory(pid: int) -> Memory:
    """The memory of a process."""
    sizes = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("VmRSS", "RssAnon", "VmHWM"):
            sizes[name] = int(value.split()[0]) * 1024
    return Memory(sizes["VmRSS"], sizes["RssAnon"], sizes["VmHWM"])


def open_files(pid: int) -> int:
    """How many file descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def children(pid: int) -> list[int]:
    """The processes that a single-threaded process has started and that still live."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def directory_bytes(path: Path) -> int:
    """Space that the files in a directory take on disk; one that vanishes meanwhile takes none."""
    total = 0
    for entry in path.glob("*"):
        try:
            total += entry.stat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total


def file_system(path: Path) -> str:
    """The type of the file system that holds a path, such as `ext4`."""
    path = path.resolve()
    best, kind = -1, "unknown"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        mounted = Path(before.split()[4].replace("\\040", " "))
        # Of two mounts on one place the later one is on top, hence >=.
        if path.is_relative_to(mounted) and len(mounted.parts) >= best:
            best, kind = len(mounted.parts), after.split()[0]
    return kind


def require_real_disk(path: Path) -> None:
    """End the script where a sync would cost nothing.

    Raises:
        SystemExit: the path is in memory.
    """
    kind = file_system(path)
    if kind in _MEMORY_FILE_SYSTEMS:
        raise SystemExit(f"{path} is on {kind}, where a sync costs nothing: give a --directory")
