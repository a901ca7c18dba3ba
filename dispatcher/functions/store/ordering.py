"""In which order events are written: what they concern, and what has to wait for what.

An event concerns things: calls with one root, a fact, or everything (`ALL`: it may concern any call
that waits outside). While something is shut (a large event of it is being written, or it is being
copied) the events that concern it wait, in order, and so do those behind them that concern what
they do.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Final

Thing = Hashable
ALL: Final[Thing] = "all"


class Ordering:
    """Who goes, and who waits. All calls on the loop's thread."""

    __slots__ = ("_is_going", "_quiet", "_ready", "_shut", "_under_way", "_waiting")

    def __init__(self) -> None:
        self._shut: dict[Thing, int] = {}  # how often
        self._under_way: dict[Thing, int] = {}
        self._waiting: deque[tuple[tuple[Thing, ...], Callable[[], None]]] = deque()
        self._ready: deque[Callable[[], None]] = deque()
        self._quiet: list[asyncio.Future[None]] = []
        self._is_going = False

    @property
    def waiting(self) -> int:
        """How many events wait."""
        return len(self._waiting)

    def go(self, things: tuple[Thing, ...], write: Callable[[], None]) -> None:
        """Call `write` when it is the turn of an event that concerns these things: at once, or
        later. It is under way from then on until it has `ended`."""
        if not self._shut and not self._is_going:
            self._more(self._under_way, things)
            write()
            return
        self._line_up(things, write)
        self._go()

    def _line_up(self, things: tuple[Thing, ...], write: Callable[[], None]) -> None:
        if self._shut and any(thing in self._shut for thing in things):
            self._waiting.append((things, write))
            self._more(self._shut, things)
        else:
            self._more(self._under_way, things)
            self._ready.append(write)

    def _go(self) -> None:
        if self._is_going:
            return
        self._is_going = True
        try:
            while self._ready:
                self._ready.popleft()()
        finally:
            self._is_going = False

    def ended(self, things: tuple[Thing, ...]) -> None:
        """An event that was under way has ended."""
        self._less(self._under_way, things)
        if self._quiet:
            quiet, self._quiet = self._quiet, []
            for one in quiet:
                if not one.done():
                    one.set_result(None)

    def shut(self, things: Iterable[Thing]) -> None:
        """From now on what concerns these waits."""
        self._more(self._shut, things)

    def open(self, things: Iterable[Thing]) -> None:
        """What was shut is shut no more, unless others have shut it too."""
        self._less(self._shut, things)
        if self._waiting:
            waiting, self._waiting = self._waiting, deque()
            for concerned, _ in waiting:
                self._less(self._shut, concerned)
            for concerned, write in waiting:
                self._line_up(concerned, write)
        self._go()

    async def quiet(self, things: Iterable[Thing]) -> None:
        """Wait until nothing that concerns these is under way."""
        wanted = tuple(things)
        while any(thing in self._under_way for thing in wanted):
            one: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._quiet.append(one)
            await one

    @staticmethod
    def _more(counter: dict[Thing, int], things: Iterable[Thing]) -> None:
        for thing in things:
            counter[thing] = counter.get(thing, 0) + 1

    @staticmethod
    def _less(counter: dict[Thing, int], things: Iterable[Thing]) -> None:
        for thing in things:
            left = counter[thing] - 1
            if left:
                counter[thing] = left
            else:
                del counter[thing]
