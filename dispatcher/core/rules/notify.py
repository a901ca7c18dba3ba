"""What a `[[notify]]` table says: who is told of what, and how often at most."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dispatcher.core.rate import Rate
from dispatcher.core.rules.match import Match
from dispatcher.core.rules.rule import Header, Secret


class Kind(Enum):
    """What somebody can be told of. The value is the word in the file and in the notification."""

    DEAD_LETTER = "dead_letter"
    CALL_FAILED = "call_failed"
    LETTERS_DROPPED = "letters_dropped"
    DESTINATION_FAILING = "destination_failing"
    DISK_LOW = "disk_low"
    TEST = "test"


class Format(Enum):
    """How it is told."""

    SLACK = "slack"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Below:
    """When a disk has too little space: a part of all of it, 0 to 1, or so many bytes. `text` is
    what was written."""

    text: str
    part: float = 0.0
    size_bytes: int = 0

    def bytes_of(self, total_bytes: int) -> int:
        """So many bytes of a disk of this size."""
        return self.size_bytes or int(self.part * total_bytes)


@dataclass(frozen=True, slots=True)
class Notify:
    """One `[[notify]]` table, with a value for every key.

    `on`        what is told.
    `url`       whole, with the secrets that it may have in it.
    `at_most`   notifications of one kind in a time.
    `match`     which destinations, of what is about one; None: all.
    `for_ms`    how long a destination has failed before it is told.
    `below`     how little space the disk of the log has before it is told.
    `headers`   of the request.
    """

    on: tuple[Kind, ...]
    url: Secret
    format: Format
    at_most: Rate
    match: Match | None
    for_ms: int
    below: Below
    headers: tuple[Header, ...] = ()
