"""The file engine without threads: decides where a batch goes, writes it, keeps the segments in
supply.

`files.FileLog` calls it from its threads, the simulation from one; both run the same code. Who
calls what: `prepare`, `trim` and `bounds` belong to the event loop's thread, `write` to the
writer's, and what is given to `spawn` to the housekeeper's. `prepare` and `write` alternate
strictly, so the tail needs no lock.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from dispatcher.errors import (
    BatchTooLarge,
    LogBusy,
    LogFailed,
    LogUnavailable,
    LogUnknown,
)
from dispatcher.txlog import Bounds, Visit
from dispatcher.txlog.files.cut import Cut
from dispatcher.txlog.files.disk import Disk
from dispatcher.txlog.files.frame import (
    DATA,
    HEADER_BYTES,
    OPEN,
    encode_batch,
    offset_of,
    open_payload,
    position_of,
    seed_of,
    segment_of,
)
from dispatcher.txlog.files.place import cannot_open, lacking, take_lock
from dispatcher.txlog.files.reader import Reader
from dispatcher.txlog.files.recovery import Torn, recover
from dispatcher.txlog.files.segment import (
    HEADER_SPACE,
    MIB,
    Sizes,
    is_no_space,
    is_passing,
)
from dispatcher.txlog.files.walk import FileWalk

RETRY_S: Final = 0.5
"""How often, at most, what was lacking (space, descriptors, memory) is asked for again."""
_REFUSED_S: Final = 5.0
"""For how long there is no room after the disk refused a write into a segment that was made for it,
as a file system does that stores each write at another place. Only a batch finds out more."""
_SMALL_BYTES: Final = 4 * MIB
"""A segment of at most this size has its successor made at once, a larger one when it is half full
(or what is left of it is less than what is kept back): until then a segment that is trimmed away
can become the successor, which saves writing it full of zeros."""


class Waitable(Protocol):
    """A job that was given to the housekeeper."""

    def done(self) -> bool:
        """Say whether it is over."""

    def result(self) -> object:
        """Wait until it is."""


Spawn = Callable[[Callable[[], None]], Waitable]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch as bytes, and where it will stand. `rolls` says that it begins the next segment."""

    data: bytes
    positions: list[int]
    start: int
    end: int
    records: int
    rolls: bool
    urgent: bool


class Engine:
    """One log in one directory."""

    def __init__(
        self,
        directory: Path,
        disk: Disk,
        *,
        spawn: Spawn,
        sizes: Sizes,
        keep_everything: bool = False,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.sizes = sizes
        self.torn: Torn | None = None
        self.opening = (0, 0)
        self._directory = directory
        self._disk = disk
        self._spawn = spawn
        self._keep_everything = keep_everything
        self._clock = clock
        self._random = random
        self._lock_fds: tuple[int, ...] = ()
        self._failure = "is not open"
        self._holds_segments = False
        self._tending: Waitable | None = None
        self._tried_at = -RETRY_S
        self._refused_at = -_REFUSED_S

    # Opening and closing

    def open(self, owner: str, epoch: int, visit: Visit | None) -> Bounds:
        """Do what `TransactionLog.open` says."""
        self._lock_fds = take_lock(self._directory, self._disk)
        try:
            return self._open(owner, epoch, visit)
        except OSError as error:
            self.close()
            raise cannot_open(self._directory, error) from error
        except MemoryError as error:
            self.close()
            raise lacking(self._directory, error) from error
        except BaseException:
            self.close()
            raise

    def _open(self, owner: str, epoch: int, visit: Visit | None) -> Bounds:
        recovered = recover(
            self._directory,
            self._disk,
            self.sizes,
            epoch=epoch,
            random=self._random,
            visit=visit,
            told=self._has_read,
        )
        found = recovered.found
        self.torn = recovered.torn
        self._supply = recovered.supply
        self._active = recovered.active
        self._supply.keep_back(self._active)
        self._tail = found.end
        self._seed = seed_of(found.uid)
        self._reader = Reader(
            self._directory, self._disk, sizes=self.sizes, seed=self._seed, log=self
        )
        self._sequence = 1 if found.chain.sequence is None else found.chain.sequence
        # Before the first batch of all, a place in a segment that never was.
        self._durable_upto = found.chain.end or position_of(found.active - 1, 0)
        self._dead_upto = 0
        self._batch = int.from_bytes(self._random(4), "little")
        self._failure = ""
        self._holds_segments = True
        try:
            opening = self.prepare([open_payload(owner, epoch)], urgent=True, type_=OPEN)
            self.write(opening)
        except LogUnavailable:
            # The lock keeps others out; a start on a full disk can still deliver and so make space.
            pass
        # Where the last record starts; that of another process's is not known here.
        self._last = self._tail
        self._tend_if_due()
        return self.bounds()

    def _has_read(self, read_bytes: int, total_bytes: int) -> None:
        # The end is looked at once more when all was read.
        self.opening = (max(self.opening[0], read_bytes), total_bytes)

    def close(self) -> None:
        """Let go of everything. Idempotent; nothing may be under way."""
        self._failure = self._failure or "is closed"
        if self._holds_segments:
            self._holds_segments = False
            self._disk.close(self._active.fd)
            self._supply.close()
        for fd in self._lock_fds:
            self._disk.close(fd)
        self._lock_fds = ()

    # What is there

    def bounds(self) -> Bounds:
        """Return the first position that is kept, and the end."""
        while True:
            active = self._active.number
            first = next(iter(tuple(self._supply.ends)), active)
            # A reader asks on its own thread, and the log may roll in between.
            if active == self._active.number:
                return Bounds(position_of(first, HEADER_SPACE), self._tail)

    def read(self, positions: Sequence[int]) -> list[bytes]:
        """Do what `TransactionLog.read` says."""
        return self._reader.read(positions)

    def walk(self, upto: int) -> FileWalk:
        """Do what `TransactionLog.walk` says."""
        return FileWalk(self._directory, self._disk, seed=self._seed, upto=upto, log=self)

    def end_of(self, number: int) -> int | None:
        """Return where a segment ends that the writer has left; None: there is no such one."""
        return self._supply.ends.get(number)

    @property
    def size_bytes(self) -> int:
        """Bytes of all segments."""
        return self._supply.size_bytes + self._active.size_bytes

    @property
    def urgent_bytes(self) -> int:
        """Bytes that urgent records can take before the next segment has to be made. Of each
        segment but the last an end that has no room for a batch may stay empty."""
        left = [self._active.size_bytes - offset_of(self._tail)]
        left += [spare.size_bytes - HEADER_SPACE for spare in tuple(self._supply.spares)]
        batch = self.sizes.batch
        return sum(max(0, size - batch) for size in left[:-1]) + left[-1]

    @property
    def oldest_ends_at(self) -> int | None:
        """Where the oldest segment ends; None while it is the active one."""
        return next(iter(tuple(self._supply.ends.values())), None)

    # Appending

    def prepare(self, batch: Sequence[bytes], *, urgent: bool, type_: int = DATA) -> Prepared:
        """Decide where a batch goes, and make its bytes. Raises BatchTooLarge, LogUnknown, LogBusy
        (no memory for them)."""
        self._check_usable()
        need = sum(map(len, batch)) + HEADER_BYTES * len(batch)
        if need > self.sizes.batch:
            raise BatchTooLarge(
                f"the batch has {need} bytes, {self.sizes.batch} is the most: append it in parts"
            )
        rolls = offset_of(self._tail) + need > self._active.size_bytes or self._rolls_early()
        start = position_of(self._active.number + 1, HEADER_SPACE) if rolls else self._tail
        self._batch = (self._batch + 1) & 0xFFFFFFFF
        try:
            data, positions = encode_batch(
                batch,
                type_=type_,
                start=start,
                sequence=self._sequence,
                batch=self._batch,
                durable_upto=self._durable_upto,
                seed=self._seed,
            )
        except MemoryError as error:
            raise lacking(self._directory, error) from error
        return Prepared(data, positions, start, start + need, len(batch), rolls, urgent)

    def _rolls_early(self) -> bool:
        """Nothing in the log is needed: leave a segment that is well used, so that it can be
        freed."""
        if self._dead_upto < self._tail or not self._supply.spares:
            return False
        return 2 * offset_of(self._tail) > self._active.size_bytes

    def write(self, prepared: Prepared) -> None:
        """Put a batch on stable storage. On return it is; raises LogUnavailable (LogBusy where it
        is not space that is lacking) when it certainly is not, LogFailed when nobody knows (nothing
        more can be written then)."""
        self._check_usable()
        self._admit(prepared)
        target = self._supply.spares[0] if prepared.rolls else self._active
        self._store(target.fd, prepared.data, offset_of(prepared.start))
        if prepared.rolls:
            # In this order: the housekeeper must never see neither a spare nor the new active
            # segment.
            left = self._active
            self._supply.left_behind(left, self._tail)
            self._active = target
            self._supply.spares.popleft()
            self._disk.close(left.fd)
        self._sequence += prepared.records
        self._last = prepared.positions[-1]  # before the tail, see `trim`
        self._tail = self._durable_upto = prepared.end
        self._tend_if_due()

    def _admit(self, prepared: Prepared) -> None:
        """Refuse what there is no space for; wait for the next segment only where it is needed
        now."""
        if self._takes(prepared):
            return
        self._wait_for_spare()
        self._check_usable()
        if not self._takes(prepared):
            lack = self._supply.lack
            kind = LogUnavailable if lack is None or is_no_space(lack) else LogBusy
            raise kind(
                f"{self._directory}: the next segment of the log cannot be made now: {lack}."
                " It is tried again by itself."
            ) from lack

    def room(self) -> bool:
        """Do what `TransactionLog.room` says: it is the housekeeper that looks.

        Said of the largest batch: a smaller one may fit into a gap, and the next be refused again.
        """
        if self._failure:
            return False
        need = self.sizes.batch
        offset = offset_of(self._tail)
        rolls = offset + need > self._active.size_bytes or self._rolls_early()
        if self._has_room(rolls=rolls, end=need + (HEADER_SPACE if rolls else offset)):
            return self._clock() - self._refused_at >= _REFUSED_S
        if self._may_try():
            self._tend()
        return False

    def _takes(self, prepared: Prepared) -> bool:
        rolls, end = prepared.rolls, offset_of(prepared.end)
        return self._has_room(rolls=rolls, end=end, urgent=prepared.urgent)

    def _has_room(self, *, rolls: bool, end: int, urgent: bool = False) -> bool:
        """Whether a batch may be stored, with what is made ahead now. `end` is its offset in the
        segment that it goes to, the next one if it `rolls`.

        Urgent records take whatever is there. The others leave space behind them (see `supply`);
        and once the disk is full a spare segment, of whatever size: where all that is live lies in
        the active segment, that one can be left, and so freed, only for another one.
        """
        supply = self._supply
        spares = tuple(supply.spares)
        if urgent:
            return bool(spares) or not rolls
        if rolls:
            ahead = -end  # the first spare is the next segment
        else:
            size_bytes = self._active.size_bytes
            if not self._wants_spare(end, size_bytes):
                return True
            ahead = size_bytes - end
        if not spares and (rolls or supply.no_space):
            return False
        return ahead + sum(spare.size_bytes for spare in spares) >= supply.kept_back

    def _wants_spare(self, offset: int, size_bytes: int) -> bool:
        """Whether a segment of this size that is filled up to `offset` needs its successor."""
        if size_bytes <= _SMALL_BYTES or 2 * offset >= size_bytes:
            return True
        return size_bytes - offset < self._supply.kept_back

    def _store(self, fd: int, data: bytes, offset: int) -> None:
        written = 0
        try:
            while written < len(data):
                rest = data[written:] if written else data
                more = self._disk.pwrite(fd, rest, offset + written)
                if more <= 0:
                    raise self._fail("a write makes no progress")
                written += more
        except OSError as error:
            if not is_passing(error):
                raise self._fail(f"a write failed: {error}") from error
            self._wipe(fd, written, offset)
            if not is_no_space(error):
                raise lacking(self._directory, error) from error
            self._refused_at = self._clock()
            raise LogUnavailable(f"{self._directory}: nothing was stored: {error}") from error
        try:
            self._disk.sync(fd)
        except OSError as error:
            # Never tried again: the kernel may have dropped what it could not write, and would say
            # yes.
            raise self._fail(f"a sync failed: {error}") from error

    def _wipe(self, fd: int, written: int, offset: int) -> None:
        """Take back a part of a batch, for tidiness: without its last frame it counts for nothing,
        and its number keeps it from completing another batch."""
        if written:
            try:
                self._disk.pwrite(fd, bytes(written), offset)
            except OSError as error:
                if not is_passing(error):
                    raise self._fail(f"a write failed: {error}") from error

    def _fail(self, why: str) -> LogFailed:
        self._failure = why
        return LogFailed(
            f"{self._directory}: {why}. The log is closed; a restart recovers what is stored."
        )

    def _check_usable(self) -> None:
        if self._failure:
            raise LogUnknown(f"{self._directory}: the log {self._failure}")
        error = self._supply.failure
        if error is not None:
            raise self._fail(f"making or removing a segment failed: {error}") from error

    # Segments ahead and behind

    def trim(self, upto: int) -> Waitable | None:
        """Note that everything before `upto` is dead; returns the job that frees what it can."""
        self._check_usable()
        if self._keep_everything or upto <= self._dead_upto:
            return None
        # Who trims knows where records start, and not how long the last one is. In this order: the
        # writer may be storing another one, and that must not be taken for dead.
        tail = self._tail
        self._dead_upto = tail if upto > self._last else upto
        oldest = self.oldest_ends_at
        if oldest is None or oldest > self._dead_upto:
            return None
        return self._tend()

    def _tend_if_due(self) -> None:
        """Have the housekeeper look after the segments, when there is something to do."""
        supply = self._supply
        oldest = self.oldest_ends_at
        dead = oldest is not None and oldest <= self._dead_upto
        due = self._wants_spare(offset_of(self._tail), self._active.size_bytes)
        left_over = (supply.leaving and supply.has_leftovers) or (due and supply.is_short)
        if dead or (left_over and self._may_try()):
            self._tend()

    def _may_try(self) -> bool:
        """What was lacking is asked for now and then, not with each batch."""
        if self._tending is not None and not self._tending.done():
            return False
        return self._supply.lack is None or self._clock() - self._tried_at >= RETRY_S

    def _wait_for_spare(self) -> None:
        job = self._tending
        if job is None or job.done():
            if not self._may_try():
                return
            job = self._tend()
        job.result()

    def _tend(self) -> Waitable:
        self._tried_at = self._clock()
        self._tending = self._spawn(lambda: self._supply.tend(self._active, self._dead_upto))
        return self._tending

    # Copying

    def cut(self) -> Cut:
        """Name what is there now, and keep it until `let_go`. One cut at a time.

        Raises LogUnknown.
        """
        self._check_usable()
        if self._supply.pinned:
            raise RuntimeError("a copy is being made already")
        # In this order. What the housekeeper is about to remove is not among the ends any more, or
        # is pinned; what the writer leaves behind meanwhile is at its end where the tail says.
        tail = self._tail
        last = segment_of(tail)
        self._supply.pinned = last
        ends = dict(self._supply.ends)
        active = self._active
        sizes = {active.number: active.size_bytes, **dict(self._supply.bytes_behind)}
        numbers = [*(number for number in ends if number < last), last]
        segments = {number: sizes[number] for number in numbers if number in sizes}
        if last not in segments:
            self._supply.pinned = 0
            raise LogBusy(f"{self._directory}: segments come and go too fast; ask again")
        return Cut(self._supply.uid, tail, segments)

    def is_cut(self) -> bool:
        """Whether what the cut named is still kept."""
        return bool(self._supply.pinned)

    def let_go(self) -> None:
        """Stop keeping segments for a copy. Idempotent."""
        self._supply.pinned = 0
        if self._holds_segments and not self._failure:
            self._tend()
