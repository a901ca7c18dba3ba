"""The one reason why a message that waits is not sent, told to a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from dispatcher.core.clock import QueueUs, WallUs
from dispatcher.core.instants import read_rfc3339, rfc3339
from dispatcher.core.options import DEADLINE, DELAY, NOT_BEFORE, RETRIES
from dispatcher.queue.admin.looking import Looking
from dispatcher.queue.admin.parts import Parts
from dispatcher.queue.admin.surface import Explanation, MessageState, MessageView, Reason
from dispatcher.queue.lanes.chains import MOST_BEFORE
from dispatcher.queue.lanes.gates import Closed, Gate, first_closed, first_shut
from dispatcher.queue.lanes.lanes import Lane
from dispatcher.queue.lanes.lines import InLine
from dispatcher.queue.lanes.peers import Peer
from dispatcher.queue.pending.index import NO_SLOT

ToWall = Callable[[QueueUs], WallUs]
_CLOCKS_US: Final = 1_000_000
"""What two instants of the same moment may differ in, of which one was read from the wall clock."""


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
    closed: Closed,
    peer: Peer,
    *,
    now_us: QueueUs,
    attempts: int,
    before: int,
    to_wall: ToWall,
    is_asked_for: bool = False,
) -> Why:
    """Of a message that waits for its next attempt, or its first.

    Args:
        closed: its own gate, which says when that may be made.
        peer: its destination, which may be left alone for longer.
        now_us: by the queue's clock.
        attempts: how many were made and counted.
        before: how many messages of its lane are ready before it.
        to_wall: says an instant by the wall clock.
        is_asked_for: its caller wanted it so late.
    """
    assert closed.until_us is not None, "time passes by itself"
    due = QueueUs(closed.until_us)
    shut = first_shut(peer, max(due, now_us))
    if shut is not None and shut.gate is Gate.HOLD:
        return _held(peer)
    until = expected = to_wall(due)
    if is_asked_for:
        text = f"Its caller asked for it later, with {DELAY.title} or {NOT_BEFORE.title}."
    elif not attempts:
        text = "No attempt of it counts yet; the next one is not made before the delay is over."
    elif peer.rests_until > now_us:
        text = (
            f"Attempt {attempts + 1} is not made before the delay is over; this machine lacked "
            f"something for the last attempts to send to {peer.destination}."
        )
    else:
        text = f"Attempt {attempts} failed; the next one is not made before the delay is over."
        if now_us < peer.asked_until <= due + _CLOCKS_US:
            asked = rfc3339(to_wall(QueueUs(peer.asked_until)))[:-4]  # milliseconds say enough
            text += f" {peer.destination} asked for that, with Retry-After: not before {asked}Z."
    if shut is not None and shut.gate not in (Gate.LIMIT, Gate.RATE):
        text += " Its destination is left alone for longer."
        if shut.until_us is None:
            return Why(Reason.SCHEDULED, text, until)
        expected = to_wall(QueueUs(shut.until_us))
    if before:
        text += f" Messages of its destination that are ready before it: {before}."
    return Why(Reason.SCHEDULED, text, until, expected)


def may_be_too_old(until_us: int) -> Why:
    """Of a message that was older than `MAX_AGE` at the start, by a clock that may have been ahead
    (`pending.ages`); `until_us` is when that is sure, by the wall clock."""
    return Why(
        Reason.SCHEDULED,
        "It had waited longer than MAX_AGE when the server started. The clock may have been ahead "
        "then, so it is neither sent nor given up before it has had time to be set.",
        until_us,
    )


def with_options(why: Why, options: Mapping[str, str]) -> Why:
    """The same of a message that waits and has these options, as `core.options.written` has
    them."""
    text, expected = why.message, why.expected_us
    if why.reason is Reason.ORDER_KEY and (begins := options.get(NOT_BEFORE.key)) is not None:
        text += f" Its first attempt is not made before {begins} either."
    if (retries := options.get(RETRIES.key)) is not None:
        text += f" Retries after its first attempt, by {RETRIES.title}: {retries} at most."
    if (deadline := options.get(DEADLINE.key)) is not None:
        if expected is not None and expected > read_rfc3339(deadline):
            expected = None
        text += f" It is given up at its deadline, {deadline}."
    return replace(why, message=text, expected_us=expected)


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
            text = f"{name} asked to be left alone (Retry-After); {_line(before)}."
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
        case Gate.RATE:
            assert peer.bucket is not None, "or it has no rate"
            rate = peer.bucket.rate
            text = f"{name} gets {rate} at most by its rule, and has had as many"
            return Why(Reason.RATE_REACHED, f"{text}; {_line(before)}.", until, expected)
        case Gate.LIMIT:
            return Why(
                Reason.LIMIT_REACHED,
                f"{name} has {peer.in_flight} attempts in flight, and {peer.limit.value} is its "
                f"limit now; {_line(before)}.",
            )


def waits_in_line(where: InLine, *, to_wall: ToWall) -> Why:
    """Of a message that waits for others with its key."""
    key, before = where.key, _with_key(where.before, "rule" if where.is_rule else "key")
    flow = where.flow
    if flow is None:
        if where.letters:
            text = f"Its order key {key} is held by {_letters(where)}; {before}."
        else:
            text = f"One message at a time is sent of its order key {key}; {before}."
        return Why(Reason.ORDER_KEY, text)
    parts = []
    if flow.rate is not None:
        parts.append(f"{flow.rate} start")
    if flow.parallelism is not None:
        parts.append(f"{flow.parallelism} run at once")
    whose = f"rule for {key}" if where.is_rule else f"flow key {key}"
    text = f"Its {whose} lets {' and '.join(parts)} at most; {before}"
    if where.running:
        text += f", and {where.running} in flight"
    until = None if where.opens_us is None else to_wall(QueueUs(where.opens_us))
    expected = None if where.before else until
    if not where.is_rule:
        return Why(Reason.FLOW_KEY, f"{text}.", until, expected)
    reason = Reason.LIMIT_REACHED if until is None else Reason.RATE_REACHED
    return Why(reason, f"{text}.", until, expected)


def _letters(where: InLine) -> str:
    """What holds a key, and until when."""
    name = f" ({where.letter.decode()})" if where.letter else ""
    if where.letters == 1:
        return f"a dead letter of it{name} until that is redriven or purged"
    named = f" (one is {where.letter.decode()})" if where.letter else ""
    return f"{where.letters} dead letters of it{named} until they are redriven or purged"


def _with_key(before: int, what: str) -> str:
    match before:
        case 0:
            return f"it is the next one of its {what}"
        case 1:
            return f"one message of its {what} is before it"
        case _:
            most = "or more " if before >= MOST_BEFORE else ""
            return f"{min(before, MOST_BEFORE)} {most}messages of its {what} are before it"


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


def _begins_after(view: MessageView, now_us: int) -> bool:
    begins = view.options.get(NOT_BEFORE.key)
    return begins is not None and not view.attempts and read_rfc3339(begins) > now_us


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
                slot = self._looking.slot(view.id.encode("ascii"))
                return with_options(self._waits(view, slot), view.options)

    def told(self, view: MessageView, slot: int | None = None) -> MessageView:
        """The same with why it waits, in a word, as `explain` has it; one that does not wait is as
        it was. Nothing is counted for that, so it is for lists. `slot` is that of the message,
        where it is known."""
        if view.state not in (MessageState.READY, MessageState.SCHEDULED):
            return view
        if slot is None:
            slot = self._looking.slot(view.id.encode("ascii"))
        why = self._waits(view, slot, is_brief=True)
        trail = self._lane(slot).peer.trail
        return replace(
            view,
            reason=why.reason,
            until_us=why.until_us,
            destination_error=trail.last_error if trail.failing_since else None,
        )

    def _lane(self, slot: int) -> Lane:
        return self._queue.lanes.by_number[self._queue.pending.index.lane[slot]]

    def _waits(self, view: MessageView, slot: int, *, is_brief: bool = False) -> Why:
        """Why the one in a slot waits; `is_brief`: those before it are not counted."""
        queue = self._queue
        where = queue.lines.where(slot, is_brief=is_brief)
        if where is not None:
            return waits_in_line(where, to_wall=queue.clock.to_wall)
        lane = self._lane(slot)
        now_us = queue.clock.now_us()
        closed = first_closed(queue.pending, slot, lane.peer, now_us)
        before = 0 if is_brief else self._before(view, lane, slot)
        if closed is not None and closed.gate is Gate.TIME:
            ages = queue.pending.ages
            if ages is not None and ages.is_doubtful(slot, now_us):
                sure_us = min(ages.sure_at_us, queue.pending.deadlines.of(slot))
                return may_be_too_old(queue.clock.to_wall(QueueUs(sure_us)))
            return waits_for_its_time(
                closed,
                lane.peer,
                now_us=now_us,
                attempts=view.attempts,
                before=before,
                to_wall=queue.clock.to_wall,
                is_asked_for=_begins_after(view, queue.clock.to_wall(QueueUs(now_us))),
            )
        if closed is None:
            workers = queue.traffic.workers
            return waits_for_turn(before, is_free=workers.busy < workers.most)
        return waits_for(closed, lane.peer, before=before, to_wall=queue.clock.to_wall)

    def _before(self, view: MessageView, lane: Lane, wanted: int) -> int:
        """How many messages of a lane are before that of a slot; counted up to a bound."""
        if view.state is not MessageState.READY:
            return lane.ready
        links = self._queue.pending.index.next
        slot, before = lane.head, 0
        while slot not in (NO_SLOT, wanted) and before < MOST_BEFORE:
            slot, before = links[slot], before + 1
        return before
