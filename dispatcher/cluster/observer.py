"""Who is told what becomes of a member and its partitions: the node writes it down."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Told on the event loop. Must not raise."""

    def partition_claimed(self, partition: int, epoch: int, former: str) -> None:
        """A partition is ours, and is being opened. `former` is the node that did not renew it any
        more; empty: nobody had it."""

    def partition_opened(self, partition: int, epoch: int) -> None:
        """It accepts messages here."""

    def partition_lost(self, partition: int, owner: str) -> None:
        """It is another node's, although it was not handed over."""

    def partition_in_doubt(self, partition: int, error: Exception) -> None:
        """Its log was fenced, or gave no verdict: it is opened anew, if it is still ours."""

    def partition_waits(self, partition: int, error: Exception) -> None:
        """It could not be opened for some seconds, and is tried again each second. Told once until
        then. What is lacking may need a person: space, for one."""

    def partition_failed(self, partition: int, error: Exception) -> None:
        """It cannot be opened; it stays ours, and a person has to see to it."""

    def partition_released(self, partition: int) -> None:
        """It was handed over; others may have it."""

    def number_taken(self, node: str) -> None:
        """Our number is another node's: this one was not heard of for too long, or has its name
        twice. It has to end, and start anew."""

    def store_away(self, error: Exception) -> None:
        """The store of leases does not answer. Told once until it is back."""

    def store_back(self, after_s: float) -> None:
        """It answers again."""
