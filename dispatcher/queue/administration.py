"""What operators see and do, on top of one queue: `admin.Admin` for real.

Everything that may look through many rows does so in slices, so that no caller of the hot path
waits for an operator. What changes something runs in a task of its own: an operator who hangs up
does not leave it half done.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from dispatcher.core.destination import Destination
from dispatcher.core.message import Message
from dispatcher.errors import LogTrimmed
from dispatcher.queue.admin import (
    AttemptView,
    Cancelled,
    Explanation,
    InMemory,
    LaneView,
    LetterDetail,
    LetterFilter,
    LetterGone,
    LetterGroup,
    LetterPage,
    LetterView,
    Listener,
    MessageState,
    MessageView,
    Moved,
    Reason,
    Totals,
)
from dispatcher.queue.deadletters import DeadLetters
from dispatcher.queue.explaining import (
    MOST_BEFORE,
    Why,
    is_under_way,
    waits_for_retry,
    waits_in_lane,
)
from dispatcher.queue.index import NO_SLOT, State
from dispatcher.queue.lanes import Lane
from dispatcher.queue.letters import Cause
from dispatcher.queue.readback import read_messages
from dispatcher.queue.recent import Past
from dispatcher.queue.records import DeadLetter, decode_history, last_attempt
from dispatcher.queue.redrive import MOST_AT_ONCE

if TYPE_CHECKING:
    from dispatcher.queue.queue import Queue

T = TypeVar("T")

_SLICE = 500
"""Rows that are looked at before others get their turn: half a millisecond."""
_LANES = 200
"""Lanes that are looked at before others get their turn."""
_READ_BYTES = 1024 * 1024
_READ_MOST = 4
"""What is read of dead letters at once, and thrown away but for what a list shows."""
_REST_SECONDS = 0.002
"""Between slices. Without it a list would take every moment that the hot path leaves, and each
message would wait for a slice at each of its steps."""
_STATES = {
    State.READY: MessageState.READY,
    State.SCHEDULED: MessageState.SCHEDULED,
    State.IN_FLIGHT: MessageState.IN_FLIGHT,
}


class Administration:
    """Looks at a queue and changes it, on the event loop's thread."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._tasks: set[asyncio.Task[Any]] = set()

    # ------------------------------------------------------------------ looking

    def totals(self) -> Totals:
        """See `Admin.totals`."""
        queue = self._queue
        states = queue.count_states()
        return Totals(
            accepted_total=queue.accepted_total,
            delivered_total=queue.delivered_total,
            dead_total=queue.dead_total,
            dead=len(queue.dead_letters),
            log_bytes=queue.log_bytes,
            log_live_bytes=queue.pending.index.live_bytes,
            **states,
        )

    async def lanes(self) -> Sequence[LaneView]:
        """See `Admin.lanes`. Others may make and forget lanes meanwhile."""
        lanes = list(self._queue.lanes)
        runs: list[list[LaneView]] = []
        for start in range(0, len(lanes), _LANES):
            if start:
                await asyncio.sleep(_REST_SECONDS)
            now_us = self._queue.now_us()
            views = [
                self._lane(lane, now_us)
                for lane in lanes[start : start + _LANES]
                if not lane.idle or lane.wakes_at()
            ]
            runs.append(sorted(views, key=_name))
        return await _merged(runs)

    def _lane(self, lane: Lane, now_us: int) -> LaneView:
        wakes_at = lane.wakes_at()
        return LaneView(
            destination=str(lane.destination),
            ready=lane.ready,
            scheduled=lane.scheduled,
            in_flight=lane.in_flight,
            limit=lane.limit.value,
            paused_until_us=wakes_at + self._queue.wall_offset_us if wakes_at > now_us else None,
            paused=lane.held,
            breaker=lane.breaker.state.value,
        )

    async def message(self, message_id: str) -> MessageView | None:
        """See `Admin.message`."""
        key = message_id.encode("ascii")
        for letter in await self._queue.dead_letters.read([key]):
            message = letter.message
            return _view(message, MessageState.DEAD, message.attempt, None)
        past = self._past(key)
        if past is not None:
            return _past_view(message_id, past)
        found = await self._pending(key)
        if found is None:
            past = self._past(key)  # delivered while its record was read
            return None if past is None else _past_view(message_id, past)
        slot, message = found
        index = self._queue.pending.index
        state = _STATES[State(index.state[slot])]
        due = index.due_at[slot] + self._queue.wall_offset_us
        in_flight = state is MessageState.IN_FLIGHT
        return _view(
            message,
            state,
            message.attempt + in_flight,
            due if state is MessageState.SCHEDULED else None,
        )

    async def explain(self, message_id: str) -> Explanation | None:
        """See `Admin.explain`."""
        view = await self.message(message_id)
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
            case MessageState.SCHEDULED:
                return waits_for_retry(view.next_attempt_at_us or 0, view.attempts)
            case MessageState.IN_FLIGHT:
                return is_under_way(view.attempts, queue.under_way(view.id.encode("ascii")))
            case MessageState.READY:
                lane = queue.lanes.of(Destination.parse(view.destination))
                return waits_in_lane(
                    lane,
                    before=self._before(lane, int(view.id[12:], 16)),
                    is_free=queue.in_flight < queue.workers,
                    now_us=queue.now_us(),
                    offset_us=queue.wall_offset_us,
                )

    def _before(self, lane: Lane, position: int) -> int:
        """How many messages of a lane are before this one; counted up to a bound."""
        index = self._queue.pending.index
        slot, before = lane.head, 0
        while slot != NO_SLOT and index.id_position[slot] != position and before < MOST_BEFORE:
            slot, before = index.next[slot], before + 1
        return before

    def _past(self, key: bytes) -> Past | None:
        return self._queue.recent.find(int(key[12:], 16), int(key[4:12], 16))

    async def _pending(self, key: bytes) -> tuple[int, Message] | None:
        """The slot and the message of a pending id, read from the log."""
        queue = self._queue
        position = int(key[12:], 16)
        index = queue.pending.index
        while True:
            slot = queue.pending.find(position)
            if slot < 0:
                return None
            lies_at = index.position[slot]
            try:
                (message,) = await read_messages(
                    queue.log, queue.pending, [slot], partition=queue.partition
                )
            except LogTrimmed:
                if queue.pending.find(position) == slot and index.position[slot] == lies_at:
                    raise
                continue  # settled, or copied forward
            if not index.holds(slot, position) or message.wire_id != key:
                return None
            return slot, message

    # ------------------------------------------------------------------ one message

    async def cancel(self, message_id: str) -> Cancelled:
        """See `Admin.cancel`."""
        view = await self.message(message_id)
        if view is None:
            return Cancelled.UNKNOWN
        queue = self._queue
        slot = queue.pending.find(int(message_id[12:], 16))
        match view.state:
            case MessageState.DELIVERED:
                return Cancelled.DELIVERED
            case MessageState.DEAD:
                return Cancelled.DEAD
        if slot < 0 or queue.pending.index.state[slot] == State.IN_FLIGHT:
            return Cancelled.IN_FLIGHT
        durable = queue.cancel(slot)  # now, not when a task begins
        await self._run(durable)
        return Cancelled.DONE

    # ------------------------------------------------------------------ dead letters

    async def letters(self, which: LetterFilter, *, cursor: int, limit: int) -> LetterPage:
        """See `Admin.letters`."""
        letters = self._queue.dead_letters.letters
        ids: list[bytes] = []
        ordinal = cursor
        more = False
        async for row in self._rows(which, cursor):
            if len(ids) == limit:
                more = True
                break
            ids.append(letters.id(row))
            ordinal = letters.ordinal[row]
        return LetterPage(await self._read(ids), ordinal if more else None)

    async def letter_groups(self, which: LetterFilter) -> Sequence[LetterGroup]:
        """See `Admin.letter_groups`."""
        letters = self._queue.dead_letters.letters
        found: dict[Cause, list[int]] = {}
        async for row in self._rows(which):
            dead_at, size = letters.dead_at[row], letters.body_sizes[row]
            group = found.setdefault(letters.cause(row), [0, 0, dead_at, dead_at])
            group[0] += 1
            group[1] += size
            group[3] = dead_at
        groups: list[LetterGroup] = []
        for cause, figures in found.items():
            groups.append(
                LetterGroup(cause.destination, cause.status, cause.error, cause.reason, *figures)
            )
            if not len(groups) % _SLICE:
                await asyncio.sleep(_REST_SECONDS)
        return sorted(groups, key=lambda group: -group.count)

    async def letter(self, message_id: str) -> LetterDetail | None:
        """See `Admin.letter`."""
        dead_letters = self._queue.dead_letters
        key = message_id.encode("ascii")
        for letter in await dead_letters.read([key]):
            chunks = letter.message.chunks
            if chunks is None:
                return _detail(letter, InMemory(letter.message.body))
            return _detail(letter, _InChunks(dead_letters, key, len(chunks)))
        return None

    async def count_letters(self, which: LetterFilter) -> int:
        """See `Admin.count_letters`."""
        count = 0
        async for _ in self._rows(which):
            count += 1
        return count

    def missing_letters(self, ids: Sequence[str]) -> Sequence[str]:
        """See `Admin.missing_letters`."""
        dead_letters = self._queue.dead_letters
        return [one for one in ids if one.encode("ascii") not in dead_letters]

    async def redrive(
        self, which: LetterFilter | Sequence[str], *, rate: int | None = None
    ) -> Moved:
        """See `Admin.redrive`."""
        return await self._run(self._redrive(which, rate))

    async def purge(self, which: LetterFilter | Sequence[str]) -> Moved:
        """See `Admin.purge`."""
        return await self._run(self._purge(which))

    async def _redrive(self, which: LetterFilter | Sequence[str], rate: int | None) -> Moved:
        loop = asyncio.get_running_loop()
        started = loop.time()
        count = 0
        not_found: list[str] = []
        most = MOST_AT_ONCE if rate is None else max(1, min(MOST_AT_ONCE, rate // 10))
        async for ids in self._portions(which, most):
            done = await self._queue.redriver.redrive(ids)
            count += len(done)
            if not isinstance(which, LetterFilter):
                not_found += _without(ids, done)
            if rate is not None:
                await asyncio.sleep(max(0.0, started + count / rate - loop.time()))
        return Moved(count, not_found)

    async def _purge(self, which: LetterFilter | Sequence[str]) -> Moved:
        count = 0
        not_found: list[str] = []
        async for ids in self._portions(which, 1000):
            done = await self._queue.redriver.purge(ids)
            count += len(done)
            if not isinstance(which, LetterFilter):
                not_found += _without(ids, done)
        return Moved(count, not_found)

    async def _portions(
        self, which: LetterFilter | Sequence[str], most: int
    ) -> AsyncIterator[list[bytes]]:
        """Ids, a few at a time; of a filter, those that were dead when it began."""
        if not isinstance(which, LetterFilter):
            keys = [one.encode("ascii") for one in dict.fromkeys(which)]
        else:
            letters = self._queue.dead_letters.letters
            keys = [letters.id(row) async for row in self._rows(which)]
        for start in range(0, len(keys), most):
            yield keys[start : start + most]

    async def _rows(self, which: LetterFilter, after: int = 0) -> AsyncIterator[int]:
        """The rows that match, oldest first. Others may add and remove letters meanwhile."""
        letters = self._queue.dead_letters.letters
        ordinal = after
        while True:
            start = letters.first_after(ordinal)
            rows = range(start, min(start + _SLICE, letters.rows))
            if not rows:
                return
            ordinal = letters.ordinal[rows[-1]]
            for found in [
                row for row in rows if letters.is_alive(row) and letters.fits(row, which)
            ]:
                yield found
            await asyncio.sleep(_REST_SECONDS)

    async def _read(self, ids: list[bytes]) -> list[LetterView]:
        """What is shown of letters, read a few at a time: their bodies are read too."""
        letters = self._queue.dead_letters.letters
        found: list[LetterView] = []
        portion: list[bytes] = []
        portion_bytes = 0
        for message_id in ids:
            row = letters.find(message_id)  # now: others remove letters during a read, rows change
            size = letters.sizes[row] if row >= 0 else 0
            if len(portion) == _READ_MOST or (portion and portion_bytes + size > _READ_BYTES):
                found += map(_letter_view, await self._queue.dead_letters.read(portion))
                await asyncio.sleep(_REST_SECONDS)
                portion, portion_bytes = [], 0
            portion.append(message_id)
            portion_bytes += size
        found += map(_letter_view, await self._queue.dead_letters.read(portion))
        return found

    # ------------------------------------------------------------------ destinations and events

    async def pause(self, destination: str) -> str:
        """See `Admin.pause`."""
        return await self._hold(Destination.parse(destination), held=True)

    async def resume(self, destination: str) -> str:
        """See `Admin.resume`."""
        return await self._hold(Destination.parse(destination), held=False)

    async def _hold(self, destination: Destination, *, held: bool) -> str:
        await self._run(self._queue.hold(destination, held=held))
        return str(destination)

    def subscribe(self, listener: Listener) -> None:
        """See `Admin.subscribe`."""
        self._queue.watch.subscribe(listener)

    def unsubscribe(self, listener: Listener) -> None:
        """See `Admin.unsubscribe`."""
        self._queue.watch.unsubscribe(listener)

    # ------------------------------------------------------------------ tasks

    async def _run(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def stop(self) -> None:
        """End what is under way; what it did so far is durable. Idempotent."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _name(view: LaneView) -> str:
    return view.destination


async def _merged(runs: list[list[LaneView]]) -> list[LaneView]:
    """One list, by name, of those that are. Sorting all of them at once takes milliseconds; two
    that are sorted already are merged in a fraction of that."""
    while len(runs) > 1:
        longer: list[list[LaneView]] = []
        for at in range(0, len(runs), 2):
            longer.append(sorted(chain(*runs[at : at + 2]), key=_name))
            await asyncio.sleep(_REST_SECONDS)
        runs = longer
    return runs[0] if runs else []


def _view(message: Message, state: MessageState, attempts: int, due_us: int | None) -> MessageView:
    last = last_attempt(message.history)
    error = None
    if last is not None:
        error = last.failure.value if last.failure else f"http_{last.status}"
    return MessageView(
        id=message.wire_id.decode("ascii"),
        state=state,
        destination=str(message.destination),
        method=message.method,
        target=message.target,
        accepted_at_us=message.accepted_at,
        attempts=attempts,
        next_attempt_at_us=due_us,
        last_error=error,
    )


def _past_view(message_id: str, past: Past) -> MessageView:
    method, target, _ = past.request_line.decode("ascii").split(" ")
    return MessageView(
        id=message_id,
        state=MessageState.DELIVERED,
        destination=past.destination.decode("ascii"),
        method=method,
        target=target,
        accepted_at_us=past.accepted_at,
        attempts=past.attempts,
        next_attempt_at_us=None,
        last_error=None,
    )


def _letter_view(letter: DeadLetter) -> LetterView:
    message = letter.message
    last = last_attempt(message.history)
    return LetterView(
        id=message.wire_id.decode("ascii"),
        destination=str(message.destination),
        method=message.method,
        target=message.target,
        accepted_at_us=message.accepted_at,
        dead_at_us=letter.dead_at,
        attempts=message.attempt,
        last_status=last.status if last else None,
        last_error=last.failure.value if last and last.failure else None,
        reason=letter.reason,
        size_bytes=message.body_size,
    )


@dataclass(frozen=True, slots=True)
class _InChunks:
    """A large body, of which each piece is read when it is asked for, wherever it is by then."""

    dead_letters: DeadLetters
    key: bytes
    count: int

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for number in range(self.count):
            chunk = await self.dead_letters.read_chunk(self.key, number)
            if chunk is None:
                raise LetterGone
            yield chunk


def _detail(letter: DeadLetter, body: AsyncIterable[bytes]) -> LetterDetail:
    message = letter.message
    lines = message.head.split(b"\r\n")[1:-1]
    pairs = [line.partition(b":") for line in lines]
    history = decode_history(message.history)
    first = message.attempt - len(history) + 1
    return LetterDetail(
        _letter_view(letter),
        headers=[(name, value.strip(b" \t")) for name, _, value in pairs],
        body=body,
        detail=letter.detail,
        redrives=message.redrives,
        history=[
            AttemptView(
                number,
                one.started_at,
                one.duration_ms,
                one.status,
                None if one.failure is None else one.failure.value,
                letter.response_start if number == message.attempt and one.status else None,
            )
            for number, one in enumerate(history, first)
        ],
    )


def _without(ids: Sequence[bytes], done: Sequence[bytes]) -> list[str]:
    known = set(done)
    return [one.decode("ascii") for one in ids if one not in known]
