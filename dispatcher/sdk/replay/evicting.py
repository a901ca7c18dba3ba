"""Ending the coroutines of a body that goes on elsewhere, or not at all, so that nothing is heard
of it: no operation, no line in the log, no warning.

`close()` is not enough: before Python 3.13 it does not reach an asynchronous generator that waits,
and its `finally` would run later, in the garbage collector and outside of its loop.
"""

from __future__ import annotations

from typing import Any, Final

from dispatcher.sdk.replay.model import Evicted
from dispatcher.sdk.replay.parking import parked

THROWS: Final = 8
"""How often a coroutine may catch it and wait again."""

graveyard: Final[list[Any]] = []
"""What did so, parked: nobody may collect it. It is code such as `while True` around
`except BaseException`."""


def evict_coroutine(coroutine: Any) -> None:
    """Throw `Evicted` into a suspended coroutine until it has ended."""
    for _ in range(THROWS):
        try:
            coroutine.throw(Evicted())
        except BaseException:  # whatever it ends with: nobody is there to be told
            return
    _bury(coroutine)


def evict_generator(generator: Any) -> None:
    """Throw `Evicted` into an asynchronous generator until it has ended."""
    for _ in range(THROWS):
        thrown = generator.athrow(Evicted())
        try:
            thrown.send(None)
        except StopIteration:
            continue  # it caught it, and gave another value
        except BaseException:
            return
        evict_coroutine(thrown)  # it caught it, and waits
    _bury(generator)


def _bury(awaitable: Any) -> None:
    graveyard.append(awaitable)
    parked.hold(graveyard)
