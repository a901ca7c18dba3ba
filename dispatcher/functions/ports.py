"""What the parts of the function service are to each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import Protocol

from dispatcher.core.message import Message
from dispatcher.errors import Refusal
from dispatcher.functions.events import Event
from dispatcher.functions.spans import Span
from dispatcher.queue.ports import Deliverer

Then = Callable[[Refusal | None], None]
"""Told once what became of an event: None when it is durable and was applied."""


class Store(Protocol):
    """Where events go, and where bytes come back from."""

    def submit(self, event: Event, then: Then | None = None, *, urgent: bool = False) -> None:
        """Write an event; when it is durable it is applied, and `then` is called after that.

        Events take effect in the order in which they were submitted, but that urgent ones may
        overtake others. One that ends something is urgent: it is stored on a full disk too, and
        refused only when the log has failed. Others are refused as messages are; nothing of a
        refused event is ever applied.
        """

    async def stored(self, event: Event, *, urgent: bool = False) -> None:
        """The same, for code that awaits it.

        Raises:
            Refused: it is not stored.
        """

    def at_hand(self, spans: Sequence[Span]) -> list[bytes] | None:
        """The bytes that these spans name, in order, if all of them are in memory."""

    async def read(self, pick: Callable[[], Sequence[Span] | None]) -> list[bytes] | None:
        """The bytes that these spans name, in order. `pick` is asked again when they were copied
        elsewhere meanwhile; None from it ends that.

        Raises:
            LogBusy: descriptors or memory are lacking for a while; ask again.
            LogError: the log is damaged, and the partition ends.
        """


class Sender(Deliverer, Protocol):
    """Who sends runs."""

    def abandon(self, messages: Set[Message]) -> None:
        """End the attempts of these messages that are under way: their connections are closed, and
        no home is told."""
