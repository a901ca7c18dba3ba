"""Compaction: the beginning of a log is given back, and what is still needed in it is copied to the
log's end first.

A log is a queue too: only its beginning can be trimmed, so that every engine can do it. When it
takes more than twice what is needed, the live records of its oldest extents are appended again,
each with all that is known of it, and the extents are trimmed once the copies are durable. Each
byte of dead records pays for copying at most one live byte, so the work is bounded by what was
written.

What counts as needed is what is needed *in memory*; the record that says that a message is settled,
or a letter removed, may still be on its way. Trimming does not wait for it, and must not: on a full
disk there may be no space for that record before something is trimmed. It is safe because only a
prefix of a log goes, with everything in it:
- A crash before the trim is done leaves both: the message is there, and perhaps not what settles
  it. It is delivered again, as after any crash that comes before a settlement is durable.
- A crash after it leaves no message, and what would have settled it names nothing.
- In between, a part of the prefix is gone: of a message whose record stayed, chunks may be gone.
  Recovery knows by their positions that they were trimmed, and that it was settled then.
- Nothing is trimmed whose copy is not durable, and copies lie behind.

On a full disk nothing but the records that end things may use the space that the log keeps back.
Copies may take of it what these records certainly leave, when that frees a whole stretch of the
log; and when something was trimmed the committer, if it is stuck, tries again at once. A disk that
becomes full while something is copied ends that: what is copied by then is dead bytes, what is not
is where it was, and what is dead is trimmed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from dispatcher.errors import LogBusy, Refused
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.compaction.source import RECLAIM, ReclaimPolicy, Source
from dispatcher.queue.pending.extents import Extent, Owner
from dispatcher.queue.refusals import GONE
from dispatcher.txlog import TransactionLog

_PATIENCE: Final = 30
"""Looks in vain, with a rest after each, before something has to give way: half a minute."""


class Reclaimer:
    """Trims and compacts one log. `look` is called after every batch, and while not even urgent
    records find space; it is cheap when nothing is to be done."""

    def __init__(
        self,
        log: TransactionLog,
        source: Source,
        committer: Committer,
        *,
        failed: Callable[[Exception], None],
        policy: ReclaimPolicy = RECLAIM,
        keep_everything: bool = False,
        give_way: Callable[[Sequence[Extent]], bool] = lambda extents: False,
    ) -> None:
        """`failed` is told when the log could not be read or trimmed: the process must end. With
        `keep_everything` the extents are forgotten, and the records stay. `give_way` is asked when
        nothing in these extents, the oldest, could be copied for a while on a full disk: to forget
        what is needed in them, if that can be; True: it is forgotten."""
        self._log = log
        self._source = source
        self._committer = committer
        self._failed = failed
        self._policy = policy
        self._keep_everything = keep_everything
        self._give_way = give_way
        self._in_vain = 0
        self._stopped = False
        self._rests_until = 0.0
        self._task: asyncio.Task[None] | None = None
        self._wake: asyncio.TimerHandle | None = None

    @property
    def is_busy(self) -> bool:
        """Something is being trimmed or copied."""
        return self._task is not None

    def look(self) -> None:
        """See whether the beginning of the log can be dropped or should be copied."""
        if self._task is not None or self._stopped:
            return
        upto = self._droppable()
        untidy = self._source.tidy()
        if self._keep_everything:
            return
        if upto is not None or untidy or (not self._is_resting() and self._is_wasteful()):
            self._task = asyncio.get_running_loop().create_task(self._run(upto))
            self._task.add_done_callback(self._done)

    async def stop(self) -> None:
        """End what is under way, and begin nothing more; a copy that was not finished is dead
        bytes. Idempotent."""
        self._stopped = True
        if self._wake is not None:
            self._wake.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _done(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            # Silence would mean a log that grows for ever.
            self._failed(error if isinstance(error, Exception) else RuntimeError(str(error)))
        elif self._committer.is_stuck:
            self.look()  # no batch comes that would have it look

    def _is_resting(self) -> bool:
        return asyncio.get_running_loop().time() < self._rests_until

    def _rest(self) -> None:
        """Copy nothing for a while; then look again, also when no batch comes that would have it
        look."""
        loop = asyncio.get_running_loop()
        self._rests_until = loop.time() + self._policy.rest_s
        if self._wake is not None:
            self._wake.cancel()
        self._wake = loop.call_at(self._rests_until, self._awake)

    def _awake(self) -> None:
        self._rests_until = 0.0
        self.look()

    def _droppable(self) -> int | None:
        extents = self._source.extents
        current = extents.current
        if not current.live and (
            current.filled >= self._policy.dead_end_bytes or self._committer.full
        ):
            extents.cut()
        return extents.drop_dead()

    async def _run(self, upto: int | None) -> None:
        if upto is not None:
            await self._trim(upto)
        more = self._source.tidy()
        while more:
            await asyncio.sleep(0)
            more = self._source.tidy()
        while not self._is_resting() and (extents := await self._next()):
            await self._copy(extents)
            upto = self._droppable()
            if upto is None:
                self._rest()
            else:
                await self._trim(upto)

    async def _copy(self, extents: list[Extent]) -> None:
        copies = self._committer.copies
        if self._committer.full:
            copies.allow(self.room_bytes())
        try:
            await self._source.copy(extents)
        except LogBusy:
            self._rest()
        except Refused as error:
            if error.refusal in GONE:
                raise
            self._rest()
        finally:
            copies.allow(0)

    async def _trim(self, upto: int) -> None:
        await self._log.trim(upto)
        self._committer.try_again()

    def _is_wasteful(self) -> bool:
        """Whether there may be something to copy."""
        return self._is_held() if self._committer.full else bool(self._wasteful())

    def _is_held(self) -> bool:
        """Whether the beginning of the log is kept by what is needed in it."""
        extents = self._source.extents
        return extents.oldest is not extents.current and bool(extents.oldest.live)

    async def _next(self) -> list[Extent]:
        """The oldest extents that are to be copied now; none, when there is no reason to."""
        if not self._committer.full:
            self._in_vain = 0
            return self._wasteful()
        extents = await self._affordable()
        if extents:
            self._in_vain = 0
            return extents
        self._in_vain += 1
        is_hopeless = self._committer.is_stuck or self._in_vain >= _PATIENCE
        if is_hopeless and self._is_held() and self._give_way(self._stretch()):
            self._in_vain = 0
            upto = self._droppable()
            if upto is not None:
                await self._trim(upto)
        self._rest()  # to see that again with every batch would take too long
        return []

    def _stretch(self) -> list[Extent]:
        """The oldest extents that have to be free before anything is given back."""
        extents = self._source.extents
        ends_at = self._log.oldest_ends_at
        stretch: list[Extent] = []
        span = 0
        for extent in extents:
            if extent is extents.current:
                break
            stretch.append(extent)
            span += extent.filled
            if span >= self._policy.stretch_bytes:
                break
            if ends_at is not None and extents.before(extent) >= ends_at:
                break
        return stretch

    def _wasteful(self) -> list[Extent]:
        """What is to be copied because too much of the log is needed no more."""
        if not self._is_held():
            return []
        extents = self._source.extents
        surplus = extents.span_bytes - 2 * self._source.live_bytes - self._policy.slack_bytes
        if surplus <= 0:
            return []
        group: list[Extent] = []
        cost = 0
        counted: set[Owner] = set()
        for extent in extents:
            cost += self._source.cost_bytes(extent, counted)
            if surplus <= 0 or extent is extents.current:
                break
            if group and cost > self._policy.group_bytes:
                break
            group.append(extent)
            surplus -= extent.filled - extent.live_bytes
        return group

    def room_bytes(self) -> int:
        """What copies may take on a full disk, and what is born as something ends (`endings`)."""
        room = self._log.urgent_bytes - self._source.ending_bytes - self._policy.spare_bytes
        return max(0, room)

    async def _affordable(self) -> list[Extent]:
        """What can be copied on a full disk: a stretch of the log of which so little is needed that
        there is space for its copies, and for ending everything afterwards; and that gives
        something back when it is free."""
        if not self._is_held():
            return []
        extents = self._source.extents
        ends_at = self._log.oldest_ends_at
        group: list[Extent] = []
        enough: list[Extent] = []
        counted: set[Owner] = set()
        cost = span = 0
        for extent in list(extents):
            if extent is extents.current:
                return group if cost <= span // 2 else enough
            cost += self._source.cost_bytes(extent, counted)
            if cost <= self.room_bytes():  # else a look at all that is in it is not needed
                cost += await self._source.growth_bytes(extent)
            if cost > self.room_bytes():
                break
            group.append(extent)
            span += extent.filled
            gives_back = span >= self._policy.stretch_bytes or (
                ends_at is not None and extents.before(extent) >= ends_at
            )
            if gives_back and cost <= span // 2:
                enough = list(group)
            if span >= self._policy.stretch_bytes:
                break
        return enough
