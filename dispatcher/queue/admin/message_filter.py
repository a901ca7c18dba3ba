"""Which waiting messages somebody means."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from dispatcher.core.lifecycle import MessageState
from dispatcher.core.message import Message
from dispatcher.queue.pending.index import State
from dispatcher.queue.pending.pending import Pending

SHOWN: Final = MappingProxyType(
    {
        State.READY: MessageState.READY,
        State.BEHIND: MessageState.READY,
        State.SCHEDULED: MessageState.SCHEDULED,
        State.IN_FLIGHT: MessageState.IN_FLIGHT,
        State.BURYING: MessageState.IN_FLIGHT,
        State.SETTLING: MessageState.IN_FLIGHT,
        State.MOVING: MessageState.IN_FLIGHT,
        State.REVIVING: MessageState.DEAD,
    }
)
"""What the state of a slot is called outside; of one that is BEHIND see `shown`."""
WAITING: Final = (MessageState.READY, MessageState.SCHEDULED, MessageState.IN_FLIGHT)
"""The states of messages that wait: neither delivered nor dead."""


def shown(pending: Pending, slot: int) -> MessageState:
    """What the state of a slot is called outside."""
    if pending.has_lines and pending.lines.is_later(slot):
        return MessageState.SCHEDULED
    return SHOWN[State(pending.index.state[slot])]


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """Which waiting messages: all that match everything that is not None.

    `state` is one of `WAITING`. `held`: an operator holds the destination, and no attempt is under
    way. `target` is what the request target begins with. `older_than_us`
    is how long ago the message was accepted at least, in microseconds.

    Destination, state and `held` are known in memory, and the age nearly so; the others are in the
    record of a message only, which has to be read for them (`needs_record`).
    """

    destination: str | None = None
    state: MessageState | None = None
    held: bool = False
    label: str | None = None
    order_key: str | None = None
    method: str | None = None
    target: str | None = None
    older_than_us: int | None = None

    @property
    def needs_record(self) -> bool:
        """Whether the index alone does not say which messages match, apart from their age."""
        wanted = (self.label, self.order_key, self.method, self.target)
        return any(one is not None for one in wanted)

    @property
    def states(self) -> frozenset[int]:
        """The states of slots that match; of those that are BEHIND `means` is asked too."""
        wanted = set(WAITING if self.state is None else (self.state,))
        if self.held:
            wanted.discard(MessageState.IN_FLIGHT)
        states = {int(state) for state, shown in SHOWN.items() if shown in wanted}
        if self.state is MessageState.SCHEDULED:
            states.add(int(State.BEHIND))
        return frozenset(states)

    def means(self, pending: Pending, slot: int) -> bool:
        """Whether one in one of these `states` matches."""
        if self.state is None or pending.index.state[slot] != State.BEHIND:
            return True
        return shown(pending, slot) is self.state

    def fits(self, message: Message) -> bool:
        """Whether the record of a message matches; of destination, state and age nothing is
        asked."""
        terms = message.terms
        order_key = "" if terms is None else terms.order_key
        return (
            self.label in (None, message.label)
            and self.order_key in (None, order_key)
            and self.method in (None, message.method)
            and (self.target is None or message.target.startswith(self.target))
        )
