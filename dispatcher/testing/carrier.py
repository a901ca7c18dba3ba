"""A `Carrier` in memory: what was imported is what is exported."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from dispatcher.core.message import Message
from dispatcher.errors import Refusal, Refused
from dispatcher.queue.admin.surface import Carried, Death, IncomingCall, InMemory, LetterFilter


class MemoryCarrier:
    """Messages in a list. `refusal`, once set, is what the next ones are refused with."""

    def __init__(self) -> None:
        self.carried: list[Carried] = []
        self.calls: list[tuple[IncomingCall, bytes]] = []
        self.refusal: Refusal | None = None

    async def waiting(
        self, destination: str | None, *, label: str | None = None
    ) -> AsyncIterator[Carried]:
        """Those that are not dead, of one destination or of all. The label does not count."""
        for one in self.carried:
            if one.death is None and destination in (None, str(one.message.destination)):
                yield one

    async def dead(self, which: LetterFilter) -> AsyncIterator[Carried]:
        """Dead letters. Of the filter only the destination counts."""
        for one in self.carried:
            if one.death is not None and which.destination in (None, str(one.message.destination)):
                yield one

    async def everything(
        self, destination: str | None, *, label: str | None = None
    ) -> AsyncIterator[Carried]:
        """Those that are dead, then the others."""
        async for one in self.dead(LetterFilter(destination=destination)):
            yield one
        async for one in self.waiting(destination):
            yield one

    async def take(self, message: Message, body: Sequence[bytes], death: Death | None) -> bool:
        """Keep one, with a number for an id."""
        if self.refusal is not None:
            raise Refused(self.refusal)
        message.wire_id = b"%028x" % len(self.carried)
        self.carried.append(Carried(message, InMemory(b"".join(body)), death))
        return True

    async def take_call(self, call: IncomingCall, body: Sequence[bytes]) -> bool:
        """Keep one, with its input."""
        if self.refusal is not None:
            raise Refused(self.refusal)
        self.calls.append((call, b"".join(body)))
        return True
