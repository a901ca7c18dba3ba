"""The audit's log: entries wait in memory until they are written, mostly for a millisecond.

Nothing here may stop the server, nor lose what it can keep: while the log cannot be made, opened or
written (no space, damage, a place that cannot be used) entries wait, the newest thousand of them,
and it is tried again. That is told once, and once more when it is over. Where nobody knows whether
a batch was stored the log is opened anew, which says it. After a failed sync that would prove
nothing, and another owner's log is not this one's any more: then the newest are in memory only.

The log is bounded: while it takes more than that its oldest segment goes, with what is in it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final, Protocol

from dispatcher.audit.entries import Entry, EntryFilter, EntryPage
from dispatcher.audit.index import Index
from dispatcher.audit.records import MOST_BYTES, decode_entry, encode_entry, head_of
from dispatcher.errors import ConfigError, LogError, LogFenced, LogTrimmed, LogUnknown
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.records.kinds import RecordError
from dispatcher.telemetry.supervisor import Supervisor
from dispatcher.txlog import RECORD_OVERHEAD_BYTES, TransactionLog, each

MOST_WAITING: Final = 1000
"""Entries that wait in memory at most."""
PATIENCE_SECONDS: Final = 1.0
"""How long an operator's answer waits until what was done is written, at most."""
_AGAIN_SECONDS: Final = 1.0
_MOST_PAUSE_SECONDS: Final = 60.0
_READ_AT_ONCE: Final = 100
_LOOKED_AT_ONCE: Final = 2000
"""Entries that are looked at, or read, before others get their turn: half a millisecond."""


class Told(Protocol):
    """Who is told whether the audit is kept."""

    def audit_unkept(self, *, reason: str) -> None:
        """Entries wait in memory from now on."""

    def audit_kept(self, *, lost: int) -> None:
        """They are written again; so many of them were too many to wait."""


class AuditLog:
    """What operators did. Life: `await open()`, `start()`, then `await stop()`."""

    def __init__(
        self,
        make_log: Callable[[], TransactionLog],
        *,
        exists: bool,
        max_bytes: int,
        supervisor: Supervisor,
        told: Told,
    ) -> None:
        """`make_log` names the log, anew each time that it could not be opened; `exists` says that
        there is one on the disk; `max_bytes` is what it may take there, and one segment."""
        self._make_log = make_log
        self._exists = exists
        self._max_bytes = max_bytes
        self._supervisor = supervisor
        self._told = told
        self._index = Index()
        self._waiting: deque[Entry] = deque()
        self._wanted = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._writing: asyncio.Task[None] | None = None
        self._log: TransactionLog | None = None
        self._next = 1
        self._lost = 0
        self._reason: str | None = None
        self._owner = ""
        self._epoch = 0
        self._is_numbered = False  # what waits was numbered for this log
        self._is_over = False  # stopped
        self._is_broken = False  # nothing is known of what is in the file
        self.batches = 0

    def __repr__(self) -> str:
        return f"<AuditLog {len(self._index)}, {len(self._waiting)} wait>"

    @property
    def log(self) -> TransactionLog | None:
        """The log, while it is open and well; for a backup."""
        return None if self._is_broken else self._log

    @property
    def unkept(self) -> str | None:
        """Why entries are not written now; None: they are."""
        return self._reason

    async def open(self, owner: str, epoch: int) -> None:
        """Read the log, if there is one. Raises nothing: one that cannot be used is told, and tried
        again later."""
        self._owner, self._epoch = owner, epoch
        if self._exists:
            with suppress(LogError, ConfigError, RecordError):
                await self._opened()

    def start(self) -> None:
        """Begin to write; a log that is there and could not be opened is tried again."""
        if self._exists and self._log is None:
            self._wanted.set()
        self._writing = self._supervisor.spawn("audit", self._write())
        self._writing.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Write what waits, unless that fails now, and close the log. Idempotent."""
        await self.written()
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.cancel()
            await asyncio.wait([writing])
        self._is_over = True
        log, self._log = self._log, None
        if log is not None:
            await log.close()

    def add(self, entry: Entry) -> None:
        """Keep one more."""
        if self._is_over:
            return
        self._waiting.append(replace(entry, number=self._next))
        self._next += 1
        if len(self._waiting) > MOST_WAITING:
            self._waiting.popleft()
            self._lost += 1
        self._idle.clear()
        self._wanted.set()

    async def written(self) -> None:
        """Return when all that was added is written, or when that takes too long or fails: nobody
        waits for the audit for long."""
        if self._idle.is_set() or self._reason is not None or self._writing is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._idle.wait()

    async def page(
        self, which: EntryFilter, *, before: int | None, limit: int, pace: Pace
    ) -> EntryPage:
        """Find the newest entries that match, of those with a number below `before`.

        Raises:
            LogError: the log cannot be read.
        """
        found = [
            entry
            for entry in reversed(self._waiting)
            if (before is None or entry.number < before) and which.matches(entry)
        ][: limit + 1]
        positions: list[int] = []
        for looked, position in enumerate(self._index.matching(which, before), start=1):
            if position is not None:
                positions.append(position)
            is_enough = len(found) + len(positions) > limit
            if is_enough or len(positions) == _READ_AT_ONCE:
                found += await self._read(positions)
                positions = []
            if len(found) > limit:
                break
            if looked % _LOOKED_AT_ONCE == 0:
                await pace.rest()
        found += await self._read(positions)
        more = len(found) > limit
        return EntryPage(found[:limit], found[limit - 1].number if more else None)

    async def _read(self, positions: list[int]) -> list[Entry]:
        """The entries there; what was trimmed away meanwhile is gone."""
        log = self._log
        if log is None or not positions:
            return []
        try:
            return [decode_entry(payload) for payload in await log.read(positions)]
        except LogTrimmed:
            if len(positions) == 1:
                return []
            return [entry for one in positions for entry in await self._read([one])]

    # Writing.

    async def _write(self) -> None:
        pause_s = _AGAIN_SECONDS
        while not self._is_broken:
            await self._wanted.wait()
            try:
                await self._write_all()
            except (LogError, ConfigError, RecordError) as error:
                self._failed(error)
                if isinstance(error, LogUnknown) and not self._is_broken:
                    await self._let_go()
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _MOST_PAUSE_SECONDS)
            else:
                self._is_well()
                pause_s = _AGAIN_SECONDS

    async def _write_all(self) -> None:
        log = await self._opened()
        while self._waiting:
            batch = self._portion(log)
            payloads = [encode_entry(entry) for entry in batch]
            positions = await log.append(payloads)
            self.batches += 1
            for position, payload in zip(positions, payloads, strict=True):
                self._index.add(position, head_of(payload))
            last = batch[-1].number
            while self._waiting and self._waiting[0].number <= last:
                self._waiting.popleft()
            await self._trim(log)
        self._wanted.clear()
        self._idle.set()

    def _portion(self, log: TransactionLog) -> list[Entry]:
        """What is written together: as many as certainly fit."""
        most = max(1, log.max_batch_bytes // (MOST_BYTES + RECORD_OVERHEAD_BYTES))
        return [self._waiting[place] for place in range(min(most, len(self._waiting)))]

    async def _opened(self) -> TransactionLog:
        """The log; it is opened, or made.

        Raises:
            LogError, ConfigError, RecordError: it cannot be. That was told.
        """
        if self._log is not None:
            return self._log
        log = self._make_log()
        self._index = Index()
        try:
            await log.open(self._owner, self._epoch, each(self._visit))
        except BaseException as error:
            await log.close()
            self._index = Index()
            if isinstance(error, LogError | ConfigError | RecordError):
                self._failed(error)
            raise
        self._log = log
        self._number_anew()
        self._is_numbered = True
        return log

    async def _let_go(self) -> None:
        """Close the log, which stores nothing more."""
        log, self._log = self._log, None
        if log is not None:
            await log.close()

    def _visit(self, position: int, payload: bytes) -> None:
        self._index.add(position, head_of(payload))

    def _number_anew(self) -> None:
        """What waits comes after what is in the log, unless it turns out to be in it."""
        while self._is_numbered and self._waiting and self._waiting[0].number <= self._index.last:
            self._waiting.popleft()
        if self._index.last >= self._next or self._waiting:
            waiting = list(self._waiting)
            self._next = max(self._next, self._index.last + len(waiting) + 1)
            first = self._next - len(waiting)
            self._waiting = deque(
                replace(entry, number=first + place) for place, entry in enumerate(waiting)
            )

    async def _trim(self, log: TransactionLog) -> None:
        """Let the oldest go while there is too much."""
        while log.size_bytes > self._max_bytes:
            before, upto = log.size_bytes, log.oldest_ends_at
            if upto is None:
                return
            await log.trim(upto)
            self._index.drop_before(log.bounds().first)
            if log.size_bytes >= before:
                return

    def _ended(self, writing: asyncio.Task[None]) -> None:
        """Where something unforeseen ended it, its supervisor tells that; nobody waits for it."""
        if not writing.cancelled() and (error := writing.exception()) is not None:
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        """Told once; a log of which nothing is known any more is not used again."""
        ends_process = isinstance(error, LogUnknown) and error.ends_process
        self._is_broken = ends_process or isinstance(error, LogFenced)
        if self._reason is None:
            self._told.audit_unkept(reason=str(error))
        self._reason = str(error)

    def _is_well(self) -> None:
        if self._reason is not None:
            self._reason = None
            self._told.audit_kept(lost=self._lost)
            self._lost = 0
