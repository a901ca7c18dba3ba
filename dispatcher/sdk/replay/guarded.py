"""Who may use the loop of a durable body: the body, in the thread that runs it, until it is over.

A loop that is used from outside, while it is not entered, has a fault: the body would be woken by
something that is not on record, and a replay would not be. So has one that is asked for I/O. After
a fault, and when the body is forgotten, whatever it asks for is turned away.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any, Final

from dispatcher.sdk.replay import faults, where
from dispatcher.sdk.replay.aside import running_instead
from dispatcher.sdk.replay.denied import DenyingLoop
from dispatcher.sdk.replay.faults import Stopped
from dispatcher.sdk.replay.model import Contradicted, Evicted, Faulted, Told
from dispatcher.sdk.replay.population import Population
from dispatcher.sdk.replay.standing import running_at
from dispatcher.sdk.replay.where import Spot

RAISES: Final = 50
"""How often a body that can't go on is told so. Then it is left waiting: `while True` around a
`try` that swallows everything would never come back."""


class GuardedLoop(DenyingLoop):
    """See the module. What raises NotImplementedError here is for those that are made of it."""

    def __init__(self, told: Told, population: Population, judged: str) -> None:
        self.told = told
        self.population = population
        self.is_closing = False
        self.fault: Contradicted | Faulted | None = None
        self._judged = judged
        self._thread: int | None = None
        self._raised = 0

    def run(self) -> None:
        """Run what is ready."""
        raise NotImplementedError

    def standing(self) -> list[str]:
        """Where each task stands, a line each, for messages."""
        raise NotImplementedError

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Have it be the running loop of this thread. The one that runs there is put aside, with
        its hooks for asynchronous generators: theirs would be finalized in tasks of the other loop.
        """
        hooks = sys.get_asyncgen_hooks()
        with running_instead(self):
            self._thread = get_ident()
            sys.set_asyncgen_hooks(self._generator_begins, self._generator_lost)
            try:
                yield
            finally:
                sys.set_asyncgen_hooks(*hooks)
                self._thread = None

    def begin_closing(self) -> None:
        """Have everything be refused from now on, silently."""
        self.is_closing = True
        self._raised = 0

    def is_running(self) -> bool:
        return self._thread is not None

    def is_closed(self) -> bool:
        return self.is_closing

    def deny(self, what: str) -> Any:
        self._check_inside()
        return self._refuse(
            lambda at: faults.does_io(self.told, what, at, judged=self._judged),
        )

    def refuse_foreign(self, error: BaseException) -> Any:
        """Refuse a lock, event or queue of another loop; `error` is what asyncio says of it."""
        return self._refuse(lambda at: faults.of_another_loop(self.told, error, at))

    def _refuse(self, sentence: Callable[[Spot | None], str]) -> Any:
        """End the body with a fault. The sentence is given the user's line that runs here."""
        if not self.is_closing and self.fault is None:
            frame, end = sys._getframe(1), type(self).run.__code__
            at = running_at(self.population, self.population.place(self), frame, end=end)
            self.fault = Faulted(sentence(at))
        return self._turned_away()

    def _generator_begins(self, generator: Any) -> None:
        """An asynchronous generator is iterated over for the first time."""
        raise NotImplementedError

    def _generator_lost(self, generator: Any) -> None:
        """One is forgotten that has not ended."""
        raise NotImplementedError

    def _turned_away(self) -> asyncio.Future[Any]:
        self._raised += 1
        if self._raised > RAISES:
            return asyncio.Future(loop=self)
        if self.is_closing:
            raise Evicted
        assert self.fault is not None
        raise Stopped(self.fault.message)

    def _check_inside(self) -> None:
        if self._thread != get_ident():
            self._refuse_outside()

    def _refuse_outside(self) -> None:
        """Raise to who uses it from outside, and remember it: the body is in disorder now."""
        if self.is_closing:
            return
        at = where.spot(sys._getframe(2), type(self).run.__code__)
        if self.fault is None:
            standing = self.standing() if at is None else ()
            self.fault = Faulted(faults.used_from_outside(self.told, at, standing))
        raise RuntimeError(self.fault.message)
