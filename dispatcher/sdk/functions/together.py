"""Operations of a durable body that are waited for together, without a task for each.

One future for each, and one that the body waits for: with a task each, 10 000 calls would take five
times the memory and the time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterable
from typing import Any

from dispatcher.sdk.replay.loop import Loop
from dispatcher.sdk.replay.model import Failure, Operation, Result


def together(
    loop: Loop,
    operations: Iterable[Operation],
    *,
    limit: int | None = None,
    is_failure_last: bool = True,
) -> Generator[Any, Any, list[Result]]:
    """Wait for operations, and return their results in order.

    At most `limit` are outstanding at once, None: all of them. Where `is_failure_last`, the first
    Failure ends it: it is all that is returned, and the others are given up, as they are when the
    body is cancelled here. Without a limit the server may wait until all have ended.
    """
    group = _Group(loop, object() if limit is None else None, is_failure_last)
    try:
        for operation in operations:
            group.begin(operation)
            if limit is not None:
                yield from group.until(limit - 1)
            if group.failed is not None:
                break
        yield from group.until(0)
        if group.failed is not None:
            return [group.failed.result()]
        return [future.result() for future in group.futures]
    finally:
        group.give_up()


class _Group:
    """Operations that were begun. `failed` is the first future that ends the waiting."""

    __slots__ = (
        "_is_failure_last",
        "_key",
        "_loop",
        "_most",
        "_waiter",
        "failed",
        "futures",
        "missing",
    )

    def __init__(self, loop: Loop, key: object, is_failure_last: bool) -> None:
        self._loop = loop
        self._key = key
        self._is_failure_last = is_failure_last
        self.futures: list[asyncio.Future[Result]] = []
        self.missing = 0
        self.failed: asyncio.Future[Result] | None = None
        self._most = 0
        self._waiter: asyncio.Future[None] | None = None

    def begin(self, operation: Operation) -> None:
        future = self._loop.perform(operation, group=self._key)
        self.futures.append(future)
        self.missing += 1
        future.add_done_callback(self._ended)

    def until(self, most: int) -> Generator[Any, Any, None]:
        """Wait until at most `most` are missing, or one has failed."""
        self._most = most
        if self.missing > most and self.failed is None:
            self._waiter = self._loop.create_future()
            yield from self._waiter

    def give_up(self) -> None:
        """Cancel what has not ended."""
        for future in self.futures:
            if not future.done():
                self._loop.cancel(future)

    def _ended(self, future: asyncio.Future[Result]) -> None:
        self.missing -= 1
        if self.failed is None and self._is_last(future):
            self.failed = future
        if self.failed is not None or self.missing <= self._most:
            self._wake()

    def _is_last(self, future: asyncio.Future[Result]) -> bool:
        if future.cancelled() or future.exception() is not None:
            return True
        return self._is_failure_last and isinstance(future.result(), Failure)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
