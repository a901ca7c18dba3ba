"""Reading messages and records of an open log: from the mirror, else from the stream.

The mirror's thread does one thing after the other, so what was given to it to keep before is there
when it is asked.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from dispatcher.errors import LogCorrupt, LogTrimmed
from dispatcher.txlog.nats.batch import (
    RECORD_HEADER_BYTES,
    Batch,
    Fence,
    decode,
    offset_of,
    sequence_of,
)
from dispatcher.txlog.nats.mirror import Mirror
from dispatcher.txlog.nats.reading import fetch
from dispatcher.txlog.nats.stream import Stream

T = TypeVar("T")

_THREAD: Final = ThreadPoolExecutor(1, "txlog-mirror")
"""Of all logs of the process: what it does is in the page cache, nearly always."""
_UNDER_WAY_BYTES: Final = 16 << 20
"""What the mirror's thread may have to write still; a disk that is slower gets no more copies."""
_FETCHED: Final = 16
"""Messages that are fetched together, and kept for what is read next."""


class Copies:
    """Messages of one stream, as near as they are."""

    def __init__(
        self, stream: Stream, directory: Path, first: Callable[[], int], last: Callable[[], int]
    ) -> None:
        """`first` and `last` say which messages there are."""
        self.is_mirrored = True
        self._stream = stream
        self._first = first
        self._last = last
        self._mirror = Mirror(directory)
        self._under_way_bytes = 0
        self._fetched: OrderedDict[int, bytes] = OrderedDict()
        self._is_closed = False

    @property
    def trouble(self) -> OSError | None:
        """Why the mirror lacks something; None: it does not."""
        return self._mirror.trouble

    def keep(self, sequence: int, data: bytes) -> None:
        """Put a message into the mirror, soon, if its disk is fast enough."""
        size = len(data)
        if self._is_closed or not self.is_mirrored:
            return
        if self._under_way_bytes + size > _UNDER_WAY_BYTES:
            return
        self._under_way_bytes += size
        loop = asyncio.get_running_loop()
        loop.run_in_executor(_THREAD, self._mirror.put, sequence, data).add_done_callback(
            lambda _: self._kept(size)
        )

    def _kept(self, size: int) -> None:
        self._under_way_bytes -= size

    async def kept(self) -> None:
        """Wait until the mirror has what it was given, if that is much: who reads a log faster than
        its disk writes would fill the memory, or leave it without a mirror."""
        if self._under_way_bytes > _UNDER_WAY_BYTES // 2:
            await self._on_thread(lambda: None)

    async def records(self, positions: Sequence[int]) -> list[bytes]:
        """Return the payloads at these positions, in their order. Raises LogCorrupt, LogTrimmed,
        LogBusy."""
        wanted = list(positions)
        self._check(wanted)
        found: list[bytes | None] = [None] * len(wanted)
        if self.is_mirrored:
            found = await self._on_thread(lambda: self._mirror.records(wanted))
        for index in sorted(range(len(wanted)), key=wanted.__getitem__):
            if found[index] is None:
                found[index] = await self._fetched_record(wanted[index])
        return [payload for payload in found if payload is not None]

    def _check(self, positions: list[int]) -> None:
        for position in positions:
            sequence = sequence_of(position)
            if sequence < self._first():
                raise LogTrimmed(f"{self._stream.name}: position {position:#x} was trimmed away")
            if sequence > self._last():
                raise self._no_record(position)

    async def _fetched_record(self, position: int) -> bytes:
        data, found = await self._fetched_message(sequence_of(position))
        begin = offset_of(position) + RECORD_HEADER_BYTES
        if isinstance(found, Batch) and begin in found.begins:
            return data[begin : found.ends[found.begins.index(begin)]]
        raise self._no_record(position)

    def _no_record(self, position: int) -> LogCorrupt:
        why = f"there is no intact record at {offset_of(position)}"
        return self._stream.damaged(sequence_of(position), why)

    async def message(self, sequence: int) -> tuple[bytes, Batch | Fence]:
        """Return a message, verified. Raises LogCorrupt, LogTrimmed, LogBusy."""
        if self.is_mirrored:
            data = await self._on_thread(lambda: self._mirror.message(sequence))
            found = decode(data) if data is not None else ""
            if data is not None and not isinstance(found, str):
                return data, found
        return await self._fetched_message(sequence)

    async def _fetched_message(self, sequence: int) -> tuple[bytes, Batch | Fence]:
        data = self._fetched.get(sequence)
        if data is None:
            last = min(sequence + _FETCHED - 1, self._last())
            fetched = dict(await fetch(self._stream, sequence, last))
            data = fetched[sequence]
            self._fetched.update(fetched)
            while len(self._fetched) > _FETCHED:
                self._fetched.popitem(last=False)
        found = decode(data)
        if isinstance(found, str):
            raise self._stream.damaged(sequence, found)
        return data, found

    def drop_before(self, sequence: int) -> None:
        """Give back what is not needed any more, soon."""
        if not self._is_closed:
            _THREAD.submit(self._mirror.drop_before, sequence)

    async def close(self) -> None:
        """Give everything back. Idempotent."""
        self._is_closed = True
        await self._on_thread(self._mirror.close)

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(_THREAD, work)
