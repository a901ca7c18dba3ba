"""Connections between the processes of one machine: unix sockets in a directory that nobody else
may enter, a file for each process.

A path of a unix socket has some hundred bytes, whatever the directory; so it is reached through a
descriptor of the directory.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

from dispatcher.errors import PortTaken
from dispatcher.listening.unix import UnixPlace, UnixSocket, unix_socket
from dispatcher.peers.links import NewLink

_TRIES: Final = 50
"""Five seconds: as long as a child waits for the logs of the one before it."""
_PAUSE_S: Final = 0.1


class UnixWires:
    """Implements `links.Wires` in `directory`, which is made where it is missing."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._descriptor = -1
        self._socket: UnixSocket | None = None
        self._server: asyncio.Server | None = None

    def __repr__(self) -> str:
        return f"<UnixWires in {self._directory}>"

    async def listen(self, process: int, new_link: NewLink) -> None:
        """See `links.Wires`. A process before this one that is about to end is waited for.

        Raises:
            OSError: the directory can't be made, or not be entered.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory.chmod(0o700)
        self._descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        place = UnixPlace(self._path_of(process), 0o600)
        for left in reversed(range(_TRIES)):
            try:
                self._socket = await unix_socket(place, setting="TRANSACTION_LOG")
                break
            except PortTaken:
                if not left:
                    raise
                await asyncio.sleep(_PAUSE_S)
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(new_link, sock=self._socket.sock)

    async def connect(self, process: int, new_link: NewLink) -> None:
        """See `links.Wires`."""
        await asyncio.get_running_loop().create_unix_connection(new_link, self._path_of(process))

    async def close(self) -> None:
        """See `links.Wires`."""
        if self._socket is not None:
            self._socket.remove()
        if self._server is not None:
            self._server.close()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _path_of(self, process: int) -> str:
        return f"/proc/self/fd/{self._descriptor}/{process}.sock"
