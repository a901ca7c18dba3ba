"""Who answers what the front of a node passes on: the desk, where it is on this node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path


class UnixUpstream:
    """Implements `front.exchange.Upstream`."""

    def __init__(self, place: Callable[[], Path | None]) -> None:
        """`place` is where the desk's API listens; None: it is not here."""
        self._place = place

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """See `Upstream`."""
        place = self._place()
        if place is None:
            raise ConnectionError("the desk is not here")
        return await asyncio.open_unix_connection(place)
