"""The large body of a message that waits, read piece by piece, wherever it is by then.

Nothing is held for a reader, however slow he is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from dispatcher.core.message import Message
from dispatcher.errors import LogCorrupt, LogTrimmed
from dispatcher.queue.admin.parts import Parts
from dispatcher.queue.admin.patience import patiently
from dispatcher.queue.admin.surface import LetterGone
from dispatcher.queue.records.chunks import decode_chunk
from dispatcher.queue.records.kinds import RecordError

_DAMAGED: Final = (LogCorrupt, LogTrimmed, RecordError)


@dataclass(slots=True)
class LargeBody:
    """The body of a message in this slot, once each time it is gone through; `LetterGone` when the
    message ends meanwhile, or a piece cannot be read. `is_whole`: it was read to its end."""

    parts: Parts
    slot: int
    message: Message
    is_whole: bool = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for number in range(len(self.message.chunks or ())):
            try:
                piece = await patiently(partial(self._piece, number))
            except _DAMAGED as error:
                raise LetterGone from error
            if piece is None:
                raise LetterGone
            yield piece
        self.is_whole = True

    async def _piece(self, number: int) -> bytes | None:
        """One piece; None when the message has ended."""
        pending = self.parts.pending
        while self._is_there():
            position = pending.owned.positions(self.slot)[number]
            try:
                (payload,) = await self.parts.log.read([position])
            except LogTrimmed:  # copied forward, or ended, meanwhile
                if self._is_there() and pending.owned.positions(self.slot)[number] == position:
                    raise
            else:
                return decode_chunk(payload)
        return None

    def _is_there(self) -> bool:
        message = self.message
        return self.parts.pending.index.holds(self.slot, message.position, message.incarnation)
