"""Dead letters that come from elsewhere: an import is told when there is no space for one.

One that dies here waits for space instead (`burial`): nobody else has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from dispatcher.errors import Refusal, Refused
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.deadletters.holdings import Holdings
from dispatcher.queue.deadletters.writing import Body, Writing
from dispatcher.queue.records.either import AnyLetter, encode_letter, facts_of
from dispatcher.queue.records.kinds import OVERHEAD_BYTES


class Taking:
    """Stores letters for somebody who waits."""

    def __init__(self, holdings: Holdings, committer: Committer, writing: Writing) -> None:
        self._holdings = holdings
        self._committer = committer
        self._writing = writing

    async def take(self, letter: AnyLetter, body: Sequence[bytes]) -> None:
        """Store a letter; returns when it is durable. `body` is a large body in its pieces, empty
        where the letter holds it.

        Raises:
            Refused: it is not stored.
        """
        pieces = Body(self._writing, is_copy=False)
        try:
            if body:
                letter = letter.with_chunks(await self._stored(pieces, body))
            taken = _Taken(self._holdings, encode_letter(letter), pieces)
        except BaseException:
            pieces.let_go()
            raise
        self._committer.submit(taken.payload, taken)
        await taken.done

    async def _stored(self, pieces: Body, body: Sequence[bytes]) -> tuple[int, ...]:
        async def read(number: int, _: int) -> bytes:
            return body[number]

        try:
            return await pieces.copy(range(len(body)), read)
        except asyncio.CancelledError:
            if self._committer.dead:
                raise Refused(self._committer.gone) from None
            raise


class _Taken:
    """A DEAD or DEAD_CALL record on its way. Its body is held until the letter holds it, also where
    who waits has gone."""

    def __init__(self, holdings: Holdings, payload: bytes, body: Body) -> None:
        self.payload = payload
        self._body = body
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._holdings = holdings

    def stored(self, position: int) -> None:
        """It is durable, and a letter from here on."""
        size = len(self.payload) + OVERHEAD_BYTES
        try:
            self._holdings.extents.note(position, size)
            self._holdings.enter(facts_of(self.payload), position, size)
        finally:  # whatever happened, it is on the disk
            self._body.let_go()
            if not self.done.done():
                self.done.set_result(None)

    def refused(self, refusal: Refusal) -> None:
        """It is not stored."""
        self._body.let_go()
        if not self.done.done():
            self.done.set_exception(Refused(refusal))
