"""Reading a stream from its beginning while it is written: what it held at one moment."""

from __future__ import annotations

from typing import Protocol

from dispatcher.errors import LogTrimmed
from dispatcher.txlog import Bounds
from dispatcher.txlog.nats.batch import Batch, Fence, records_of, sequence_of
from dispatcher.txlog.records import Records


class Walked(Protocol):
    """What a walk asks the log."""

    def bounds(self) -> Bounds:
        """Return the first position that is kept, and the end."""

    async def message(self, sequence: int) -> tuple[bytes, Batch | Fence]:
        """Return a message, verified. Raises LogError."""


class StreamWalk:
    """A walk through one log, up to the position `upto`, where a batch ends."""

    def __init__(self, log: Walked, upto: int) -> None:
        self._log = log
        self._at = sequence_of(log.bounds().first)
        self._upto = sequence_of(upto)

    async def next(self) -> Records | None:
        """See `Walk`: the records of one batch."""
        while self._at < self._upto:
            if self._at < sequence_of(self._log.bounds().first):
                raise LogTrimmed(f"message {self._at} was trimmed away")
            data, found = await self._log.message(self._at)
            self._at += 1
            if isinstance(found, Batch) and found.begins:
                return records_of(self._at - 1, found, data)
        return None
