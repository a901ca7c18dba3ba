"""Dead letters, as operators are shown them. Plain values; instants are integer microseconds since
the epoch."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from dispatcher.queue.deadletters.selection import LetterKind
from dispatcher.queue.ports import CHUNK_BYTES


@dataclass(frozen=True, slots=True)
class LetterView:
    """One dead letter as it is listed. `last_error` is as `core.outcome.cause` has it. A call has
    its endpoint as `destination`, and a `function` in place of `method` and `target`. `options` are
    as of `MessageView`."""

    id: str
    destination: str
    method: str
    target: str
    accepted_at_us: int
    dead_at_us: int
    attempts: int
    last_status: int | None
    last_error: str | None
    reason: str
    size_bytes: int
    kind: LetterKind = LetterKind.MESSAGE
    function: str | None = None
    label: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One attempt of a dead letter; `response_start` is known of the last one only."""

    attempt: int
    started_at_us: int
    duration_ms: int
    status: int | None
    error: str | None
    response_start: bytes | None


class LetterGone(Exception):
    """A dead letter was redriven or purged, or a message ended, while it was read."""


@dataclass(frozen=True, slots=True)
class InMemory:
    """A body that is there already."""

    data: bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.data), CHUNK_BYTES):
            yield self.data[start : start + CHUNK_BYTES]


@dataclass(frozen=True, slots=True)
class CallDetail:
    """What only a call has; `timeout_ms` 0 is the setting's."""

    application: str
    version: str
    correlation: int
    expiration_ms: int
    timeout_ms: int
    error_type: str


@dataclass(frozen=True, slots=True)
class LetterDetail:
    """All of a dead letter. `headers` are name and value as bytes.

    `body` gives the body in pieces of at most `ports.CHUNK_BYTES`, each time it is gone through: a
    large one is read meanwhile. It raises `LetterGone` once the letter is redriven or purged.
    """

    letter: LetterView
    headers: Sequence[tuple[bytes, bytes]]
    body: AsyncIterable[bytes]
    detail: str
    redrives: int
    history: Sequence[AttemptView]
    call: CallDetail | None = None


@dataclass(frozen=True, slots=True)
class LetterGroup:
    """Dead letters with the same destination and cause; of calls, of the same function too."""

    destination: str
    status: int | None
    error: str | None
    reason: str
    count: int
    size_bytes: int
    oldest_us: int
    newest_us: int
    kind: LetterKind = LetterKind.MESSAGE
    function: str | None = None


MOST_GROUPS: Final = 1000
"""Groups that are told, at most: the largest."""


@dataclass(frozen=True, slots=True)
class LetterGroups:
    """The largest groups, the largest first, of `total` ones."""

    items: Sequence[LetterGroup]
    total: int
    incomplete: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class LetterPage:
    """A page of dead letters, oldest first. `next_cursor` is None on the last one. `ordinals` are
    those of its items: a cursor is the ordinal behind which to go on, and they are instants, so
    that the pages of several partitions can be merged."""

    items: Sequence[LetterView]
    next_cursor: int | None
    ordinals: Sequence[int] = ()
    incomplete: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Moved:
    """What came of redriving or purging: how many, the ids that are no dead letters, those of
    letters that stay because they cannot be read, and those of calls that stay because this server
    has no function service."""

    count: int
    not_found: Sequence[str]
    failed: Sequence[str] = ()
    unserved: Sequence[str] = ()
