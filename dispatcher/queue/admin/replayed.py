"""Sending what was delivered once more: which messages, how far it is, and who does it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from dispatcher.core.callbacks import is_callback
from dispatcher.core.message import Message
from dispatcher.errors import Refusal
from dispatcher.queue.admin.course import Course


class Place(NamedTuple):
    """How far a replay is: so many of the names in the record at this position of the log are done,
    and all of the records before it. `end` is where the log ended when the replay began, and
    `partition` whose log that is."""

    position: int
    done: int
    end: int
    partition: int = 0


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """Which messages of the history: those that match everything that is not None. Instants are
    those of their acceptance, in microseconds since the epoch."""

    destination: str | None = None
    since_us: int | None = None
    until_us: int | None = None
    label: str | None = None

    def is_in_time(self, accepted_at_us: int) -> bool:
        """Whether it was accepted at or after `since_us`, and before `until_us`."""
        return (self.since_us is None or self.since_us <= accepted_at_us) and (
            self.until_us is None or accepted_at_us < self.until_us
        )

    def matches(self, message: Message) -> bool:
        """Whether a message is meant. A callback never is: nobody waits for it again."""
        return (
            self.is_in_time(message.accepted_at)
            and not is_callback(message)
            and (
                self.destination in (None, str(message.destination))
                and self.label in (None, None if message.terms is None else message.terms.label)
            )
        )


@dataclass(frozen=True, slots=True)
class Replayed:
    """How far a replay has come. What is counted in `messages` is durable, with its bodies of
    `size_bytes`; all of it lies before `place`. Of a dry run it would be sent.

    `first_us`, `last_us`  when the first and the last of them were accepted.
    `read_bytes`           of the log, of `log_bytes` about.
    `unreadable`           messages, or bodies, of which the disk gives something else back.
    `waiting`              why nothing is accepted now: it goes on when that passes.
    `is_done`              nothing is left. Only then there are `destinations`: name, messages and
                           bytes of the largest, of `destinations_total`.
    """

    messages: int
    size_bytes: int
    first_us: int | None
    last_us: int | None
    read_bytes: int
    log_bytes: int
    unreadable: int
    place: Place
    waiting: Refusal | None = None
    is_done: bool = False
    destinations: Sequence[tuple[str, int, int]] = ()
    destinations_total: int = 0


MOST_DESTINATIONS: Final = 1000
"""Destinations of a replay that are told, at most: those with most messages."""


@dataclass(frozen=True, slots=True)
class Extent:
    """All of a partition's history: the place before the first of it, and how many bytes are to be
    read, about."""

    place: Place
    log_bytes: int


class PartReplayer(Protocol):
    """Sends what was delivered in one partition once more."""

    @property
    def partition(self) -> int:
        """Its number."""

    async def extent(self) -> Extent:
        """Everything that was delivered by now."""

    def replay(
        self,
        which: HistoryFilter,
        *,
        to: str | None = None,
        dry_run: bool = False,
        after: Place | None = None,
        course: Course | None = None,
    ) -> AsyncGenerator[Replayed, None]:
        """As `Replayer.replay`; a copy lies in the partition of its original."""


class Replayer(Protocol):
    """Sends what was delivered once more."""

    @property
    def keeps_history(self) -> bool:
        """Whether there is a history: EVENT_SOURCING."""

    def replay(
        self,
        which: HistoryFilter,
        *,
        to: str | None = None,
        dry_run: bool = False,
        after: Place | None = None,
        course: Course | None = None,
    ) -> AsyncGenerator[Replayed, None]:
        """Send every message that was delivered before this was called, in the order of delivery,
        as a new one; say how far it is after each few, and at least once.

        Args:
            which: of the delivered ones.
            to: a destination in place of theirs.
            dry_run: count, and send nothing.
            after: go on behind this place, of an earlier replay that broke off.
            course: how fast it may go; once it is cancelled nothing more is told.

        Raises:
            Refused: nothing is accepted any more. What was told before is durable.
            LogError: the log cannot be read.
        """
