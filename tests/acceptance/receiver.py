"""The fake destination, run in a thread of its own so that tests can be plain blocking code."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

from dispatcher.testing.destination import FakeDestination, Request, Script, Step, Wait

T = TypeVar("T")

_POLL_S = 0.005
_KEPT = 30


def eventually(what: Callable[[], T], *, timeout_s: float = 60.0) -> T:
    """Ask until it is true, and return what it was then.

    Raises:
        AssertionError: it did not become true in time.
    """
    end_s = time.monotonic() + timeout_s
    while not (found := what()):
        assert time.monotonic() < end_s, f"still {found!r} after {timeout_s} s"
        time.sleep(_POLL_S)
    return found


class Receiver:
    """A destination that was started. Ports of earlier ones come back rarely, so lanes are new."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fake: FakeDestination) -> None:
        self._loop = loop
        self.fake = fake

    @property
    def authority(self) -> str:
        """`host:port`, as a caller would write it."""
        return self.fake.authority

    @property
    def requests(self) -> list[Request]:
        """What came so far, in order of the ends of their heads."""
        return self.fake.requests

    def script(self, *scripts: Script) -> None:
        """Say what the next requests are answered with, one script each; then 200 again."""
        self.fake.script(*scripts)

    def received(self, count: int = 1, *, timeout_s: float = 60.0) -> list[Request]:
        """Wait until this many requests have come whole, and return them.

        Raises:
            AssertionError: they do not come in time.
        """
        eventually(
            lambda: len(self.requests) >= count and all(map(_is_whole, self.requests[:count])),
            timeout_s=timeout_s,
        )
        return self.requests[:count]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something of the fake destination to its end, in its thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)


@dataclass(slots=True, eq=False)
class _Held:
    """A request that waits for its answer."""

    script: Script | None = None


class Gate(list[Step]):
    """A script that holds every request until it is let through; to be a destination's default.

    How many are held at once does not depend on how fast the machine is. It is a list because
    scripts are sequences, but has no step before somebody has said what the answer is.

    `held`  how many wait for their answer now.
    `gone`  how many the dispatcher gave up before they had one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[_Held] = []
        self.gone = 0

    @property
    def held(self) -> int:
        """See above."""
        return len(self._waiting)

    def let_through(self, script: Script, most: int | None = None) -> None:
        """Answer those that are held, the first `most` of them; what comes then is held again."""
        for _ in range(self.held if most is None else most):
            self._waiting.pop(0).script = script

    def __iter__(self) -> Iterator[Step]:
        one = _Held()
        self._waiting.append(one)
        try:
            while (script := one.script) is None:
                yield Wait(0.01)
        except GeneratorExit:  # the connection was closed
            with suppress(ValueError):  # it was being let through
                self._waiting.remove(one)
                self.gone += 1
            raise
        yield from script


class Receivers:
    """Makes destinations, all in one thread.

    They live a while longer than their tests: what nobody waited for is answered, and holds up
    nothing. (A connection that comes in while an asyncio server closes is never looked at again.)
    """

    def __init__(self) -> None:
        self._used: deque[Receiver] = deque()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    @contextmanager
    def open(self, **options: Any) -> Iterator[Receiver]:
        """Run one. `options` are those of `FakeDestination`."""

        async def make() -> FakeDestination:
            fake = FakeDestination(**options)
            await fake.start()
            return fake

        fake = asyncio.run_coroutine_threadsafe(make(), self._loop).result(60)
        receiver = Receiver(self._loop, fake)
        try:
            yield receiver
        finally:
            self._used.append(receiver)
            if len(self._used) > _KEPT:
                oldest = self._used.popleft()
                oldest.run(oldest.fake.close())

    def close(self) -> None:
        """Stop them all, and the thread."""
        for receiver in self._used:
            receiver.run(receiver.fake.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()


def gaps(requests: list[Request]) -> list[float]:
    """Seconds between each request and the one before it."""
    times = [one.arrived_s for one in requests]
    return [later - earlier for earlier, later in pairwise(times)]


def attempts_of(requests: list[Request]) -> dict[str, list[int]]:
    """The numbers of the attempts, by message, in the order they came."""
    found: dict[str, list[int]] = {}
    for one in requests:
        number = one.headers["x-dispatcher-message-id"]
        found.setdefault(number, []).append(int(one.headers["x-dispatcher-attempt"]))
    return found


def _is_whole(one: Request) -> bool:
    return one.body_bytes == int(one.headers.get("content-length", "0"))
