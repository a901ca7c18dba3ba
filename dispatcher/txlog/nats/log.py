"""The engine as the queue sees it: a stream, its publisher, and copies of what it holds.

What always holds: a batch that is acknowledged is the next message of the stream, and every owner
that opens the log reads it; a batch that is refused because of a fence is not stored.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from dispatcher.core.histogram import Histogram
from dispatcher.errors import (
    BatchTooLarge,
    LogCorrupt,
    LogError,
    LogFenced,
    LogTrimmed,
    LogUnavailable,
    LogUnknown,
)
from dispatcher.txlog import RECORD_OVERHEAD_BYTES, SYNC_US, Bounds, Visit, Walk
from dispatcher.txlog.nats.asking import Patience
from dispatcher.txlog.nats.batch import (
    Batch,
    Fence,
    decode,
    encode_batch,
    encode_fence,
    position_of,
    records_of,
    sequence_of,
)
from dispatcher.txlog.nats.chain import Chain
from dispatcher.txlog.nats.copies import Copies
from dispatcher.txlog.nats.fence import check_epoch, put_fence, refuse_higher
from dispatcher.txlog.nats.link import Link
from dispatcher.txlog.nats.publishing import Publisher
from dispatcher.txlog.nats.reading import fetch_all
from dispatcher.txlog.nats.sizes import Sizes
from dispatcher.txlog.nats.stream import Held, Stream
from dispatcher.txlog.nats.trimming import TRIM_BYTES, Trimming
from dispatcher.txlog.nats.walk import StreamWalk
from dispatcher.txlog.nats.watching import Watch

_MAX_BATCH_BYTES: Final = 512 * 1024
_MARGIN_BYTES: Final = 64 << 20
"""What the stream may hold above the quota: for what settles messages, and for fences."""
_REFUSED_S: Final = 5.0
"""For how long there is no room after the servers had no space. Only a batch finds out more."""
_PATIENCE: Final = Patience()

_Done = asyncio.Future[list[int]]


class NatsLog:
    """A partition's log in a stream. A `TransactionLog`.

    `quota_bytes` is what it may hold of what is not urgent.
    """

    def __init__(
        self,
        link: Link,
        stream: str,
        mirror: Path,
        *,
        replicas: int = 3,
        quota_bytes: int = 4 << 30,
        at_least: int = 0,
        patience: Patience = _PATIENCE,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """`mirror` is a directory on a disk of this machine, never in memory. `at_least` is an end
        that the log is known to have had: one that ends before it has lost records."""
        self.on_lost: Callable[[LogError], object] | None = None
        self.quota_bytes = quota_bytes
        self.sync_us = Histogram(SYNC_US)
        self._stream = Stream(
            link,
            stream,
            replicas=replicas,
            max_bytes=quota_bytes + _MARGIN_BYTES,
            patience=patience,
        )
        self._at_least = at_least
        self._random = random
        self._copies = Copies(self._stream, mirror, self._first, self._last)
        self._sizes = Sizes(1)
        self._trimming = Trimming(
            self._stream, self._sizes, fence=self._last_fence, freed=self._freed
        )
        self._opening = (0, 0)
        self._publisher: Publisher | None = None
        self.fence = Fence(0, 0, "")  # of this owner
        self._number = 0
        self._refused_at = -_REFUSED_S
        self._failure: LogError | None = None
        self._is_closed = False
        self._under_way: asyncio.Task[None] | None = None
        self._watch: Watch | None = None
        self._loop: asyncio.AbstractEventLoop

    @property
    def max_batch_bytes(self) -> int:
        return _MAX_BATCH_BYTES

    @property
    def size_bytes(self) -> int:
        return self._sizes.total_bytes

    @property
    def urgent_bytes(self) -> int:
        return max(0, self.quota_bytes + _MARGIN_BYTES - self._sizes.total_bytes)

    @property
    def oldest_ends_at(self) -> int | None:
        behind = self._sizes.after(TRIM_BYTES)
        return None if behind is None else position_of(behind, 0)

    @property
    def opening(self) -> tuple[int, int]:
        return self._opening

    @property
    def late_since(self) -> float | None:
        return None if self._publisher is None else self._publisher.late_since

    @property
    def trouble(self) -> OSError | None:
        """Why this machine's copy of the log lacks something: reading is slow then, and nothing is
        lost. None: it lacks nothing."""
        return self._copies.trouble

    @property
    def patience(self) -> Patience:
        """How long things are waited for. May be changed at any time."""
        return self._stream.patience

    @patience.setter
    def patience(self, patience: Patience) -> None:
        self._stream.patience = patience

    def without_mirror(self) -> None:
        """Keep no copy on this machine from now on, and use none: each read asks the servers."""
        self._copies.is_mirrored = False

    def room(self) -> bool:
        if self._failure is not None or self._is_closed:
            return False
        if self._loop.time() - self._refused_at < _REFUSED_S:
            return False
        return self._sizes.total_bytes + _MAX_BATCH_BYTES <= self.quota_bytes

    # Opening

    async def open(self, owner: str, epoch: int, visit: Visit | None = None) -> Bounds:
        """`visit` is called on the loop, which has turns in between."""
        self._loop = asyncio.get_running_loop()
        stream = self._stream
        await self._check_end()
        await check_epoch(stream, epoch)
        self.fence = Fence(int.from_bytes(self._random(8), "little"), epoch, owner)
        # Before the fence is there: what comes after it has to be heard.
        self._watch = Watch(stream, self.fence, lost=self._heard_of, settled=self._settled)
        await self._watch.start()
        try:
            last = await put_fence(stream, self.fence)
            await self._replay(last, epoch, visit)
        except BaseException:
            await self.close()
            raise
        self._publisher = Publisher(
            stream, token=self.fence.token, epoch=epoch, last=last, fence=last
        )
        return self.bounds()

    async def _check_end(self) -> None:
        """Nothing is written to a log that has lost its end: fences would take the place of what is
        lost, and nobody would miss it. A new leader may have to catch up first."""
        stream, until = self._stream, self._loop.time() + self.patience.open_s
        held = await stream.ready()
        while position_of(held.last + 1, 0) < self._at_least:
            if self._loop.time() >= until:
                why = f"the log ends behind it, and had reached position {self._at_least:#x}"
                raise stream.damaged(held.last, why)
            await asyncio.sleep(self.patience.again_s)
            held = await stream.held()

    async def _replay(self, last: int, epoch: int, visit: Visit | None) -> None:
        held = await self._stream.held()
        self._begin_at(held.first)
        self._opening = (0, held.size_bytes)
        while True:
            try:
                await self._read_on(last, epoch, visit)
            except LogTrimmed:
                # An earlier owner's trim was under way: what it removes is not needed.
                self._begin_at((await self._stream.held()).first)
            else:
                return

    def _begin_at(self, first: int) -> None:
        self._sizes.drop_before(self._sizes.first + len(self._sizes))
        self._sizes.first = first
        self._trimming.begin_at(first)

    async def _read_on(self, last: int, epoch: int, visit: Visit | None) -> None:
        chain = Chain()
        read_bytes, total_bytes = self._opening
        async for messages in fetch_all(self._stream, self._next(), last):
            for sequence, data in messages:
                self._take(sequence, data, chain, epoch, visit)
                read_bytes += len(data)
            self._opening = (read_bytes, max(read_bytes, total_bytes))
            await self._copies.kept()
            await asyncio.sleep(0)

    def _next(self) -> int:
        return self._sizes.first + len(self._sizes)

    def _take(
        self, sequence: int, data: bytes, chain: Chain, epoch: int, visit: Visit | None
    ) -> None:
        found = decode(data)
        wrong = found if isinstance(found, str) else chain.wrong(found)
        if wrong is not None or isinstance(found, str):
            raise self._stream.damaged(sequence, str(wrong))
        self._sizes.add(len(data))
        self._copies.keep(sequence, data)
        if isinstance(found, Fence):
            refuse_higher(self._stream, found, epoch)
        elif visit is not None and found.begins:
            visit(records_of(sequence, found, data))

    # Appending

    def append(self, batch: Sequence[bytes], *, urgent: bool = False) -> asyncio.Future[list[int]]:
        if self._under_way is not None:
            raise RuntimeError("an append is under way: batches are appended one at a time")
        done: _Done = asyncio.get_running_loop().create_future()
        try:
            publisher = self._check_append(batch, urgent)
        except LogError as error:
            done.set_exception(error)
            return done
        if not batch:
            done.set_result([])
            return done
        # Not what is returned: a caller who gives up cancels nothing that may be stored.
        self._under_way = self._loop.create_task(self._append(publisher, batch, done))
        return done

    def _check_append(self, batch: Sequence[bytes], urgent: bool) -> Publisher:
        if self._failure is not None:
            raise self._failure
        publisher = self._publisher
        if publisher is None or self._is_closed:
            raise self._not_open()
        need = sum(map(len, batch)) + RECORD_OVERHEAD_BYTES * len(batch)
        if need > _MAX_BATCH_BYTES:
            raise BatchTooLarge(
                f"the batch has {need} bytes, {_MAX_BATCH_BYTES} is the most: append it in parts"
            )
        if not urgent and self._sizes.total_bytes + need > self.quota_bytes:
            raise LogUnavailable(
                f"stream {self._stream.name}: its quota of {self.quota_bytes} bytes is used up."
                " Nothing was stored."
            )
        return publisher

    async def _append(self, publisher: Publisher, batch: Sequence[bytes], done: _Done) -> None:
        """Never raises: whoever waits is told."""
        began_s = time.monotonic()
        try:
            positions = await self._store(publisher, batch)
        except BaseException as error:
            self._under_way = None
            if isinstance(error, LogUnknown | LogFenced | LogCorrupt):
                self._lose(error)
            elif isinstance(error, LogUnavailable):
                self._refused_at = self._loop.time()
            if not isinstance(error, Exception):
                # The loop ends under it: nobody knows what became of the batch.
                error = LogUnknown(f"stream {self._stream.name}: given up")
            if not done.done():
                done.set_exception(error)
        else:
            self._under_way = None
            self.sync_us.observe(int((time.monotonic() - began_s) * 1e6))
            if not done.done():
                done.set_result(positions)

    async def _store(self, publisher: Publisher, batch: Sequence[bytes]) -> list[int]:
        if self._trimming.needs_fence(publisher.fence):
            data = encode_fence(self.fence)
            self._stored(await publisher.store(data, self.fence), data)
            self._trimming.purge_soon()
        number = self._number + 1
        data, offsets = encode_batch(self.fence.token, number, batch)
        sequence = await publisher.store(data, Batch(self.fence.token, number, [], []))
        self._number = number
        self._stored(sequence, data)
        return [position_of(sequence, offset) for offset in offsets]

    def _stored(self, sequence: int, data: bytes) -> None:
        while self._next() < sequence:
            self._sizes.add(0)  # a fence of our own that came late
        self._sizes.add(len(data))
        self._copies.keep(sequence, data)

    def _lose(self, error: LogError) -> None:
        if self._failure is None:
            self._failure = error
            if not isinstance(error, LogCorrupt):
                # Behind the callbacks of an append that finds it out.
                self._loop.call_soon(self._loop.call_soon, self._tell_lost, error)

    def _tell_lost(self, error: LogError) -> None:
        tell, self.on_lost = self.on_lost, None
        if tell is not None:
            tell(error)

    def _heard_of(self, error: LogFenced) -> None:
        """Another owner has opened the log."""
        if not self._is_closed and self._publisher is not None:
            self._lose(error)

    async def _settled(self) -> None:
        """Wait until no batch is under way."""
        if self._under_way is not None:
            await asyncio.wait([self._under_way])

    # What is there

    async def read(self, positions: Sequence[int]) -> list[bytes]:
        """Of a log that was fenced too: what it held is still there."""
        self._check_open()
        return await self._copies.records(positions)

    def bounds(self) -> Bounds:
        return Bounds(position_of(self._first(), 0), position_of(self._next(), 0))

    def walk(self, upto: int) -> Walk:
        self._check_open()
        return StreamWalk(self, upto)

    async def held(self) -> Held:
        """Return what the stream's leader says it holds. Raises LogBusy, LogError."""
        return await self._stream.held()

    async def message(self, sequence: int) -> tuple[bytes, Batch | Fence]:
        """Return a message, verified. Raises LogCorrupt, LogTrimmed, LogBusy, LogUnknown."""
        self._check_open()
        return await self._copies.message(sequence)

    def _first(self) -> int:
        return self._trimming.first

    def _last(self) -> int:
        return self._next() - 1

    def _check_open(self) -> None:
        if self._publisher is None or self._is_closed:
            raise self._not_open()

    def _not_open(self) -> LogUnknown:
        return LogUnknown(f"stream {self._stream.name}: the log is not open")

    # Trimming, closing

    async def trim(self, upto: int) -> None:
        """Waits until what is worth a request is removed."""
        self._check_open()
        if isinstance(self._failure, LogFenced | LogUnknown):
            raise self._failure
        await self._trimming.trim(min(sequence_of(upto), self._next()))

    def _last_fence(self) -> int | None:
        return None if self._publisher is None else self._publisher.fence

    def _freed(self, before: int) -> None:
        self._copies.drop_before(before)
        self._refused_at = -_REFUSED_S

    async def close(self) -> None:
        """A batch under way is waited for, for as long as its verdict may take."""
        self._is_closed = True
        await self._trimming.close()
        if self._watch is not None:
            await self._watch.close()
        await self._settled()
        await self._copies.close()
