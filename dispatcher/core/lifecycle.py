"""The life of a message, as a table.

Theory of operation. A message exists from the moment its record is durable; it is READY then, in
the lane of its destination. When its turn comes and the lane's limit and breaker allow it, an
attempt starts and it is IN_FLIGHT. The attempt's verdict (`core.verdict.decide`) ends it:
DELIVERED, SCHEDULED for a retry until its time has come, or DEAD, kept as a dead letter. A dead
letter can be redriven, under the same id and with its attempts counted from 1, or purged. What
waits can be cancelled or given up by an operator, or redirected to another destination.

Waiting in a lane that is paused is READY: it is not an attempt and changes nothing in the log. A
restart is a transition too. An attempt that was under way when the process ended may have reached
the destination or not, so its message is READY again (at least once); all other states are read
back from the log as they were.

    accepted   (new)      -> ready
    started    ready      -> in_flight
    delivered  in_flight  -> delivered
    failed     in_flight  -> scheduled
    given_up   in_flight  -> dead
    given_up   ready      -> dead
    given_up   scheduled  -> dead
    due        scheduled  -> ready
    recovered  ready      -> ready
    recovered  in_flight  -> ready
    recovered  scheduled  -> scheduled
    recovered  delivered  -> delivered
    recovered  dead       -> dead
    expired    ready      -> dead
    redriven   dead       -> ready
    purged     dead       -> (gone)
    cancelled  ready      -> (gone)
    cancelled  scheduled  -> (gone)
    redirected ready      -> ready
    redirected scheduled  -> ready

`TRANSITIONS` is the same table for the code, which asks it what operators may do; a test holds the
two together.
"""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType
from typing import Final


class MessageState(Enum):
    """Where a message stands; the value is the name that the API and the metrics use."""

    READY = "ready"
    IN_FLIGHT = "in_flight"
    SCHEDULED = "scheduled"
    DELIVERED = "delivered"
    DEAD = "dead"


class MessageEvent(Enum):
    """What moves a message from one state to the next."""

    ACCEPTED = "accepted"
    STARTED = "started"
    DELIVERED = "delivered"
    FAILED = "failed"
    GIVEN_UP = "given_up"
    DUE = "due"
    RECOVERED = "recovered"
    EXPIRED = "expired"
    REDRIVEN = "redriven"
    PURGED = "purged"
    CANCELLED = "cancelled"
    REDIRECTED = "redirected"


_S, _E = MessageState, MessageEvent

TRANSITIONS: Final = MappingProxyType[
    tuple[MessageState | None, MessageEvent], MessageState | None
](
    {
        (None, _E.ACCEPTED): _S.READY,
        (_S.READY, _E.STARTED): _S.IN_FLIGHT,
        (_S.IN_FLIGHT, _E.DELIVERED): _S.DELIVERED,
        (_S.IN_FLIGHT, _E.FAILED): _S.SCHEDULED,
        (_S.IN_FLIGHT, _E.GIVEN_UP): _S.DEAD,
        (_S.READY, _E.GIVEN_UP): _S.DEAD,
        (_S.SCHEDULED, _E.GIVEN_UP): _S.DEAD,
        (_S.SCHEDULED, _E.DUE): _S.READY,
        (_S.READY, _E.RECOVERED): _S.READY,
        (_S.IN_FLIGHT, _E.RECOVERED): _S.READY,
        (_S.SCHEDULED, _E.RECOVERED): _S.SCHEDULED,
        (_S.DELIVERED, _E.RECOVERED): _S.DELIVERED,
        (_S.DEAD, _E.RECOVERED): _S.DEAD,
        (_S.READY, _E.EXPIRED): _S.DEAD,
        (_S.DEAD, _E.REDRIVEN): _S.READY,
        (_S.DEAD, _E.PURGED): None,
        (_S.READY, _E.CANCELLED): None,
        (_S.SCHEDULED, _E.CANCELLED): None,
        (_S.READY, _E.REDIRECTED): _S.READY,
        (_S.SCHEDULED, _E.REDIRECTED): _S.READY,
    }
)
"""(state, event) -> state; None stands for a message that does not exist yet, or no more."""


def may(state: MessageState, event: MessageEvent) -> bool:
    """Whether something can happen to a message in its state."""
    return (state, event) in TRANSITIONS
