"""How long dead letters are kept: not longer than a time, and not more than so many bytes.

The oldest go first. Age is not what the wall clock says: see `uptime`. What is dropped is counted
and told to the observer: it was accepted, and nobody will ever see it again.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

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
    """`max_age_ms` and `max_bytes` 0: no limit. Bytes are those of the records in the log."""

    max_age_ms: int = 0
    max_bytes: int = 0


KEEP_ALL = RetentionPolicy()


def expired(
    letters: Letters, policy: RetentionPolicy, uptime_s: int, *, most: int
) -> tuple[list[bytes], str]:
    """The oldest letters that are not to be kept, at most `most`, and why: `age` or `bytes`.

    Letters that are too old are told first; `uptime_s` is the log's, which they died by (see
    `uptime`).
    """
    oldest_s = uptime_s - policy.max_age_ms / 1000 if policy.max_age_ms else -1.0
    old: list[bytes] = []
    surplus: list[bytes] = []
    too_many = letters.size_bytes - policy.max_bytes if policy.max_bytes else 0
    for row in letters.alive():
        if len(old) == most or len(surplus) == most:
            break
        if letters.uptime_s[row] <= oldest_s:
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
            ids, why = expired(dead_letters.letters, self._policy, now_s, most=_AT_ONCE)
            done = await self._redriver.purge(ids) if ids else []
            if not done:
                return  # nothing to drop, or somebody else is taking these away
            self.dropped_total += len(done)
            self._observer.letters_dropped(len(done), why)
