"""The clock, chance and names that nobody had before, as a replay can repeat them."""

from __future__ import annotations

import random as _random
import time
import uuid
from datetime import datetime
from typing import Any, Final

from dispatcher.sdk.functions import durable
from dispatcher.sdk.functions.instants import instant

_SYSTEM: Final = _random.SystemRandom()


def now() -> datetime:
    """Return the time, in UTC. In a durable function it is the time on record: a replay is given
    the same, and it stands still between two awaits."""
    loop = durable.running()
    now_us = time.time_ns() // 1000 if loop is None else loop.time_us()
    return instant(now_us)


def uuid4() -> uuid.UUID:
    """Return a random UUID. In a durable function a replay is given the same."""
    return uuid.UUID(int=random.getrandbits(128), version=4)


def replaying() -> bool:
    """Return whether a durable function only repeats what it did before. Don't decide anything by
    it: it is for logging and for counting."""
    loop = durable.running()
    return loop is not None and loop.is_replaying


class Random(_random.Random):
    """`random.Random`, with chance that is the same in every replay of a durable function, and the
    system's elsewhere. `dispatch.random()` is a number from 0 to 1; `dispatch.random.choice(…)`,
    `.randint(…)`, `.shuffle(…)` and all other methods are there.
    """

    def __call__(self) -> float:
        """Return a number from 0 (included) to 1 (not included)."""
        return self.random()

    def random(self) -> float:
        """Return a number from 0 (included) to 1 (not included)."""
        return _source().random()

    def getrandbits(self, k: int, /) -> int:
        """Return a number of `k` random bits."""
        return _source().getrandbits(k)

    def seed(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the id of the call is the seed."""

    def getstate(self) -> Any:
        raise NotImplementedError("dispatch.random has no state of its own: the call's id seeds it")

    def setstate(self, state: Any) -> None:
        raise NotImplementedError("dispatch.random has no state of its own: the call's id seeds it")

    def __repr__(self) -> str:
        return "<random of dispatch>"


def _source() -> _random.Random:
    loop = durable.running()
    return _SYSTEM if loop is None else loop.random


random: Final = Random()
