"""The answer that a caller would get, for code that awaits it."""

from __future__ import annotations

import asyncio

from dispatcher.core.message import Message
from dispatcher.errors import Refusal, Refused


class AwaitedReceipt:
    """A `ports.Receipt`. `answered` is True when the message is durable, False when it is there
    already, as a message with the same key, and raises `Refused` when it is not stored."""

    def __init__(self) -> None:
        self.answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def accepted(self, message: Message) -> None:
        """It is durable."""
        if not self.answered.done():
            self.answered.set_result(True)

    def duplicate(self, message_id: bytes) -> None:
        """It is there already."""
        if not self.answered.done():
            self.answered.set_result(False)

    def refused(self, refusal: Refusal) -> None:
        """It is not stored."""
        if not self.answered.done():
            self.answered.set_exception(Refused(refusal))
            self.answered.exception()  # seen: who waited may have been ended
