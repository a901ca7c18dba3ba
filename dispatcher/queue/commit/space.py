"""Whether the disk of a log is full, and the record that finds out when it no longer is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from dispatcher.errors import Refusal
from dispatcher.queue.records.kinds import NOTHING, OVERHEAD_BYTES

PROBE_SECONDS = 1.0
"""How often a full disk is tried again."""


class Space:
    """The space of one log, and the waiter of its probes: records that say nothing.

    `changed` is called with True when the disk became full, with False when there is space again;
    `probe` every `PROBE_SECONDS` while it is full: it has to store a `probe_payload`, unless one is
    on its way, and to call `ran_out` if there is no space for that.
    """

    __slots__ = ("_changed", "_probe", "_timer", "is_full")

    def __init__(self, *, changed: Callable[[bool], None], probe: Callable[[], None]) -> None:
        self.is_full = False
        self._changed = changed
        self._probe = probe
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

    def stored(self, position: int) -> None:
        """A probe is durable: there is space again."""
        self._set_full(False)
        self.stop()

    def refused(self, refusal: Refusal) -> None:
        """Still full, or nobody knows: another probe comes in any case."""

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(PROBE_SECONDS, self._look)

    def _look(self) -> None:
        self._arm()  # first: the probe may fail, or be lost to something else than space
        self._probe()

    def _set_full(self, full: bool) -> None:
        if full != self.is_full:
            self.is_full = full
            self._changed(full)


def probe_payload(max_batch_bytes: int) -> bytes:
    """A record that says nothing, as large as most batches.

    A small one would fit into a gap that the refused batch did not fit into, and the next large one
    would be refused again, and so on once a second.
    """
    return NOTHING.ljust(max_batch_bytes * 7 // 8 - OVERHEAD_BYTES, b"\0")
