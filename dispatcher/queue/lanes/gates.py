"""Gates: what a message has to pass before an attempt of it may start.

Each gate is a pure question about a message that waits, or about its destination. Its answer is
None, it is open, or `Closed`: until when, or that it opens by something that happens (`until_us`
None), which then lets the lane wait for a turn again. `MESSAGE_GATES` and `PEER_GATES` are the
tables, in the order in which they are asked; a message that waits is told the first gate that is
closed, and a lane that got its turn in vain has another at the instant which that gate has said.

While a destination is calm (`Peer.calm`) no gate is asked: those that hold all its messages up are
open then, as whatever closes one of them clears `calm`, and no message is in a lane whose time has
not come, or that waits for others with its key (`lanes.lines`). The rate has a mark at the
destination, `Peer.spent`: one that is well and may be asked only so often is as calm as any other.
Behind the gates a message waits for its turn (`lanes.turns`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from dispatcher.core.breaker import State
from dispatcher.queue.lanes.peers import Peer
from dispatcher.queue.pending.index import State as SlotState
from dispatcher.queue.pending.pending import Pending


class Gate(Enum):
    """Which gate; the value is its name in tests and `repr`."""

    TIME = "time"
    HOLD = "hold"
    PAUSE = "pause"
    LACKING = "lacking"
    BREAKER = "breaker"
    RATE = "rate"
    LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class Closed:
    """A gate that lets nothing through, not before `until_us` by the queue's clock; None: until
    something happens (an attempt ends, an operator resumes)."""

    gate: Gate
    until_us: int | None = None


def _time(pending: Pending, slot: int, now_us: int) -> Closed | None:
    index = pending.index
    if index.state[slot] == SlotState.SCHEDULED:
        return Closed(Gate.TIME, index.due_at[slot])
    return None


def _hold(peer: Peer, now_us: int) -> Closed | None:
    return Closed(Gate.HOLD) if peer.held else None


def _pause(peer: Peer, now_us: int) -> Closed | None:
    return Closed(Gate.PAUSE, peer.paused_until) if peer.paused_until > now_us else None


def _lacking(peer: Peer, now_us: int) -> Closed | None:
    return Closed(Gate.LACKING, peer.rests_until) if peer.rests_until > now_us else None


def _breaker(peer: Peer, now_us: int) -> Closed | None:
    breaker = peer.breaker
    if breaker.admits(now_us):
        return None
    return Closed(Gate.BREAKER, breaker.open_until_us if breaker.state is State.OPEN else None)


def _rate(peer: Peer, now_us: int) -> Closed | None:
    if peer.bucket is None:
        return None
    opens_us = peer.bucket.opens_at(now_us)
    return Closed(Gate.RATE, opens_us) if opens_us > now_us else None


def _limit(peer: Peer, now_us: int) -> Closed | None:
    return Closed(Gate.LIMIT) if peer.in_flight >= peer.limit.value else None


MESSAGE_GATES: Final[dict[Gate, Callable[[Pending, int, int], Closed | None]]] = {
    Gate.TIME: _time,
}
"""Asked with the slot of a message: of the first one of a lane when it has its turn."""
PEER_GATES: Final[dict[Gate, Callable[[Peer, int], Closed | None]]] = {
    Gate.HOLD: _hold,
    Gate.PAUSE: _pause,
    Gate.LACKING: _lacking,
    Gate.BREAKER: _breaker,
    Gate.RATE: _rate,
    Gate.LIMIT: _limit,
}
"""Asked with a destination. The last ones open soon, and say nothing about it: a token comes back,
an attempt ends."""
_OF_A_MOMENT: Final = (Gate.RATE, Gate.LIMIT)


def first_closed(pending: Pending, slot: int, peer: Peer, now_us: int) -> Closed | None:
    """The first gate that holds the message of a slot now, on its way to `peer`; None: all are
    open."""
    for ask in MESSAGE_GATES.values():
        closed = ask(pending, slot, now_us)
        if closed is not None:
            return closed
    return first_shut(peer, now_us)


def first_shut(peer: Peer, now_us: int) -> Closed | None:
    """The first gate of a destination that is closed at an instant, as far as is known now."""
    for ask in PEER_GATES.values():
        closed = ask(peer, now_us)
        if closed is not None:
            return closed
    return None


def is_shut(peer: Peer, now_us: int) -> bool:
    """Whether a destination is left alone, for longer than until one of its attempts has ended, or
    may start by its rate."""
    if peer.calm:
        return False
    closed = first_shut(peer, now_us)
    return closed is not None and closed.gate not in _OF_A_MOMENT


def opens_at(peer: Peer, now_us: int) -> int:
    """The instant before which a destination is left alone, as far as its gates know one; 0: they
    know none that is ahead."""
    if peer.calm:
        return 0
    found = [ask(peer, now_us) for gate, ask in PEER_GATES.items() if gate not in _OF_A_MOMENT]
    return max((closed.until_us or 0 for closed in found if closed is not None), default=0)
