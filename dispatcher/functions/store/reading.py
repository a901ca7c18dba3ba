"""Bytes back from the log: what spans name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dispatcher.errors import LogBusy, LogError, LogTrimmed
from dispatcher.functions.spans import Span, length_of, offset_of, position_of
from dispatcher.functions.store.holds import Holds, covering
from dispatcher.functions.store.recent import Recent
from dispatcher.queue.bodies.host import Host
from dispatcher.queue.records.chunks import decode_chunk
from dispatcher.queue.records.kinds import Kind, RecordError

Pick = Callable[[], Sequence[Span] | None]


class Reading:
    """Reads spans. `reads` counts how often the log was asked; `recent` has what was written last,
    of which only `at_hand` knows."""

    def __init__(self, host: Host, holds: Holds) -> None:
        self.reads = 0
        self.recent = Recent()
        self._host = host
        self._holds = holds

    def at_hand(self, spans: Sequence[Span]) -> list[bytes] | None:
        """See `ports.Store`."""
        found = []
        for where in spans:
            length = length_of(where)
            if not length:
                found.append(b"")
                continue
            payload = self.recent.get(position_of(where))
            if payload is None or payload[0] != Kind.CALLS:
                return None
            start = offset_of(where)
            found.append(payload[start : start + length])
        return found

    async def read(self, pick: Pick) -> list[bytes] | None:
        """See `ports.Store`. Each record is read once, and of a large event the chunks that have
        the bytes."""
        spans = pick()
        while spans is not None:
            try:
                return await self._read(spans)
            except LogBusy:
                raise
            except LogTrimmed as error:
                before, spans = spans, pick()
                if spans is not None and list(spans) == list(before):
                    self._host.failed(error)
                    raise
            except (LogError, RecordError) as error:
                self._host.failed(error)
                raise
        return None

    async def _read(self, spans: Sequence[Span]) -> list[bytes]:
        parts = [self._parts(where) for where in spans]
        positions = sorted({position for some in parts for position, _, _ in some})
        if not positions:
            return [b""] * len(spans)
        self.reads += 1
        payloads = dict(zip(positions, await self._host.log.read(positions), strict=True))
        found = []
        for where, some in zip(spans, parts, strict=True):
            data = b"".join(_cut(payloads[position], start, end) for position, start, end in some)
            if len(data) != length_of(where):
                raise RecordError(f"a record at {position_of(where):#x} is too short")
            found.append(data)
        return found

    def _parts(self, where: Span) -> list[tuple[int, int, int]]:
        """Positions of records, and from where to where in their payloads."""
        if not length_of(where):
            return []
        position = position_of(where)
        large = self._holds.larges.get(position)
        if large is None:
            start = offset_of(where)
            return [(position, start, start + length_of(where))]
        return [(large.chunks[number], start, end) for number, start, end in covering(where)]


def _cut(payload: bytes, start: int, end: int) -> bytes:
    if payload[0] == Kind.CHUNK:
        return decode_chunk(payload)[start:end]
    if payload[0] != Kind.CALLS:
        raise RecordError(f"kind {payload[0]} where an event was expected")
    return payload[start:end]
