"""What becomes of a member and its partitions, written down."""

from __future__ import annotations

from collections.abc import Callable

from dispatcher.telemetry.events import Events


class MemberEvents:
    """A `cluster.observer.Observer`. `ends` is told that the process has to end: its number is
    another node's."""

    def __init__(self, events: Events, ends: Callable[[], object]) -> None:
        self._events = events
        self._ends = ends

    def partition_claimed(self, partition: int, epoch: int, former: str) -> None:
        """See `Observer`."""
        self._events.partition_claimed(partition=partition, epoch=epoch, former=former)

    def partition_opened(self, partition: int, epoch: int) -> None:
        """See `Observer`."""
        self._events.partition_opened(partition=partition, epoch=epoch)

    def partition_lost(self, partition: int, owner: str) -> None:
        """See `Observer`."""
        self._events.partition_taken(partition=partition, owner=owner)

    def partition_in_doubt(self, partition: int, error: Exception) -> None:
        """See `Observer`."""
        self._events.partition_in_doubt(partition=partition, reason=_why(error))

    def partition_waits(self, partition: int, error: Exception) -> None:
        """See `Observer`."""
        self._events.partition_waits(partition=partition, reason=_why(error))

    def partition_failed(self, partition: int, error: Exception) -> None:
        """See `Observer`."""
        self._events.partition_failed(partition=partition, reason=_why(error))

    def partition_released(self, partition: int) -> None:
        """See `Observer`."""
        self._events.partition_released(partition=partition)

    def number_taken(self, node: str) -> None:
        """See `Observer`."""
        self._events.cluster_number_taken(node=node)
        self._ends()

    def store_away(self, error: Exception) -> None:
        """See `Observer`."""
        self._events.cluster_store_away(reason=_why(error))

    def store_back(self, after_s: float) -> None:
        """See `Observer`."""
        self._events.cluster_store_back(after_ms=int(after_s * 1000))


def _why(error: Exception) -> str:
    """In words also where a time ran out, which has none."""
    if isinstance(error, TimeoutError) and not str(error):
        return "NATS has not answered in time"
    return str(error) or repr(error)
