"""Storing one message, certainly as the next one of the stream or not at all.

Each message says which number the one before it has and which fence was the last, and the servers
refuse it when either is not so. So the same request can be made again, as often as it takes: it is
stored once. What a try came to is read from its answer (`answers`), and where that says only that
something else was there, from the message that is.
"""

from __future__ import annotations

import asyncio

from dispatcher.errors import LogBusy, LogError, LogFenced, LogUnavailable, LogUnknown
from dispatcher.txlog.nats.answers import Whose, Word, whose, word_of
from dispatcher.txlog.nats.batch import Batch, Fence
from dispatcher.txlog.nats.link import Silence
from dispatcher.txlog.nats.stream import Stream


class Publisher:
    """Where the stream ends, and what its owner says with each message.

    `last` is the number of the last message, `fence` that of the owner's last fence; `late_since`
    is the loop's time of the first try of the message under way once one had no verdict.
    """

    def __init__(self, stream: Stream, *, token: int, epoch: int, last: int, fence: int) -> None:
        self.last = last
        self.fence = fence
        self.late_since: float | None = None
        self._stream = stream
        self._token = token
        self._epoch = epoch

    async def store(self, data: bytes, sent: Batch | Fence) -> int:
        """Store a message; `sent` is what its bytes say. Returns its number: on return it is on
        stable storage, on a majority of the servers.

        Raises:
            LogUnavailable: certainly not stored, there is no space.
            LogFenced: certainly not stored, another owner has the log.
            LogUnknown: nobody knows, for as long as `patience` says; or the log has to be opened
                again.
            LogCorrupt: the stream is not what it was.
        """
        began_s = asyncio.get_running_loop().time()
        is_first_try = True
        try:
            while True:
                word = await self._try(data, sent, is_first_try=is_first_try)
                if word is Word.LOOK:
                    word = await self._look(sent, is_first_try=is_first_try)
                match word:
                    case Word.STORED:
                        return self._stored(sent)
                    case Word.ELSEWHERE:
                        raise self._stream.damaged(self.last + 1, "the next one got another number")
                    case Word.FULL:
                        raise LogUnavailable(
                            f"stream {self._stream.name}: its servers have no space for it."
                            " Nothing was stored."
                        )
                    case _:
                        is_first_try = False
                        await self._wait(began_s)
        finally:
            self.late_since = None

    async def _try(self, data: bytes, sent: Batch | Fence, *, is_first_try: bool) -> Word:
        stream = self._stream
        headers = {
            "Nats-Expected-Stream": stream.name,
            "Nats-Expected-Last-Sequence": str(self.last),
            "Nats-Expected-Last-Subject-Sequence": str(self.fence),
            "Nats-Expected-Last-Subject-Sequence-Subject": stream.fences,
        }
        subject = stream.fences if isinstance(sent, Fence) else stream.data
        try:
            answer = await stream.link.request(
                subject, data, headers=headers, timeout_s=stream.patience.append_s
            )
        except Silence:
            return Word.AGAIN
        return word_of(answer.data, self.last + 1, is_first_try=is_first_try)

    def _stored(self, sent: Batch | Fence) -> int:
        self.last += 1
        if isinstance(sent, Fence):
            self.fence = self.last
        return self.last

    async def _look(self, sent: Batch | Fence, *, is_first_try: bool) -> Word:
        """Say what became of a message, of the one that stands in its place."""
        try:
            found = await self._stream.at(self.last + 1)
        except LogBusy:
            return Word.AGAIN
        match whose(found, sent=sent, epoch=self._epoch, token=self._token):
            case Whose.OURS:
                return Word.STORED
            case Whose.OUR_FENCE:
                self.last += 1
                self.fence = self.last
                return Word.AGAIN
            case Whose.ANOTHERS:
                raise self._fenced()
            case Whose.LATE_FENCE:
                raise LogUnknown(
                    f"stream {self._stream.name}: an earlier owner's fence came late. The log has"
                    " to be opened again."
                )
            case Whose.NOBODYS:
                return await self._look_further(is_first_try=is_first_try)
            case Whose.DAMAGED:
                why = found if isinstance(found, str) else "it is none of those that were stored"
                raise self._stream.damaged(self.last + 1, why)

    async def _look_further(self, *, is_first_try: bool) -> Word:
        """Nothing is where ours should be: another owner may have stored some and trimmed. Then an
        earlier try of ours may have been among them, and have been delivered since."""
        try:
            held = await self._stream.held()
        except LogBusy:
            return Word.AGAIN
        if held.first <= self.last + 1:
            return Word.AGAIN
        if is_first_try:
            raise self._fenced()
        raise LogUnknown(
            f"stream {self._stream.name}: another owner has opened the log, and trimmed the place"
            " of a batch that had no verdict. It may have been stored."
        )

    def _fenced(self) -> LogError:
        return LogFenced(f"stream {self._stream.name}: another owner has opened the log")

    async def _wait(self, began_s: float) -> None:
        self.late_since = began_s
        patience = self._stream.patience
        if asyncio.get_running_loop().time() - began_s >= patience.unknown_s:
            raise LogUnknown(
                f"stream {self._stream.name}: no verdict on a batch for {patience.unknown_s:g} s."
                " It may be stored. The log has to be opened again."
            )
        await asyncio.sleep(patience.again_s)
