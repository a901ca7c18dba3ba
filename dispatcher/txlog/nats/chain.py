"""Whether the messages of a stream follow each other as its owners stored them. Pure."""

from __future__ import annotations

from dispatcher.txlog.nats.batch import Batch, Fence


class Chain:
    """What was read last. After a fence only its owner's batches come, numbered from 1."""

    def __init__(self) -> None:
        self._fenced_by: int | None = None
        self._token: int | None = None
        self._number = 0

    def wrong(self, found: Batch | Fence) -> str | None:
        """Take the next message; returns what is wrong with its place, or None.

        A fence of an earlier owner may come late, and then nobody stores anything until the next
        one: that its owner does not is what the next one's reading of this says.
        """
        if isinstance(found, Fence):
            self._fenced_by = found.token
            return None
        if self._fenced_by is not None and found.token != self._fenced_by:
            return "a batch of an owner that was kept out"
        if self._token == found.token and found.number != self._number + 1:
            return f"batch {found.number} follows batch {self._number}"
        self._token, self._number = found.token, found.number
        return None
