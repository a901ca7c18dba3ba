"""The directory of a log: taking its lock, and saying what is wrong with it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from dispatcher.errors import ConfigError, LogError, LogLocked, LogUnavailable
from dispatcher.txlog.disk import Disk
from dispatcher.txlog.segment import is_no_space, is_passing

LOCK: Final = "lock"
"""Name of the file that a process holds the lock of; the process's number is written in it."""

_UNUSABLE: Final = frozenset(
    {
        errno.EACCES,
        errno.EEXIST,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
    }
)
"""What is wrong with the place, and not with the disk."""


def take_lock(directory: Path, disk: Disk) -> int:
    """Make the directory if it is missing, and take its lock; returns the descriptor that holds it.

    Raises LogLocked when another process has it, and what `cannot_open` returns.
    """
    path = directory / LOCK
    try:
        disk.make_directory(directory)
        return disk.lock(path, b"%d\n" % os.getpid())
    except BlockingIOError as error:
        raise locked(directory, disk) from error
    except OSError as error:
        raise cannot_open(directory, error) from error


def locked(directory: Path, disk: Disk) -> LogLocked:
    """Return the error that says who has the log."""
    try:
        holder = disk.read_text(directory / LOCK).decode(errors="replace").strip()
    except OSError:
        holder = ""
    return LogLocked(
        f"{directory}: the log is in use by process {holder or 'unknown'}."
        " Two processes never use one log; stop that one, or name another directory."
    )


def cannot_open(directory: Path, error: OSError) -> LogError | ConfigError:
    """Translate what the disk said while a log was opened."""
    if is_no_space(error):
        return LogUnavailable(f"{directory}: {error}. Free some space, and start again.")
    if is_passing(error):
        return LogError(
            f"{directory}: the log cannot be opened now: {error}. Give the process more"
            " descriptors or memory, and start again."
        )
    if error.errno in _UNUSABLE:
        return ConfigError(
            f"{directory}: not usable for a log: {error.strerror} ({error.filename or directory})."
            " It has to be a directory, with files that this process may read and write."
        )
    return LogError(f"{directory}: the log cannot be opened: {error}. Look at the disk.")
