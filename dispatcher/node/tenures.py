"""How long this process may act for each of its partitions: as long as it has it, and not before
it is known which destinations operators hold.

A partition whose log has nothing in it does not know that itself. It accepts and stores, and sends
nothing, until the desk has said so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from dispatcher.queue.partition import Partition


class Tenures:
    """The tenures of one process's partitions. A partition of which nothing is said is this
    process's for good."""

    def __init__(self) -> None:
        self._waiting: dict[Partition, float] = {}
        """Those that wait for what is held, and until when they may act once they know it."""

    def __repr__(self) -> str:
        return f"<Tenures: {len(self._waiting)} wait for holds>"

    def wait_for_holds(self, part: Partition) -> None:
        """Act for a partition from `holds_are_known` on."""
        self._waiting.setdefault(part, math.inf)
        part.may_act_until(0.0)

    def may_act_until(self, part: Partition, until_s: float) -> None:
        """It is this process's until then, by the monotonic clock."""
        if part in self._waiting:
            self._waiting[part] = until_s
        else:
            part.may_act_until(until_s)

    def holds_are_known(self, parts: Iterable[Partition] | None = None) -> None:
        """These partitions (None: all) know which destinations are held. Idempotent."""
        for part in [*self._waiting] if parts is None else parts:
            until_s = self._waiting.pop(part, None)
            if until_s is not None:
                part.may_act_until(until_s)

    def forget(self, part: Partition) -> None:
        """It is not here any more. Idempotent."""
        self._waiting.pop(part, None)
