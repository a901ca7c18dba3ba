"""Host names to addresses, remembered for a short while.

A name is looked up once, however many messages wait for it. The answer lives 30 s (long enough for
a burst, short enough for a destination that moves; the system does not tell the record's own TTL),
a failure 1 s.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from dispatcher.core.egress import Address

GOOD_S = 30.0
BAD_S = 1.0
NAMES = 4096
"""Answers remembered at once."""
LOOKUPS = 64
"""Threads that look up at once: a dead name server holds one for half a minute."""

Lookup = Callable[[str], Awaitable[Sequence[str]]]
"""Addresses of a host, as text, best first. Raises OSError or UnicodeError."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a name stands for: addresses, or none and the reason."""

    addresses: tuple[Address, ...]
    problem: str = ""


class Resolver:
    """Looks names up through `lookup`, and remembers. Made within a running event loop."""

    def __init__(
        self, lookup: Lookup | None = None, *, now_s: Callable[[], float] | None = None
    ) -> None:
        self._lookup = lookup or system_lookup
        self._now_s = now_s or asyncio.get_running_loop().time
        self._answers: dict[str, tuple[float, Answer]] = {}  # by age: the oldest first
        self._pending: dict[str, asyncio.Task[Answer]] = {}
        self._slots = asyncio.Semaphore(LOOKUPS)

    async def resolve(self, host: str) -> Answer:
        """Find the addresses of a host name or an address literal.

        A caller that is cancelled leaves the lookup running for the others, and for the memory.
        """
        if literal := _literal(host):
            return Answer((literal,))
        until_s, answer = self._answers.get(host, (0.0, None))
        if answer is not None and self._now_s() < until_s:
            return answer
        task = self._pending.get(host)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._look_up(host))
            self._pending[host] = task
        return await asyncio.shield(task)

    def forget(self, host: str) -> None:
        """Look the name up anew next time: its addresses could not be connected to."""
        self._answers.pop(host, None)

    async def close(self) -> None:
        """Give up what is being looked up."""
        tasks = list(self._pending.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look_up(self, host: str) -> Answer:
        try:
            async with self._slots:
                answer = _answer(await self._lookup(host))
        except (OSError, UnicodeError) as error:
            answer = Answer((), str(getattr(error, "strerror", None) or error))
        finally:
            del self._pending[host]
        self._answers.pop(host, None)
        self._answers[host] = (self._now_s() + (GOOD_S if answer.addresses else BAD_S), answer)
        while len(self._answers) > NAMES:
            del self._answers[next(iter(self._answers))]
        return answer


async def system_lookup(host: str) -> Sequence[str]:
    """Ask the system (hosts file, DNS), in a thread of its own.

    Not in a shared pool: a handful of names whose servers do not answer would fill it and hold up
    all others. Nor in one that the interpreter joins at its end: the call cannot be interrupted.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[Sequence[str]] = loop.create_future()

    def settle(addresses: Sequence[str], error: Exception | None) -> None:
        if found.cancelled():
            return
        if error is None:
            found.set_result(addresses)
        else:
            found.set_exception(error)

    def work() -> None:
        addresses: list[str] = []
        error: Exception | None = None
        try:
            infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            addresses = [str(info[4][0]) for info in infos]
        except (OSError, UnicodeError) as failure:
            error = failure
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(settle, addresses, error)

    threading.Thread(target=work, name="lookup", daemon=True).start()
    return await found


def _answer(texts: Sequence[str]) -> Answer:
    addresses = dict.fromkeys(address for text in texts if (address := _literal(text)))
    return Answer(tuple(addresses), "" if addresses else "the name has no address")


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
