"""How long dead letters are kept: not longer than a time, and not more than so many bytes.

The oldest go first. What is dropped is counted and told to the observer: it was accepted, and
nobody will ever see it again.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from dispatcher.core.clock import Clock
from dispatcher.errors import Refused
from dispatcher.queue.letters import Letters
from dispatcher.queue.ports import Observer
from dispatcher.queue.redrive import Redriver

LOOK_SECONDS = 10.0
_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """`max_age_ms` and `max_bytes` 0: no limit. Bytes are those of the records in the log."""

    max_age_ms: int = 0
    max_bytes: int = 0


KEEP_ALL = RetentionPolicy()


def expired(
    letters: Letters, policy: RetentionPolicy, now_us: int, *, most: int
) -> tuple[list[bytes], str]:
    """The oldest letters that are not to be kept, at most `most`, and why: `age` or `bytes`.

    Letters that are too old are told first; `now_us` is the wall clock, which they died by.
    """
    dead_before = now_us - policy.max_age_ms * 1000 if policy.max_age_ms else 0
    old: list[bytes] = []
    surplus: list[bytes] = []
    too_many = letters.size_bytes - policy.max_bytes if policy.max_bytes else 0
    for row in letters.alive():
        if len(old) == most or len(surplus) == most:
            break
        if letters.dead_at[row] < dead_before:
            old.append(letters.id(row))
        elif too_many <= 0 or old:
            break
        else:
            surplus.append(letters.id(row))
            too_many -= letters.sizes[row]
    return (old, "age") if old else (surplus, "bytes")


class Retention:
    """Drops what is not to be kept, now and then. `dropped_total` counts."""

    def __init__(
        self,
        letters: Letters,
        redriver: Redriver,
        policy: RetentionPolicy,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self.dropped_total = 0
        self._letters = letters
        self._redriver = redriver
        self._policy = policy
        self._clock = clock
        self._observer = observer
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        if self._policy.max_age_ms or self._policy.max_bytes:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Look no more. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            with suppress(Refused):  # no space to write it down: the next look tries again
                await self.drop()
            await asyncio.sleep(LOOK_SECONDS)

    async def drop(self) -> None:
        """Drop what is not to be kept now; returns when that is durable."""
        while True:
            ids, why = expired(self._letters, self._policy, self._clock.now_us(), most=_AT_ONCE)
            done = await self._redriver.purge(ids) if ids else []
            if not done:
                return  # nothing to drop, or somebody else is taking these away
            self.dropped_total += len(done)
            self._observer.letters_dropped(len(done), why)
