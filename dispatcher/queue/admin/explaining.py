"""The one reason why a message that waits is not sent, told to a person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dispatcher.core.clock import QueueUs, WallUs
from dispatcher.queue.admin.looking import Looking
from dispatcher.queue.admin.parts import Parts
from dispatcher.queue.admin.surface import Explanation, MessageState, MessageView, Reason
from dispatcher.queue.lanes.gates import Closed, Gate, first_closed, first_shut
from dispatcher.queue.lanes.lanes import Lane
from dispatcher.queue.lanes.peers import Peer
from dispatcher.queue.pending.index import NO_SLOT

MOST_BEFORE = 10_000
"""Messages before one that are counted: every one is a step along the lane."""


ToWall = Callable[[QueueUs], WallUs]


@dataclass(frozen=True, slots=True)
class Why:
    """A reason; instants are microseconds since the epoch, by the wall clock."""

    reason: Reason
    message: str
    until_us: int | None = None
    expected_us: int | None = None


def is_under_way(attempt: int, found: tuple[int, int] | None) -> Why:
    """Of a message that is being sent; `found` is when that began, and its timeout in ms."""
    until = None if found is None else found[0] + found[1] * 1000
    return Why(Reason.IN_FLIGHT, f"Attempt {attempt} is under way.", until)


def waits_for_turn(before: int, *, is_free: bool) -> Why:
    """Of a message that passes all gates. `before` is how many messages of its lane are before it,
    counted up to `MOST_BEFORE`; `is_free`: a worker is."""
    busy = "" if is_free else ", and all workers are busy"
    return Why(Reason.WAITING_TURN, f"It waits for its turn: {_line(before)}{busy}.")


def waits_for_its_time(
    closed: Closed, peer: Peer, *, now_us: QueueUs, attempts: int, before: int, to_wall: ToWall
) -> Why:
    """Of a message that waits for its next attempt.

    Args:
        closed: its own gate, which says when that may be made.
        peer: its destination, which may be left alone for longer.
        now_us: by the queue's clock.
        attempts: how many were made and counted.
        before: how many messages of its lane are ready before it.
        to_wall: says an instant by the wall clock.
    """
    assert closed.until_us is not None, "time passes by itself"
    due = QueueUs(closed.until_us)
    shut = first_shut(peer, max(due, now_us))
    if shut is not None and shut.gate is Gate.HOLD:
        return _held(peer)
    until = expected = to_wall(due)
    if not attempts:
        text = "No attempt of it counts yet; the next one is not made before the delay is over."
    elif peer.rests_until > now_us:
        text = (
            f"Attempt {attempts + 1} is not made before the delay is over; this machine lacked "
            f"something for the last attempts to send to {peer.destination}."
        )
    else:
        text = f"Attempt {attempts} failed; the next one is not made before the delay is over."
    if shut is not None and shut.gate is not Gate.LIMIT:
        text += " Its destination is left alone for longer."
        if shut.until_us is None:
            return Why(Reason.SCHEDULED, text, until)
        expected = to_wall(QueueUs(shut.until_us))
    if before:
        text += f" Messages of its destination that are ready before it: {before}."
    return Why(Reason.SCHEDULED, text, until, expected)


def waits_for(closed: Closed, peer: Peer, *, before: int, to_wall: ToWall) -> Why:
    """Of a message that waits before a gate of its destination.

    Args:
        closed: the first gate that holds it.
        peer: its destination.
        before: how many messages of its lane are before it, counted up to `MOST_BEFORE`.
        to_wall: says an instant of the gate, which is by the queue's clock, by the wall clock.
    """
    name = peer.destination
    until = None if closed.until_us is None else to_wall(QueueUs(closed.until_us))
    expected = None if before else until
    match closed.gate:
        case Gate.TIME:
            raise AssertionError("it is a message's: see waits_for_its_time")
        case Gate.HOLD:
            return _held(peer)
        case Gate.PAUSE:
            text = f"{name} asked for a pause (Retry-After); {_line(before)}."
            return Why(Reason.RETRY_AFTER, text, until, expected)
        case Gate.LACKING:
            text = f"This machine lacked something for the last attempts to send to {name}"
            return Why(Reason.LACKING, f"{text}; {_line(before)}.", until, expected)
        case Gate.BREAKER if until is None:
            text = f"{name} failed too often; one message is being sent to see if it is up"
            return Why(Reason.BREAKER_OPEN, f"{text}; {_line(before)}.")
        case Gate.BREAKER:
            text = f"{name} failed too often; nothing is sent there until it is tried again"
            return Why(Reason.BREAKER_OPEN, f"{text}; {_line(before)}.", until, expected)
        case Gate.LIMIT:
            return Why(
                Reason.LIMIT_REACHED,
                f"{name} has {peer.in_flight} attempts in flight, and {peer.limit.value} is its "
                f"limit now; {_line(before)}.",
            )


def _held(peer: Peer) -> Why:
    text = f"An operator holds {peer.destination}; resume it to send there again."
    return Why(Reason.DESTINATION_HELD, text)


def _line(before: int) -> str:
    match before:
        case 0:
            return "it is the next one of its destination"
        case 1:
            return "one message of its destination is before it"
        case _:
            most = "or more " if before == MOST_BEFORE else ""
            return f"{before} {most}messages of its destination are before it"


class Explaining:
    """Says why messages of one partition are not delivered yet."""

    def __init__(self, parts: Parts, looking: Looking) -> None:
        self._queue = parts
        self._looking = looking

    async def explain(self, message_id: str) -> Explanation | None:
        """See `Admin.explain`."""
        view = await self._looking.message(message_id)
        if view is None:
            return None
        why = self._why(view)
        return Explanation(
            message_id, view.state, why.reason, why.message, why.until_us, why.expected_us
        )

    def _why(self, view: MessageView) -> Why:
        queue = self._queue
        match view.state:
            case MessageState.DELIVERED:
                return Why(Reason.DELIVERED, f"It was delivered by attempt {view.attempts}.")
            case MessageState.DEAD:
                return Why(Reason.DEAD, "It is a dead letter; redrive it to try again.")
            case MessageState.IN_FLIGHT:
                return is_under_way(
                    view.attempts, queue.starting.under_way(view.id.encode("ascii"))
                )
            case MessageState.READY | MessageState.SCHEDULED:
                return self._waits(view)

    def _waits(self, view: MessageView) -> Why:
        queue = self._queue
        slot = self._looking.slot(view.id.encode("ascii"))
        lane = queue.lanes.by_number[queue.pending.index.lane[slot]]
        now_us = queue.clock.now_us()
        closed = first_closed(queue.pending, slot, lane.peer, now_us)
        is_ready = view.state is MessageState.READY
        before = self._before(lane, slot) if is_ready else lane.ready
        if closed is not None and closed.gate is Gate.TIME:
            return waits_for_its_time(
                closed,
                lane.peer,
                now_us=now_us,
                attempts=view.attempts,
                before=before,
                to_wall=queue.clock.to_wall,
            )
        if closed is None:
            workers = queue.traffic.workers
            return waits_for_turn(before, is_free=workers.busy < workers.most)
        return waits_for(closed, lane.peer, before=before, to_wall=queue.clock.to_wall)

    def _before(self, lane: Lane, wanted: int) -> int:
        """How many messages of a lane are before that of a slot; counted up to a bound."""
        links = self._queue.pending.index.next
        slot, before = lane.head, 0
        while slot not in (NO_SLOT, wanted) and before < MOST_BEFORE:
            slot, before = links[slot], before + 1
        return before
