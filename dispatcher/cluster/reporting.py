"""What became of the partitions of a member, told to its observer: of each change of a lease that
somebody wants to read in the log, once.
"""

from __future__ import annotations

from dispatcher.cluster.lease import Lease
from dispatcher.cluster.observer import Observer
from dispatcher.cluster.ownership import Do, State


class Reporting:
    """`takeovers_total` counts partitions that were claimed although another one had them, which
    did not renew them any more."""

    def __init__(self, observer: Observer) -> None:
        self.takeovers_total = 0
        self._observer = observer
        self._former: dict[int, str] = {}
        """The nodes from which those are claimed that are asked for."""

    def claims(self, partition: int, lease: Lease) -> None:
        """A partition is about to be claimed: by then its record is the claim."""
        before = lease.record
        is_taken = before is not None and before.is_held
        self._former[partition] = before.node if before is not None and is_taken else ""

    def changed(self, partition: int, before: State, lease: Lease, do: Do) -> None:
        """A lease was told something, and `do` follows; it was in the state `before`."""
        if do is Do.OPEN:
            former = self._former.pop(partition, "") if before is not State.LOST else ""
            self.takeovers_total += bool(former)
            self._observer.partition_claimed(partition, lease.epoch, former)
        elif before is State.RELEASING and lease.state is State.FOREIGN:
            self._observer.partition_released(partition)
        elif (before.is_held or before is State.LOST) and lease.state is State.FOREIGN:
            owner = lease.record.node if lease.record is not None else ""
            self._observer.partition_lost(partition, owner)
