"""The twin of the queue that messages of schedules go to: it keeps them in memory, also over a
crash, and they end when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from dispatcher.core.destination import Destination
from dispatcher.core.message import Message
from dispatcher.errors import Refusal, Refused
from dispatcher.schedules.messages import CONFLICT, MessageOutcome
from dispatcher.schedules.plans import PlannedMessage
from dispatcher.testing.queue import destination

CONFLICTING = Refusal(409, CONFLICT, "Another message has that key.")


class Kept:
    """A message that is durable."""

    def __init__(self, message: Message, key: str) -> None:
        self.message = message
        self.key = key
        self.outcome: MessageOutcome | None = MessageOutcome.WAITING


class MemoryQueue:
    """Messages by id in `kept`, in the order in which they came. Storing one takes `turns` turns of
    the loop; it is told when it takes one more. `refusal` is why nothing is stored now."""

    def __init__(self) -> None:
        self.kept: dict[str, Kept] = {}
        self.keys: dict[tuple[bytes, str], str] = {}
        self.turns = 3
        self.refusal: Refusal | None = None

    def build(self, planned: PlannedMessage, key: str, now_us: int) -> Message:
        """See `schedules.messages.Build`."""
        message = Message(
            destination(planned.destination.removeprefix("http://")),
            f"{planned.method} {planned.target} HTTP/1.1\r\n".encode("ascii"),
            planned.body,
            timeout_ms=0,
            accepted_at=now_us,
        )
        message.history = key.encode("ascii")  # no record has it
        return message

    async def accept(self, message: Message, accepted: Callable[[str], None]) -> None:
        """See `schedules.messages.Queue`."""
        for _ in range(self.turns):
            await asyncio.sleep(0)
        if self.refusal is not None:
            raise Refused(self.refusal)
        key = message.history.decode("ascii")
        found = self.keys.get((message.destination.key, key))
        if found is None:
            found = f"{len(self.kept) + 1:028x}"
            self.kept[found] = Kept(message, key)
            self.keys[message.destination.key, key] = found
        elif self.kept[found].message.body != message.body:
            raise Refused(CONFLICTING)
        await asyncio.sleep(0)
        accepted(found)

    def outcome(self, message_id: str) -> MessageOutcome | None:
        """See `schedules.messages.Queue`."""
        kept = self.kept.get(message_id)
        return None if kept is None else kept.outcome

    def with_key(self, destination: Destination, key: str) -> str | None:
        """See `schedules.messages.Queue`."""
        return self.keys.get((destination.key, key))

    def end(self, outcome: MessageOutcome | None = MessageOutcome.DELIVERED) -> None:
        """What waits ends so; None: nothing is left of it."""
        for kept in self.kept.values():
            if kept.outcome is MessageOutcome.WAITING:
                kept.outcome = outcome
