"""How long dead letters are kept: not longer than a time, and not more than so many bytes.

The oldest go first, of all partitions of the process, which keep so many bytes together. Age is not
what the wall clock says: see `uptime`. What is dropped is counted and told to the observer: it was
accepted, and nobody will ever see it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from heapq import merge

from dispatcher.errors import Refused
from dispatcher.queue.deadletters.letters import Letters
from dispatcher.queue.deadletters.redrive import Redriver
from dispatcher.queue.deadletters.store import DeadLetters
from dispatcher.queue.ports import Observer
from dispatcher.telemetry.supervisor import Supervisor

LOOK_SECONDS = 10.0
_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """`max_age_ms` and `max_bytes` 0: no limit. Bytes are those of the records in the logs of all
    partitions of the process."""

    max_age_ms: int = 0
    max_bytes: int = 0


KEEP_ALL = RetentionPolicy()


def expired(
    letters: Letters,
    policy: RetentionPolicy,
    uptime_s: int,
    *,
    most: int,
    beside: Sequence[Letters] = (),
) -> tuple[list[bytes], str]:
    """The oldest letters that are not to be kept, at most `most`, and why: `age` or `bytes`.

    Letters that are too old are told first; `uptime_s` is the log's, which they died by (see
    `uptime`). `beside` are those of the other partitions.
    """
    old = _too_old(letters, policy, uptime_s, most)
    return (old, "age") if old else (_surplus(letters, policy, most, beside), "bytes")


def _too_old(letters: Letters, policy: RetentionPolicy, uptime_s: int, most: int) -> list[bytes]:
    found: list[bytes] = []
    oldest_s = uptime_s - policy.max_age_ms / 1000 if policy.max_age_ms else -1.0
    for row in letters.alive():
        if len(found) == most or letters.uptime_s[row] > oldest_s:
            break
        found.append(letters.id(row))
    return found


def _surplus(
    letters: Letters, policy: RetentionPolicy, most: int, beside: Sequence[Letters]
) -> list[bytes]:
    """The letters of one partition that are among the oldest of all, by when they died, and have to
    go for their bytes. Every partition asks for itself: what one has dropped the next one counts no
    more, and what it has not dropped yet is older than what the next one would drop for it."""
    found: list[bytes] = []
    if not policy.max_bytes:
        return found
    every = (letters, *beside)
    too_many = sum(one.size_bytes for one in every) - policy.max_bytes
    if too_many <= 0:
        return found
    for _, number, row in merge(*(_by_death(one, number) for number, one in enumerate(every))):
        if too_many <= 0 or len(found) == most:
            break
        too_many -= every[number].sizes[row]
        if number == 0:
            found.append(letters.id(row))
    return found


def _by_death(letters: Letters, number: int) -> Iterator[tuple[int, int, int]]:
    """The rows of a partition, with its number, from the oldest."""
    for row in letters.alive():
        yield letters.dead_at[row], number, row


class Retention:
    """Drops what is not to be kept, now and then. `dropped_total` counts."""

    def __init__(
        self,
        dead_letters: DeadLetters,
        redriver: Redriver,
        policy: RetentionPolicy,
        observer: Observer,
    ) -> None:
        self.dropped_total = 0
        self._dead_letters = dead_letters
        self._redriver = redriver
        self._policy = policy
        self._observer = observer
        self._beside: Callable[[], Sequence[Letters]] = lambda: ()

    def share_with(self, beside: Callable[[], Sequence[Letters]]) -> None:
        """Keep so many bytes together with other partitions, whose letters `beside` returns."""
        self._beside = beside

    def start(self, supervisor: Supervisor) -> None:
        """Begin to look."""
        if self._policy.max_age_ms or self._policy.max_bytes:
            supervisor.forever("retention", self._look, every_s=LOOK_SECONDS)

    async def _look(self) -> None:
        if self._policy.max_age_ms:
            self._dead_letters.note_uptime()
        with suppress(Refused):  # no space to write it down: the next look tries again
            await self.drop()

    async def drop(self) -> None:
        """Drop what is not to be kept now; returns when that is durable."""
        dead_letters = self._dead_letters
        while True:
            now_s = dead_letters.uptime.now_s
            ids, why = expired(
                dead_letters.letters, self._policy, now_s, most=_AT_ONCE, beside=self._beside()
            )
            done = await self._redriver.purge(ids) if ids else []
            if not done:
                return  # nothing to drop, or somebody else is taking these away
            self.dropped_total += len(done)
            self._observer.letters_dropped(len(done), why)
