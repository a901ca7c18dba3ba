"""Dead letters: what was given up, in a log of its own.

A message is written here, with its history, and synced, before the queue settles it: in between it
is in both logs, and the next start settles it (`recovery.reconcile`). A letter ends with a record
that removes it; one that is redriven comes back under the same id with a higher `redrives`, so that
what is left of a crash in between can be told apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace

from dispatcher.errors import LogTooNew
from dispatcher.queue.bodies.readback import Chunks
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.compaction.reclaimer import Reclaimer
from dispatcher.queue.compaction.source import RECLAIM, ReclaimPolicy
from dispatcher.queue.deadletters.burial import MAX_WAITING_BYTES, Burial, Burying, TooLarge
from dispatcher.queue.deadletters.calls import BuryingCalls, Read
from dispatcher.queue.deadletters.holdings import Blocks, Holdings
from dispatcher.queue.deadletters.letters import Letters
from dispatcher.queue.deadletters.reading import Reading
from dispatcher.queue.deadletters.removal import Removing, Then
from dispatcher.queue.deadletters.space import LetterSpace
from dispatcher.queue.deadletters.taking import Taking
from dispatcher.queue.deadletters.uptime import NOTE_SECONDS, Monotonic, Uptime
from dispatcher.queue.deadletters.writing import Writing
from dispatcher.queue.records.dead_calls import CallLetter
from dispatcher.queue.records.either import LETTER_KINDS, AnyLetter, facts_of
from dispatcher.queue.records.ids import is_call
from dispatcher.queue.records.kinds import OVERHEAD_BYTES, STATELESS, Kind
from dispatcher.queue.records.letters import LetterFacts
from dispatcher.queue.records.removed import decode_removals
from dispatcher.queue.records.uptime import decode_uptime
from dispatcher.telemetry.supervisor import Died, Supervisor
from dispatcher.txlog import TransactionLog


class DeadLetters:
    """The dead-letter log of one partition: its parts, and its life.

    `bodies` reads large bodies back from the transaction log, to be copied here by tasks of
    `supervisor`; with it that ends, and their messages are given up again after the next start.
    """

    def __init__(
        self,
        log: TransactionLog,
        bodies: Chunks,
        *,
        partition: int,
        failed: Callable[[Exception], None],
        space_changed: Callable[[bool], None],
        clock: Monotonic,
        died: Died,
        supervisor: Supervisor,
        reclaim: ReclaimPolicy = RECLAIM,
        call_buried: Callable[[CallLetter], None] = lambda letter: None,
        too_large: TooLarge = lambda letter, size_bytes: None,
        blocks: Blocks | None = None,
    ) -> None:
        self._log = log
        self._visited: set[int] = set()  # chunks, while the log is opened
        self._first: int | None = None
        self._lost: dict[bytes, LetterFacts] = {}
        self._space_changed = space_changed
        self.holdings = Holdings(blocks)
        self.uptime = Uptime(clock)
        self.most_waiting_bytes = MAX_WAITING_BYTES
        self._committer = Committer(
            log,
            collect=lambda: self._removing.collect(),
            settled=lambda: self.reclaimer.look(),
            failed=failed,
            space_changed=self._on_space_changed,
            died=died,
        )
        writing = Writing(self._committer, self.holdings.extents)
        self._reading = Reading(log, self.holdings)
        self._removing = Removing(self.holdings, self._committer)
        self._burying = Burying(
            self.holdings,
            self._committer,
            writing,
            bodies,
            self.uptime,
            partition=partition,
            failed=failed,
            too_large=too_large,
            supervisor=supervisor,
        )
        self.calls = BuryingCalls(self.holdings, self._burying, call_buried)
        self._taking = Taking(self.holdings, self._committer, writing)
        self.space = LetterSpace(self.holdings, self._reading, writing)
        self.reclaimer = Reclaimer(log, self.space, self._committer, failed=failed, policy=reclaim)

    def __len__(self) -> int:
        return len(self.letters)

    def __contains__(self, message_id: bytes) -> bool:
        return self.letters.find(message_id) >= 0

    def __iter__(self) -> Iterator[tuple[bytes, int]]:
        """Each dead letter's id and how often it had been redriven."""
        letters = self.letters
        return ((letters.id(row), letters.redrives(row)) for row in letters.alive())

    @property
    def letters(self) -> Letters:
        """The index of what is there."""
        return self.holdings.letters

    @property
    def waiting_bytes(self) -> int:
        """Bytes of dead letters that are not durable yet."""
        return self._committer.waiting_bytes + self._burying.waiting_bytes

    @property
    def is_behind(self) -> bool:
        """Whether so many dead letters wait that no more attempts should be started."""
        return self.waiting_bytes > self.most_waiting_bytes

    @property
    def committer(self) -> Committer:
        """What stores dead letters; for whoever watches over it."""
        return self._committer

    @property
    def full(self) -> bool:
        """There is no space for dead letters; those that come wait in memory."""
        return self._committer.full

    @property
    def lacks_space(self) -> bool:
        """What waits to be stored waits for space."""
        return self._committer.full or self._burying.is_pausing

    def visit(self, position: int, payload: bytes) -> None:
        """Take in a record of the dead-letter log, in order, while it is opened."""
        if self._first is None:
            self._first = position
        size = len(payload) + OVERHEAD_BYTES
        self.holdings.extents.note(position, size)
        kind = payload[0]
        if kind in LETTER_KINDS:
            letter = facts_of(payload)
            self.uptime.visit(letter.uptime_s)
            self._visit_letter(position, letter, size)
        elif kind in (Kind.REMOVED, Kind.REMOVED_MANY):
            for message_id, redrives in decode_removals(payload):
                self._lost.pop(message_id, None)
                row = self.letters.find(message_id)
                if row >= 0 and self.letters.redrives(row) <= redrives:
                    self.holdings.forget(message_id)
        elif kind == Kind.UPTIME:
            self.uptime.visit(decode_uptime(payload))
        elif kind == Kind.CHUNK:
            self._visited.add(position)
        elif kind not in STATELESS:
            raise LogTooNew(kind)

    def _visit_letter(self, position: int, letter: LetterFacts, size: int) -> None:
        if letter.chunks is None or self._visited.issuperset(letter.chunks):
            self._lost.pop(letter.message_id, None)
            self.holdings.enter(letter, position, size)
            return
        # Where a chunk was trimmed, the letter was removed, or its copy comes: nothing that is
        # needed is ever trimmed. Otherwise the log was damaged, and repaired without it.
        assert self._first is not None
        if min(letter.chunks) >= self._first:
            self._lost[letter.message_id] = letter

    async def opened(self) -> Collection[LetterFacts]:
        """Every record was visited; others get their turn while this goes on. Returns the letters
        that are lost, because a part of their body was in a damaged part of the log."""
        for _ in self.letters.sort():
            await asyncio.sleep(0)
        self._visited.clear()
        return [letter for letter in self._lost.values() if letter.message_id not in self]

    def start(self) -> None:
        """Begin to take dead letters. The log is open and was visited."""
        self._committer.start()

    async def stop(self) -> None:
        """Store what was buried, as far as there is space. Idempotent."""
        await self.reclaimer.stop()
        if not self._committer.dead:
            self.note_uptime(every_s=1)
        await self.flush()
        await self._committer.stop()

    def note_uptime(self, *, every_s: int = NOTE_SECONDS) -> None:
        """See `Uptime.note`."""
        self.uptime.note(self.holdings, self._committer, every_s=every_s)

    async def flush(self) -> None:
        """Return when what was buried is durable, or has to wait for space."""
        await self._burying.flush()

    def bury(self, burial: Burial, then: Callable[[], None]) -> None:
        """Store a dead letter; `then` is called once it is durable, and not before."""
        self._burying.bury(burial, then)

    def bury_call(
        self, letter: CallLetter, then: Callable[[], None], read: Read | None = None
    ) -> None:
        """Store the letter of a call that is given up; `then` is called once it is durable, never
        before this returns. Where a letter with its id is there already, that one stays, and `then`
        is called at once.

        Args:
            letter: its `chunks` are None; `uptime_s` and the size of its body are set here.
            then: the call may be forgotten from here on.
            read: gives the whole input when there is space for it, also again; without it,
                `letter.body` is the input. It raises what `txlog` does: `LogBusy` for a while.
        """
        self.calls.bury(letter, then, read)

    def call_ids(self) -> Iterator[bytes]:
        """The ids of all calls that are dead letters."""
        return (message_id for message_id, _ in self if is_call(message_id))

    async def take(self, burial: Burial, body: Sequence[bytes]) -> None:
        """Store a letter that comes from elsewhere, see `Taking.take`."""
        await self._taking.take(self._burying.letter(burial), body)

    async def take_call(self, letter: CallLetter, body: Sequence[bytes]) -> None:
        """Store the letter of a call that comes from elsewhere, see `Taking.take`."""
        await self._taking.take(replace(letter, uptime_s=self.uptime.at_death_s), body)

    async def read(self, ids: Sequence[bytes]) -> list[AnyLetter]:
        """See `Reading.letters`."""
        return await self._reading.letters(ids)

    async def read_chunk(self, message_id: bytes, number: int) -> bytes | None:
        """See `Reading.chunk`."""
        return await self._reading.chunk(message_id, number)

    def remove(self, ids: Sequence[bytes], then: Then) -> None:
        """See `Removing.remove`."""
        self._removing.remove(ids, then)

    async def drop(self, ids: Sequence[bytes]) -> None:
        """See `Removing.drop`."""
        await self._removing.drop(self._log, ids)

    def _on_space_changed(self, full: bool) -> None:
        self._burying.space_changed(full=full)
        self._space_changed(full)
