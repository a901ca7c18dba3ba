"""A link between two processes in memory (`peers.calls.Asks`): both are in one loop."""

from __future__ import annotations

import asyncio

from dispatcher.peers.answers import Answers
from dispatcher.peers.errors import Broken, NotConnected


class MemoryLink:
    """Asks what it was made with. `is_connected` and `is_mute` (it hears and says nothing) may be
    changed at any time; `asked` counts questions. `answer_bytes` is that of the largest answer."""

    def __init__(self, answers: Answers) -> None:
        self.is_connected = True
        self.is_mute = False
        self.asked = 0
        self.answer_bytes = 0
        self._answers = answers
        self._cut = asyncio.Event()

    def cut(self) -> None:
        """Break the connection; what is under way is never answered."""
        self.is_connected = False
        self._cut.set()
        self._cut = asyncio.Event()

    async def ask(self, question: bytes) -> bytes:
        """See `Asks`."""
        if not self.is_connected:
            raise NotConnected("nobody is there")
        self.asked += 1
        if self.is_mute:
            await self._cut.wait()
            raise Broken("the connection was cut")
        asking = asyncio.ensure_future(self._answers.answer(question))
        cut = asyncio.ensure_future(self._cut.wait())
        try:
            await asyncio.wait([asking, cut], return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise Broken("the connection was cut")
            answer = asking.result()
            self.answer_bytes = max(self.answer_bytes, len(answer))
            return answer
        finally:
            cut.cancel()
            asking.cancel()
