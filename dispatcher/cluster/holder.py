"""Who holds the partitions that a member owns: the node. The seam between the two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

Ends = Mapping[str, int]
"""How far each log of a partition reaches at least, by its name: `transaction`, `dead_letter`, and
what else the node keeps for it. A log that ends before was cut."""


class Holder(Protocol):
    """Told on the event loop. Of one partition one thing is asked at a time, but for
    `may_act_until`, `ends` and `abandon`, which may come at any time, also where it is not open."""

    async def open(self, partition: int, epoch: int, ends: Ends) -> None:
        """Recover a partition, accept messages for it, and be ready to deliver them: it acts for it
        only as far as `may_act_until` says, which is told right after it is open, not before.

        Cancelled when the partition is another's meanwhile; then nothing of it stays open. Raises
        LogBusy and LogUnavailable (asked again soon), LogFenced and LogUnknown (asked again under a
        later epoch, if it is still this member's), and any other error for what an operator has to
        see to: a log that ends before `ends`, or is damaged.
        """

    def may_act_until(self, partition: int, until_s: float) -> None:
        """It may act for a partition that is open until then, by the loop's clock. Told with each
        renewal of the lease that was stored; may be in the past."""

    def ends(self, partition: int) -> Ends:
        """How far the logs of an open partition reach now: what is certainly stored."""

    def abandon(self, partition: int) -> None:
        """It is another's now, or its log has to be opened anew: send nothing more for it, tell who
        waits. At once. Idempotent."""

    async def hand_over(self, partition: int) -> None:
        """Accept nothing more for a partition, let its attempts end for a while, write down how
        they ended, and let go of its logs. When it returns, another member may open it. Bounded.
        Cancelled when it is another's already."""
