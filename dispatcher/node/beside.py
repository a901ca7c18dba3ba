"""The desk of a node in a cluster, which comes and goes with partition 0 (`partitions.Companion`).

Its API listens on a socket of this machine only: whoever asks comes through the front of a node.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from dispatcher.errors import ConfigError
from dispatcher.listening.unix import UnixPlace
from dispatcher.node.desk import Desk

_API_SOCKET: Final = "api.sock"
_SOCKET_MODE: Final = 0o600


class ApiPlace:
    """Where the API of a desk listens, in a directory that is this user's alone. A path of a socket
    has a hundred bytes: it goes through the directory's descriptor."""

    def __init__(self, directory: Path) -> None:
        """Make the directory, if it is not there.

        Raises:
            ConfigError: it cannot be made, or not be entered.
        """
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.chmod(0o700)
            self._descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigError(
                f"TRANSACTION_LOG: {directory} cannot be made and entered ({error.strerror}); "
                "expected a directory that the server's user may write in"
            ) from error
        self.path = f"/proc/self/fd/{self._descriptor}/{_API_SOCKET}"

    @property
    def unix(self) -> UnixPlace:
        """As who listens is told."""
        return UnixPlace(self.path, _SOCKET_MODE)

    def close(self) -> None:
        """Let go of the directory. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class DeskBeside:
    """One desk. `here` is told of it when it can be asked, and of None when it is over."""

    def __init__(self, desk: Desk, here: Callable[[Desk | None], None]) -> None:
        self._desk = desk
        self._here = here
        self._is_over = False

    async def open(self, owner: str, epoch: int) -> None:
        """See `Companion`."""
        await self._desk.open(owner, epoch)

    async def start(self) -> None:
        """See `Companion`."""
        await self._desk.start()
        await self._desk.listen()
        if self._is_over:  # meanwhile
            await self._desk.leave()
        else:
            self._here(self._desk)

    async def drain(self, timeout_s: float) -> bool:
        """See `Companion`."""
        return await self._desk.drain(timeout_s)

    def abandon(self) -> None:
        """See `Companion`."""
        self._is_over = True
        self._here(None)
        self._desk.abandon()

    async def stop(self) -> None:
        """See `Companion`."""
        self._is_over = True
        self._here(None)
        await self._desk.leave()
        await self._desk.stop()
