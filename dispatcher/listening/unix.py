"""Unix sockets to listen on: a file that callers of this machine connect to.

Whoever may write to the file may connect, so its mode is set before anybody can. A process that was
killed leaves its file behind, and a file with nobody behind it stands in the way of the next start:
so it is replaced, but never one on which somebody listens, and nothing that is no socket. Between
the look and the replacement the directory is locked, or of two servers that start at once the later
one would take the file away from the first.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dispatcher.errors import ConfigError, DispatcherError, PortTaken

_LOCK_TRIES: Final = 40
_LOCK_PAUSE_S: Final = 0.05
_BACKLOG: Final = 4096


@dataclass(frozen=True, slots=True)
class UnixPlace:
    """Where to listen: an absolute path, and the mode of the file."""

    path: str
    mode: int

    def __str__(self) -> str:
        return f"unix:{self.path}"


class UnixSocket:
    """A socket that is listened on, and its file."""

    def __init__(self, place: UnixPlace, sock: socket.socket) -> None:
        self.place = place
        self.sock = sock
        self._file = _identity(place.path)

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode of the file; of none where it is gone."""
        return self._file or (0, 0)

    def remove(self) -> None:
        """Remove the file, unless it is another one by now. Idempotent."""
        with suppress(OSError):
            if self._file is not None and _identity(self.place.path) == self._file:
                os.unlink(self.place.path)
        self._file = None


async def unix_socket(place: UnixPlace, *, setting: str) -> UnixSocket:
    """Listen on a path; `setting` is named where something is wrong.

    Raises:
        PortTaken: somebody listens there.
        ConfigError: nobody can: there is no such directory, it may not be written, or there is
            something else.
    """
    path = place.path
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        async with _locked(Path(path).parent):
            _clear(place, setting)
            sock.bind(path)
            os.chmod(path, place.mode)
            sock.listen(_BACKLOG)
            return UnixSocket(place, sock)
    except OSError as error:
        sock.close()
        raise _explain(error, place, setting) from error
    except BaseException:
        sock.close()
        raise


def _clear(place: UnixPlace, setting: str) -> None:
    """Remove the file of a process that is gone."""
    try:
        mode = os.lstat(place.path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(
            f"{setting}={place}: there is something that is no socket; expected nothing there, or "
            "the socket of a server that has ended"
        )
    found = _try_to_connect(place.path)
    if found == errno.EACCES:
        raise ConfigError(
            f"{setting}={place}: the socket there belongs to another user, and whether anybody "
            "listens cannot be seen; remove it if nobody does, or name another path"
        )
    if found != errno.ECONNREFUSED:
        raise PortTaken(
            f"Cannot listen on {place}: another program listens there: stop it, or set {setting} "
            "to another path."
        )
    os.unlink(place.path)


def _try_to_connect(path: str) -> int:
    """The number of the error; `ECONNREFUSED` where nobody listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(path)


@asynccontextmanager
async def _locked(directory: Path) -> AsyncIterator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for _ in range(_LOCK_TRIES):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                await asyncio.sleep(_LOCK_PAUSE_S)
            except OSError:
                break  # a file system without locks
            else:
                break
        yield
    finally:
        os.close(descriptor)


def _explain(error: OSError, place: UnixPlace, setting: str) -> DispatcherError:
    if error.errno == errno.EADDRINUSE:
        return PortTaken(f"Cannot listen on {place}: it is in use; set {setting} to another path.")
    return ConfigError(
        f"{setting}={place}: {error.strerror or error}; expected a path in a directory that is "
        "there and may be written"
    )


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
