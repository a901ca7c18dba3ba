"""The desk of a node in a cluster, which comes and goes with partition 0 (`partitions.Companion`).

Its API listens on a socket of this machine only: whoever asks comes through the front of a node.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from dispatcher.node.desk import Desk

API_SOCKET: Final = "api.sock"
"""Its name, in the directory of sockets."""
SOCKET_MODE: Final = 0o600


class DeskBeside:
    """One desk. `here` is told of it when it can be asked, and of None when it is over."""

    def __init__(self, desk: Desk, place: Path, here: Callable[[Desk | None], None]) -> None:
        """`place` is where its API listens."""
        self._desk = desk
        self._place = place
        self._here = here

    async def open(self, owner: str, epoch: int) -> None:
        """See `Companion`."""
        await self._desk.open(owner, epoch)

    async def start(self) -> None:
        """See `Companion`."""
        self._place.parent.mkdir(mode=0o700, exist_ok=True)
        await self._desk.start()
        await self._desk.listen()
        self._here(self._desk)

    async def drain(self, timeout_s: float) -> bool:
        """See `Companion`."""
        return await self._desk.drain(timeout_s)

    def abandon(self) -> None:
        """See `Companion`."""
        self._here(None)
        self._desk.abandon()

    async def stop(self) -> None:
        """See `Companion`."""
        self._here(None)
        await self._desk.leave()
        await self._desk.stop()
