"""Whether the disk of a log is full, and the look that finds out when it no longer is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LOOK_SECONDS = 1.0
"""How often a full log is asked for space."""


class Space:
    """The space of one log.

    `changed` is called with True when the disk became full, with False when there is space again;
    `look` every `LOOK_SECONDS` while it is full: it has to call `found` when there is.
    """

    __slots__ = ("_changed", "_look_for_it", "_timer", "is_full")

    def __init__(self, *, changed: Callable[[bool], None], look: Callable[[], None]) -> None:
        self.is_full = False
        self._changed = changed
        self._look_for_it = look
        self._timer: asyncio.TimerHandle | None = None

    def ran_out(self) -> None:
        """Note that a batch found no space, and look again later. On the running loop."""
        self._set_full(True)
        if self._timer is None:
            self._arm()

    def stop(self) -> None:
        """Look no more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def found(self) -> None:
        """Note that there is space again."""
        self._set_full(False)
        self.stop()

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._arm()  # first: the look may fail
        self._look_for_it()

    def _set_full(self, full: bool) -> None:
        if full != self.is_full:
            self.is_full = full
            self._changed(full)
