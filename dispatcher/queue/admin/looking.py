"""What operators see of totals, lanes and messages."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable

from dispatcher.core.clock import QueueUs
from dispatcher.core.lifecycle import MessageEvent, may
from dispatcher.core.message import Message
from dispatcher.queue.admin.heads import learn_heads, oldest_at
from dispatcher.queue.admin.lane_filter import EVERY_LANE, is_failing
from dispatcher.queue.admin.large_body import LargeBody
from dispatcher.queue.admin.listing import letter_body
from dispatcher.queue.admin.message_filter import shown
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.parts import Parts
from dispatcher.queue.admin.selecting import AT_ONCE, by_messages, by_name, select
from dispatcher.queue.admin.surface import (
    Cancelled,
    InMemory,
    LaneFilter,
    LaneOrder,
    LanePage,
    LaneView,
    MessageDetail,
    MessageState,
    MessageView,
    Totals,
)
from dispatcher.queue.admin.views import dead_view, headers_of, past_view, pending_view
from dispatcher.queue.bodies.readback import read_messages
from dispatcher.queue.flow.recent import Past
from dispatcher.queue.lanes.gates import is_shut, opens_at
from dispatcher.queue.lanes.lanes import Lane
from dispatcher.queue.records.ids import id_parts, is_call
from dispatcher.queue.records.letters import DeadLetter

_LANES = 10
"""Lanes that are made ready to be shown before it is asked whether the slice is over."""


class Looking:
    """Looks at one partition, and changes nothing."""

    def __init__(self, parts: Parts, pace: Pace) -> None:
        self._queue = parts
        self._pace = pace

    def totals(self) -> Totals:
        """See `Admin.totals`."""
        queue = self._queue
        figures = queue.figures
        states = figures.count_states()
        return Totals(
            accepted_total=figures.accepted_total,
            delivered_total=figures.delivered_total,
            dead_total=figures.dead_total,
            dead=len(queue.dead_letters),
            log_bytes=queue.log.size_bytes,
            log_live_bytes=queue.pending.live_bytes,
            ready=states["ready"],
            scheduled=states["scheduled"],
            in_flight=states["in_flight"],
        )

    async def lanes(
        self, order: LaneOrder, *, which: LaneFilter, after: str, limit: int
    ) -> LanePage:
        """See `Admin.lanes`. Others may make and forget lanes meanwhile."""
        found = await select(
            self._queue.lanes.in_parts(AT_ONCE),
            rank=by_name if order is LaneOrder.NAME else by_messages,
            limit=limit,
            pace=self._pace,
            wanted=_is_wanted(which, self._queue.clock.now_us()),
            after=(0, after.encode("ascii")) if after else None,
        )
        await learn_heads(self._queue, found.first, self._pace)
        views: list[LaneView] = []
        for start in range(0, len(found.first), _LANES):
            if self._pace.is_over:
                await self._pace.rest()
            now_us = self._queue.clock.now_us()
            views += [self._lane(lane, now_us) for lane in found.first[start : start + _LANES]]
        is_last = order is not LaneOrder.NAME or not found.more
        return LanePage(views, found.total, None if is_last else views[-1].destination)

    def _lane(self, lane: Lane, now_us: int) -> LaneView:
        peer, to_wall = lane.peer, self._queue.clock.to_wall
        opens, trail = opens_at(peer, now_us), peer.trail
        failed_at, failing_since = trail.failed_at, trail.failing_since
        p50_ms, p95_ms = trail.percentiles_ms() or (None, None)
        return LaneView(
            destination=str(lane.destination),
            ready=lane.shown_ready,
            scheduled=lane.shown_scheduled,
            in_flight=peer.in_flight,
            limit=peer.limit.value,
            paused_until_us=to_wall(QueueUs(opens)) if opens else None,
            held=peer.held,
            breaker=peer.breaker.state.value,
            rate=None if peer.bucket is None else str(peer.bucket.rate),
            last_error=trail.last_error,
            last_error_at_us=to_wall(QueueUs(failed_at)) if failed_at else None,
            failing_since_us=to_wall(QueueUs(failing_since)) if failing_since else None,
            delivered_per_s=round(trail.per_second(now_us), 3),
            attempt_p50_ms=p50_ms,
            attempt_p95_ms=p95_ms,
            oldest_at_us=oldest_at(lane, self._queue.pending.index),
        )

    async def message(self, message_id: str) -> MessageView | None:
        """See `Admin.message`."""
        found = await self.detail(message_id)
        return None if found is None else found.message

    async def detail(self, message_id: str) -> MessageDetail | None:
        """See `Admin.message_detail`."""
        key = message_id.encode("ascii")
        # A message changes places while its record is read, but is always in one: who finds it
        # gone where it was looks again, and only a look at all places at once says it is nowhere.
        while True:
            if not is_call(key) and key in self._queue.dead_letters:
                for letter in await self._queue.dead_letters.read([key]):
                    assert isinstance(letter, DeadLetter), "no call has the id of a message"
                    body = letter_body(self._queue.dead_letters, letter)
                    return MessageDetail(dead_view(letter), headers_of(letter.message), body)
            elif self.slot(key) >= 0:
                if (found := await self._pending(key)) is not None:
                    slot, message = found
                    view = self.pending_view(slot, message)
                    return MessageDetail(view, headers_of(message), self._body(slot, message))
            else:
                past = self._past(key)
                return None if past is None else MessageDetail(past_view(message_id, past))

    def _body(self, slot: int, message: Message) -> AsyncIterable[bytes]:
        if message.chunks is None:
            return InMemory(message.body)
        return LargeBody(self._queue, slot, message)

    def slot(self, key: bytes) -> int:
        """The slot of a pending message, -1 when none has this id."""
        partition, incarnation, position = id_parts(key)
        if partition != self._queue.partition:
            return -1
        return self._queue.pending.find(position, incarnation)

    def pending_view(self, slot: int, message: Message) -> MessageView:
        """A message that was just read, as it is shown."""
        index = self._queue.pending.index
        state = shown(self._queue.pending, slot)
        due = self._queue.clock.to_wall(QueueUs(index.due_at[slot]))
        in_flight = state is MessageState.IN_FLIGHT
        return pending_view(
            message,
            state,
            message.attempt + in_flight,
            due if state is MessageState.SCHEDULED else None,
        )

    def too_late(self, key: bytes) -> Cancelled | None:
        """Why a message can't be cancelled any more; None when it can."""
        if not is_call(key) and key in self._queue.dead_letters:
            return Cancelled.DEAD
        slot = self.slot(key)
        if slot < 0:
            return Cancelled.UNKNOWN if self._past(key) is None else Cancelled.DELIVERED
        state = shown(self._queue.pending, slot)
        return None if may(state, MessageEvent.CANCELLED) else Cancelled.IN_FLIGHT

    def _past(self, key: bytes) -> Past | None:
        _, incarnation, position = id_parts(key)
        return self._queue.recent.find(position, incarnation)

    async def _pending(self, key: bytes) -> tuple[int, Message] | None:
        """The slot and the message of a pending id, read from the log."""
        queue = self._queue
        _, incarnation, position = id_parts(key)
        index = queue.pending.index
        while True:
            slot = queue.pending.find(position, incarnation)
            if slot < 0:
                return None
            messages = await read_messages(
                queue.log, queue.pending, [slot], partition=queue.partition
            )
            if messages is None:
                continue
            (message,) = messages
            if not index.holds(slot, position, incarnation) or message.wire_id != key:
                return None
            if message.attempt != index.attempts[slot]:
                continue  # an attempt ended meanwhile
            return slot, message


def _is_wanted(which: LaneFilter, now_us: int) -> Callable[[Lane], bool]:
    """Whether a lane is shown, and is meant: asked of each there is."""

    def is_shown(lane: Lane) -> bool:
        return not lane.idle or is_shut(lane.peer, now_us)

    def is_meant(lane: Lane) -> bool:
        name, is_held = str(lane.destination), lane.peer.held
        return is_shown(lane) and which.fits(
            name, is_held=is_held, is_failing=is_failing(lane, now_us)
        )

    return is_shown if which == EVERY_LANE else is_meant
