"""A store of leases in memory, on the time of the loop it runs on (a simulated one, best).

`Leases` is what the servers hold; each member has a `LeasesLink` to it of its own, on which
requests and answers are late, lost, or done after whoever asked has given up. Servers without a
majority store nothing, and their leader goes on saying what was so before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Final, TypeVar

from dispatcher.cluster.store import Conflict, Entry, NoVerdict, Stop
from dispatcher.errors import LogBusy

T = TypeVar("T")

TIMEOUT_S: Final = 0.75
"""How long a link waits for an answer."""


@dataclass(slots=True)
class Stored:
    """A record that was stored once, when, and with what it took the place of."""

    at_s: float
    key: str
    value: bytes
    revision: int
    after: int


@dataclass(slots=True)
class Leases:
    """What is stored. `history` has everything that ever was, in order."""

    history: list[Stored] = field(default_factory=list)
    has_majority: bool = True
    latest: dict[str, Entry] = field(default_factory=dict)
    listeners: list[Callable[[str, bytes], None]] = field(default_factory=list)
    _waiting: list[Callable[[], None]] = field(default_factory=list)

    def put(self, key: str, value: bytes, after: int, at_s: float) -> int:
        """Store a record, if it takes the place of the latest. Raises Conflict."""
        for heard in list(self.listeners):
            heard(key, value)
        entry = self.latest.get(key)
        if after != (entry.revision if entry is not None else 0):
            raise Conflict(f"{key}: not {after}")
        revision = len(self.history) + 1
        self.history.append(Stored(at_s, key, value, revision, after))
        self.latest[key] = Entry(revision, value)
        return revision

    def as_of(self, revision: int) -> dict[str, Entry]:
        """What was so when this revision was the last one."""
        return {one.key: Entry(one.revision, one.value) for one in self.history[:revision]}

    def when_back(self, done: Callable[[], None]) -> None:
        """Do something when there is a majority again: what a leader has taken without one."""
        self._waiting.append(done)

    def lose_majority(self) -> None:
        """From now on nothing is stored."""
        self.has_majority = False

    def regain_majority(self, *, is_kept: bool = True) -> None:
        """It is again, beginning with what was waiting, if the leader is the same as before."""
        self.has_majority = True
        waiting, self._waiting = self._waiting, []
        for done in waiting if is_kept else ():
            done()


class Fate(Enum):
    """What becomes of a request."""

    NONE = "it is answered"
    LOST = "it never arrives"
    UNANSWERED = "it is done, and the answer is lost"
    LATE = "it is done when whoever asked has given up"
    STALE = "of a look: what was so a while ago"


class LeasesLink:
    """One member's connection (`LeaseStore`).

    `fate` is asked what becomes of each request (whether it is a put), `delay_s` how long its way
    is, each way, and `late_s` when a late one arrives; all may be replaced at any time. A link that
    `is_cut` brings nothing, either way.
    """

    def __init__(
        self,
        leases: Leases,
        *,
        fate: Callable[[bool], Fate] = lambda _: Fate.NONE,
        delay_s: Callable[[], float] = lambda: 0.002,
        late_s: Callable[[], float] = lambda: 1.5,
        stale_by: Callable[[], int] = lambda: 20,
    ) -> None:
        self.leases = leases
        self.is_cut = False
        self.puts = self.looks = 0
        self.fate = fate
        self.delay_s = delay_s
        self.late_s = late_s
        self.stale_by = stale_by

    async def look(self, keys: Sequence[str]) -> dict[str, Entry]:
        """See `LeaseStore`."""
        self.looks += 1
        fate = self.fate(False)

        def answer() -> dict[str, Entry]:
            found = self.leases.latest
            if fate is Fate.STALE:
                found = self.leases.as_of(len(self.leases.history) - self.stale_by())
            return {key: found[key] for key in keys if key in found}

        return await self._ask(fate, answer, LogBusy("nobody answers"))

    async def put(self, key: str, value: bytes, *, after: int) -> int:
        """See `LeaseStore`."""
        self.puts += 1
        loop = asyncio.get_running_loop()

        def store() -> int:
            return self.leases.put(key, value, after, loop.time())

        return await self._ask(self.fate(True), store, NoVerdict("no verdict"), is_put=True)

    async def _ask(
        self, fate: Fate, do: Callable[[], T], silence: Exception, *, is_put: bool = False
    ) -> T:
        """Have the servers do it, and return what they answer."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def serve() -> None:
            if self.is_cut:
                return
            if is_put and not self.leases.has_majority:
                self.leases.when_back(partial(_quietly, do))
                return
            try:
                tell = partial(_answer, answer, do())
            except Conflict as error:
                tell = partial(_refuse, answer, error)
            if fate is not Fate.UNANSWERED and not (fate is Fate.LATE and not is_put):
                _later(self.delay_s(), lambda: None if self.is_cut else tell())

        if fate is Fate.LATE and is_put:
            _later(self.late_s(), lambda: None if self.is_cut else _quietly(do))
        elif fate is not Fate.LOST:
            _later(self.delay_s(), serve)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await answer
        except TimeoutError:
            raise silence from None

    async def listen(self, heard: Callable[[str, bytes], None]) -> Stop:
        """See `LeaseStore`."""
        if self.is_cut:
            await asyncio.sleep(TIMEOUT_S)
            raise LogBusy("nobody answers")
        mine = copy_context()
        loop = asyncio.get_running_loop()

        def hear(key: str, value: bytes) -> None:
            if not self.is_cut and self.fate(False) is Fate.NONE:
                loop.call_later(self.delay_s(), heard, key, value, context=mine)

        self.leases.listeners.append(hear)

        async def stop() -> None:
            with suppress(ValueError):
                self.leases.listeners.remove(hear)

        return stop


def _later(delay_s: float, do: Callable[[], object]) -> None:
    """The servers go on when who asked them does not."""
    asyncio.get_running_loop().call_later(delay_s, do, context=Context())


def _quietly(do: Callable[[], object]) -> None:
    """Nobody waits for it any more."""
    with suppress(Conflict):
        do()


def _answer(answer: asyncio.Future[T], result: T) -> None:
    if not answer.done():
        answer.set_result(result)


def _refuse(answer: asyncio.Future[T], error: Conflict) -> None:
    if not answer.done():
        answer.set_exception(error)
