"""Dead letters and their bodies, read back from the dead-letter log."""

from __future__ import annotations

from collections.abc import Sequence

from dispatcher.errors import LogTrimmed
from dispatcher.queue.deadletters.holdings import Holdings
from dispatcher.queue.records.chunks import decode_chunk
from dispatcher.queue.records.either import AnyLetter, decode_letter
from dispatcher.txlog import TransactionLog


class Reading:
    """Reads letters wherever they are by now: they may be removed, or copied forward, while they
    are read."""

    __slots__ = ("_holdings", "_log")

    def __init__(self, log: TransactionLog, holdings: Holdings) -> None:
        self._log = log
        self._holdings = holdings

    async def letters(self, ids: Sequence[bytes]) -> list[AnyLetter]:
        """The letters with these ids that are there, in the order of `ids`.

        Raises:
            LogCorrupt: the disk gave back something else than was written.
            LogBusy: descriptors or memory are lacking.
        """
        while True:
            positions = self._positions(ids)
            try:
                return [decode_letter(payload) for payload in await self._log.read(positions)]
            except LogTrimmed:
                # Removed or copied forward while it was read.
                if positions == self._positions(ids):
                    raise

    async def chunk(self, message_id: bytes, number: int) -> bytes | None:
        """One piece of a letter's large body; None when there is no letter any more.

        Raises:
            LogCorrupt, LogBusy: as `letters`.
        """
        chunks = self._holdings.chunks
        while (places := chunks.get(message_id)) is not None:
            position, _ = places[number]
            try:
                (payload,) = await self._log.read([position])
            except LogTrimmed:
                if chunks.get(message_id) is places:
                    raise
            else:
                return decode_chunk(payload)
        return None

    def _positions(self, ids: Sequence[bytes]) -> list[int]:
        letters = self._holdings.letters
        return [letters.position[row] for one in ids if (row := letters.find(one)) >= 0]
