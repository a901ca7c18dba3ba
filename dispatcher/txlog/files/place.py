"""The directory of a log: taking its lock, and saying what is wrong with it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from dispatcher.errors import (
    ConfigError,
    LogBusy,
    LogError,
    LogFailed,
    LogLocked,
    LogUnavailable,
)
from dispatcher.txlog.files.disk import Disk
from dispatcher.txlog.files.segment import is_no_space, is_passing

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


def take_lock(directory: Path, disk: Disk, *, is_look: bool = False) -> tuple[int, int]:
    """Make the directory if it is missing, and take its locks; returns the descriptors that hold
    them. With `is_look` nothing is made and nothing is written.

    Two of them: the lock file is what older versions look at, and it can be deleted; the directory
    is what the log is in.

    Raises LogLocked when another process has one, and what `cannot_open` returns.
    """
    try:
        if not is_look:
            disk.make_directory(directory)
        file = disk.lock(directory / LOCK, None if is_look else b"%d\n" % os.getpid())
    except BlockingIOError as error:
        raise locked(directory, disk) from error
    except OSError as error:
        raise cannot_open(directory, error) from error
    try:
        return file, lock_directory(directory, disk)
    except BaseException:
        disk.close(file)
        raise


def lock_directory(directory: Path, disk: Disk) -> int:
    """Take the lock of the directory itself; returns the descriptor that holds it. Raises what
    `take_lock` raises."""
    try:
        return disk.lock_directory(directory)
    except BlockingIOError as error:
        raise locked(directory, disk) from error
    except OSError as error:
        raise cannot_open(directory, error) from error


def check_free(directory: Path, disk: Disk) -> None:
    """Raise LogLocked when another process has the log. Nothing is made where there is none."""
    if (directory / LOCK).exists():
        for descriptor in take_lock(directory, disk, is_look=True):
            disk.close(descriptor)
    elif directory.is_dir():
        disk.close(lock_directory(directory, disk))


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
        return lacking(directory, error)
    if error.errno in _UNUSABLE:
        return ConfigError(
            f"{directory}: not usable for a log: {error.strerror} ({error.filename or directory})."
            " It has to be a directory, with files that this process may read and write."
        )
    return LogFailed(f"{directory}: the log cannot be opened: {error}. Look at the disk.")


def lacking(directory: Path, error: OSError | MemoryError | RuntimeError) -> LogBusy:
    """Return the error that says what the process lacks for the moment."""
    what = error if isinstance(error, OSError) else repr(error)
    return LogBusy(
        f"{directory}: not now: {what}. Ask again; if it lasts, give the process more descriptors"
        " or memory."
    )
