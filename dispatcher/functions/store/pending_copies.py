"""Copies on their way into the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from dispatcher.errors import Refusal, Refused
from dispatcher.functions.events import Event
from dispatcher.functions.store.writing import AS_COPY, Writing


class PendingCopies:
    """Copies of one portion. `open_` is called when it is closed and none is under way any more,
    also when who copied was ended meanwhile; `wake` when copies are waited for."""

    def __init__(
        self, writing: Writing, open_: Callable[[], None], wake: Callable[[], None]
    ) -> None:
        self._writing = writing
        self._open = open_
        self._wake = wake
        self._under_way = 0
        self._is_closed = False
        self._refusal: Refusal | None = None
        self._done: asyncio.Future[None] | None = None

    def write(self, event: Event) -> None:
        """Write a copy."""
        self._under_way += 1
        self._writing.write(event, (), self._told, AS_COPY)

    def _told(self, refusal: Refusal | None) -> None:
        self._under_way -= 1
        self._refusal = self._refusal or refusal
        if self._under_way:
            return
        if self._done is not None and not self._done.done():
            self._done.set_result(None)
        if self._is_closed:
            self._open()

    async def all_stored(self) -> None:
        """Return when all are durable and were applied.

        Raises:
            Refused: one of them is not.
        """
        if self._under_way:
            self._wake()
            self._done = asyncio.get_running_loop().create_future()
            await self._done
        if self._refusal is not None:
            raise Refused(self._refusal)

    def close(self) -> None:
        """Nothing more is copied."""
        self._is_closed = True
        if not self._under_way:
            self._open()
