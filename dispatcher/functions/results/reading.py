"""Results, found and read back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum
from typing import Final

from dispatcher.core.clock import SteadyClock
from dispatcher.errors import LogBusy, LogError, LogTrimmed
from dispatcher.functions.results.holdings import Holdings
from dispatcher.functions.results.records import (
    StoredResult,
    decode_result,
    parts_of_key,
    result_facts,
)
from dispatcher.functions.results.retention import ResultPolicy
from dispatcher.queue.records.chunks import decode_chunk
from dispatcher.txlog import TransactionLog

_CHUNKS_AT_ONCE: Final = 4


class Standing(Enum):
    """What is known of the result of a call that is not in the table of calls.

    HERE     it can be read
    EXPIRED  it was kept for as long as results are: 410
    UNKNOWN  there never was a call with this key that had a result: 404
    """

    HERE = "here"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


class Reading:
    """Reads the results' log; `log` is None while it is not open."""

    def __init__(
        self,
        holdings: Holdings,
        policy: ResultPolicy,
        clock: SteadyClock,
        failed: Callable[[Exception], None],
    ) -> None:
        """`failed` is told when the log could not be read: the process must end."""
        self.log: TransactionLog | None = None
        self._holdings = holdings
        self._policy = policy
        self._clock = clock
        self._failed = failed

    def find(self, key: int) -> Standing:
        """What is known of the result of a call."""
        incarnation, number = parts_of_key(key)
        index = self._holdings.index
        slot = index.find(incarnation, number)
        if slot >= 0:
            until_s = self._policy.expired_until_s(self._clock.wall_us())
            return Standing.HERE if index.ended_s[slot] > until_s else Standing.EXPIRED
        was_there = self._holdings.known.has(incarnation, number)
        return Standing.EXPIRED if was_there else Standing.UNKNOWN

    async def read(self, key: int) -> StoredResult | None:
        """The result of a call; None when it is not HERE (`find`), or expired meanwhile.

        Raises:
            LogBusy: descriptors or memory are lacking for a while; ask again.
            LogError: the log is damaged, and the process ends; or it was closed.
        """
        while (position := self._position(key)) is not None:
            try:
                return await self._whole(position)
            except LogTrimmed as error:
                if self._position(key) != position:
                    continue  # it expired while it was read, or was stored anew
                self._failed(error)
                raise
        return None

    def _position(self, key: int) -> int | None:
        if self.log is None or self.find(key) is not Standing.HERE:
            return None
        index = self._holdings.index
        return index.position[index.find(*parts_of_key(key))]

    async def _whole(self, position: int) -> StoredResult:
        (payload,) = await self._payloads([position])
        result, chunks = decode_result(payload), result_facts(payload).chunks
        if chunks is None:
            return result
        pieces: list[bytes] = []
        for start in range(0, len(chunks), _CHUNKS_AT_ONCE):
            portion = await self._payloads(chunks[start : start + _CHUNKS_AT_ONCE])
            pieces += map(decode_chunk, portion)
        return replace(result, result=b"".join(pieces))

    async def page(self, before: int | None, most: int) -> list[tuple[int, StoredResult]]:
        """Results, the last stored first, without what is in chunks (`result` is b"" then), each
        with a number below 2**63 that names its place: `before` takes it, for the next page. At
        most `most`, and some of them may have expired a moment ago.

        Raises:
            LogBusy, LogError: as `read`.
        """
        while self.log is not None:
            positions = self._holdings.newest(before, most)
            try:
                payloads = await self._payloads(positions)
            except LogTrimmed as error:
                if positions != self._holdings.newest(before, most):
                    continue  # some went while they were read
                self._failed(error)
                raise
            results = map(decode_result, payloads)
            return list(zip(positions, results, strict=True))
        return []

    async def _payloads(self, positions: Sequence[int]) -> list[bytes]:
        assert self.log is not None
        try:
            return await self.log.read(positions)
        except (LogBusy, LogTrimmed):
            raise
        except LogError as error:
            self._failed(error)
            raise
