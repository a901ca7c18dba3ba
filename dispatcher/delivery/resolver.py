"""Host names to addresses, remembered for a while.

A name is looked up once, however many messages wait for it. Its answer is fresh for 30 s: long
enough for a burst, short enough for a destination that moves (the system does not tell the record's
own lifetime). Then it is looked up anew. Where that takes long or fails for the moment, the old
answer is used on: a name server that does not answer says nothing about the destination. A failure
is remembered for a second.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from dispatcher.core.egress import Address
from dispatcher.delivery.lacking import is_ours
from dispatcher.delivery.lookup import Lookup, can_ask, system_lookup
from dispatcher.delivery.slots import Rank, Slots

FRESH_S: Final = 30.0
FAILED_S: Final = 1.0
KEPT_S: Final = 3600.0
"""So long after it was given an answer may stand in for a new one."""

PATIENCE_S: Final = 0.5
"""So long a new answer is waited for where there is an old one."""

NAMES: Final = 4096
"""Answers remembered at once."""

_IS_GONE: Final = frozenset({socket.EAI_NONAME, vars(socket).get("EAI_NODATA")})
"""What the name server says when it knows: there is no such name, or it has no address (which not
every system tells apart)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a name stands for: addresses, or none and the reason. `ours`: nobody could be asked."""

    addresses: tuple[Address, ...]
    problem: str = ""
    ours: bool = False


class _Known:
    """What is remembered of a name: its last `answer`, how long that is fresh, how long it may
    stand in, and whether the last lookup failed."""

    __slots__ = ("answer", "fresh_until_s", "is_failing", "kept_until_s")

    def __init__(self, answer: Answer, now_s: float) -> None:
        self.answer = answer
        self.is_failing = not answer.addresses
        self.fresh_until_s = now_s + (FAILED_S if self.is_failing else FRESH_S)
        self.kept_until_s = now_s + (0.0 if self.is_failing else KEPT_S)


class _Asking:
    """A lookup under way: `turn` is done when it has its slot, `answer` when it is over."""

    __slots__ = ("answer", "since_s", "turn")

    def __init__(self, loop: asyncio.AbstractEventLoop, since_s: float) -> None:
        self.turn: asyncio.Future[None] = loop.create_future()
        self.answer: asyncio.Task[Answer]
        self.since_s = since_s


class Resolver:
    """Looks names up through `lookup`, and remembers. Made within a running event loop."""

    def __init__(
        self,
        lookup: Lookup | None = None,
        *,
        now_s: Callable[[], float] | None = None,
        slots: Slots | None = None,
        names: int = NAMES,
        is_cut_off: Callable[[], bool] = lambda: False,
    ) -> None:
        """`is_cut_off` says whether this machine lost its way to a name server."""
        self._lookup = lookup or system_lookup
        self._loop = asyncio.get_running_loop()
        self._now_s = now_s or self._loop.time
        self._slots = slots or Slots()
        self._names = names
        self._is_cut_off = is_cut_off
        self._known: dict[str, _Known] = {}  # the oldest first
        self._asking: dict[str, _Asking] = {}

    async def resolve(
        self, host: str, on_phase: Callable[[str, bool], None] = lambda phase, ours: None
    ) -> Answer:
        """Find the addresses of a host name or an address literal.

        `on_phase` hears what is waited for, in words, and whether that is on this machine. A caller
        that is cancelled leaves the lookup running for the others, and for the memory.
        """
        if literal := _literal(host):
            return Answer((literal,))
        now_s = self._now_s()
        known = self._known.get(host)
        if known is not None and now_s < known.fresh_until_s:
            return known.answer
        asking = self._asking.get(host) or self._ask(host, now_s)
        if known is None or now_s >= known.kept_until_s:
            on_phase(f"waiting for a turn to look up {host}", not asking.turn.done())
            await asyncio.shield(asking.turn)
            on_phase(f"looking up {host}", False)
            return await asyncio.shield(asking.answer)
        on_phase(f"looking up {host}", False)
        patience_s = max(0.0, asking.since_s + PATIENCE_S - now_s)
        done, _ = await asyncio.wait([asking.answer], timeout=patience_s)
        return asking.answer.result() if done else known.answer

    def forget(self, host: str) -> None:
        """Look the name up anew next time: its addresses could not be connected to."""
        if known := self._known.get(host):
            known.fresh_until_s = 0.0

    async def close(self) -> None:
        """Give up what is being looked up."""
        tasks = [asking.answer for asking in self._asking.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ask(self, host: str, now_s: float) -> _Asking:
        asking = self._asking[host] = _Asking(self._loop, now_s)
        asking.answer = self._loop.create_task(self._look_up(host, asking.turn))
        asking.answer.add_done_callback(lambda _: self._over(host))
        return asking

    def _over(self, host: str) -> None:
        """A lookup ended. One that was given up may never have begun."""
        self._asking.pop(host).turn.cancel()

    async def _look_up(self, host: str, turn: asyncio.Future[None]) -> Answer:
        rank = self._rank(host)
        await self._slots.take(rank)
        try:
            turn.set_result(None)
            answer, is_certain = await self._ask_system(host)
        finally:
            self._slots.give_back(rank)
        return self._remember(host, answer, is_certain=is_certain)

    def _rank(self, host: str) -> Rank:
        known = self._known.get(host)
        if known is None:
            return Rank.NEW
        return Rank.FAILING if known.is_failing else Rank.KNOWN

    async def _ask_system(self, host: str) -> tuple[Answer, bool]:
        """What the system says, and whether it is certain: not for want of an answer."""
        try:
            return _answer(await self._lookup(host)), True
        except (OSError, UnicodeError) as error:
            is_certain = not isinstance(error, OSError) or error.errno in _IS_GONE
            ours = is_ours(error) or (not is_certain and (not can_ask() or self._is_cut_off()))
            return Answer((), str(getattr(error, "strerror", None) or error), ours), is_certain
        except (RuntimeError, MemoryError) as error:  # no thread could be started
            return Answer((), str(error) or "out of memory", ours=True), False

    def _remember(self, host: str, answer: Answer, *, is_certain: bool) -> Answer:
        now_s = self._now_s()
        known = self._known.pop(host, None)
        if known is not None and not is_certain and now_s < known.kept_until_s:
            known.fresh_until_s = now_s + FAILED_S
            known.is_failing = not answer.ours
        else:
            known = _Known(answer, now_s)
            known.is_failing = known.is_failing and not answer.ours
        self._known[host] = known
        while len(self._known) > self._names:
            del self._known[next(iter(self._known))]
        return known.answer


def _answer(texts: Sequence[str]) -> Answer:
    addresses = dict.fromkeys(address for text in texts if (address := _literal(text)))
    return Answer(tuple(addresses), "" if addresses else "the name has no address")


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
