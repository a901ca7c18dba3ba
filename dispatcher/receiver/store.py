"""What a store of handled messages is asked, and what it answers.

    free ──claim──▶ running ──finish──▶ handled ──its time is over──▶ free
      ▲                │
      └─ release, or the lease is over

Only who claims a free message handles it. A process that dies meanwhile never says so, hence the
lease: who handles a message for longer may find that another one does too. What was handled stays
so, whoever says it: `finish` needs no claim that is still in force.

All times are microseconds since the epoch, so that processes agree on them, and a restart does too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from dispatcher.errors import DispatcherError


class StoreUnavailable(DispatcherError):
    """The store can't be read or written now; nothing of the kind is wrong with the message."""

    slug = "store_unavailable"


@dataclass(frozen=True, slots=True)
class Claimed:
    """The message was free, and is the claimant's until the lease is over."""


@dataclass(frozen=True, slots=True)
class Running:
    """Somebody handles it, since `for_us`. In `left_us` the lease is over."""

    for_us: int
    left_us: int


@dataclass(frozen=True, slots=True)
class Handled:
    """It is a duplicate."""


Standing = Claimed | Running | Handled


class Store(Protocol):
    """Remembers messages by id. Threads call it at the same time; it may block.

    Each method raises `StoreUnavailable` where it can't tell or keep what it should.
    """

    def claim(self, message_id: str, token: str, *, now_us: int, lease_us: int) -> Standing:
        """Take a message that is free; of two who ask at the same time, one gets it. `token` is the
        claimant's, unique. Returns how it stood."""
        ...

    def finish(self, message_id: str, *, now_us: int) -> None:
        """Remember that a message was handled, for as long as the store keeps it."""
        ...

    def release(self, message_id: str, token: str) -> None:
        """Free a message that is still claimed with this token; else do nothing."""
        ...


class Entry(NamedTuple):
    """What is remembered of a message, in force before `until_us`."""

    token: str | None
    """None: it was handled."""
    since_us: int
    until_us: int


def standing(entry: Entry | None, now_us: int) -> Standing:
    """Say how a message stands of which this is remembered."""
    if entry is None or entry.until_us <= now_us:
        return Claimed()
    if entry.token is None:
        return Handled()
    return Running(max(0, now_us - entry.since_us), entry.until_us - now_us)
