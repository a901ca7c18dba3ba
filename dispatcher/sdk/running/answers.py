"""What calls were answered last, so that a request that comes again runs nothing again.

A server repeats a request whose answer was lost, byte for byte. And it may do so while the first is
still under way, when its connection broke: then the second waits for the first. One call never runs
twice at once here.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from dispatcher.sdk.running.responses import Reply

MOST_BYTES: Final = 64 * 1024 * 1024
"""Of all answers together."""
_EACH_BYTES: Final = 200
"""What an answer takes beside its bytes."""


@dataclass(slots=True)
class _UnderWay:
    """A request that is being answered. Its future has None where there was no answer."""

    identities: set[bytes]
    done: Future[Reply | None] = field(default_factory=Future)

    def __post_init__(self) -> None:
        self.done.set_running_or_notify_cancel()  # so that one who waits can't cancel it for others


class Answers:
    """The last answer of each call, the oldest forgotten first. For any number of threads and
    loops."""

    def __init__(self, most: int, *, most_bytes: int = MOST_BYTES) -> None:
        """`most`: calls whose answers are kept; 0: none is, and only what is under way counts."""
        self._most = most
        self._most_bytes = most_bytes
        self._size_bytes = 0
        self._last: OrderedDict[str, tuple[set[bytes], Reply]] = OrderedDict()
        self._under_way: dict[str, _UnderWay] = {}
        self._lock = threading.Lock()

    async def answer(
        self, call_id: str, identities: set[bytes], make: Callable[[], Awaitable[Reply]]
    ) -> Reply:
        """Return the answer to a request, made by `make` unless the call was asked the same last.

        Requests that ask the same have an identity in common; `make` may add others. A request
        whose first one is cancelled, or raises, is answered anew.
        """
        while True:
            own = _UnderWay(identities)
            found = self._begin(call_id, own)
            if isinstance(found, Reply):
                return found
            if found is own:
                return await self._make(call_id, own, make)
            reply = await asyncio.wrap_future(found.done)
            if reply is not None and found.identities & identities:
                return reply

    def forget(self) -> None:
        """Keep nothing that was answered so far."""
        with self._lock:
            self._last.clear()
            self._size_bytes = 0

    def _begin(self, call_id: str, own: _UnderWay) -> Reply | _UnderWay:
        """The answer that is there, else the request that is under way: its own, if no other."""
        with self._lock:
            under_way = self._under_way.get(call_id)
            if under_way is not None:
                return under_way
            last = self._last.get(call_id)
            if last is not None and last[0] & own.identities:
                self._last.move_to_end(call_id)
                return last[1]
            self._under_way[call_id] = own
            return own

    async def _make(
        self, call_id: str, own: _UnderWay, make: Callable[[], Awaitable[Reply]]
    ) -> Reply:
        reply: Reply | None = None
        try:
            reply = await make()
            return reply
        finally:
            with self._lock:
                self._drop(call_id)
                if reply is not None and reply.may_repeat:
                    self._keep(call_id, own.identities, reply)
                del self._under_way[call_id]
            own.done.set_result(reply)

    def _keep(self, call_id: str, identities: set[bytes], reply: Reply) -> None:
        self._last[call_id] = identities, reply
        self._size_bytes += len(reply.body) + _EACH_BYTES
        while self._last and (len(self._last) > self._most or self._size_bytes > self._most_bytes):
            self._drop(next(iter(self._last)))

    def _drop(self, call_id: str) -> None:
        last = self._last.pop(call_id, None)
        if last is not None:
            self._size_bytes -= len(last[1].body) + _EACH_BYTES
