"""What members share: a few records, each replaced only by who knows its latest revision. The seam.

What always holds: revisions are above 0, and a later record has a higher one, whatever its key; a
record that was there once is never gone; of several that replace the same revision one is stored.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

Stop = Callable[[], Awaitable[None]]
"""Ends listening. Raises nothing."""


class Conflict(Exception):
    """Another record is there than the one to be replaced. Certainly not stored, now or later."""


class NoVerdict(Exception):
    """No answer came in time. It may be stored, now or later."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A record as it was found."""

    revision: int
    value: bytes


class LeaseStore(Protocol):
    """Used on one event loop. Every wait is bounded, by about a second: whoever asks asks again."""

    async def look(self, keys: Sequence[str]) -> dict[str, Entry]:
        """Return the latest records of these keys, of those that have one, as the store's leader
        knows them. A leader that lost its majority may say what was so before.

        Raises LogBusy: nobody answers now.
        """

    async def put(self, key: str, value: bytes, *, after: int) -> int:
        """Store a record in place of the one with the revision `after` (0: there is none), and
        return its revision: then it is stored on a majority.

        Raises Conflict and NoVerdict, also when it is known that nobody heard it.
        """

    async def listen(self, heard: Callable[[str, bytes], None]) -> Stop:
        """Tell `heard` what is being stored from now on, as key and value. Only hints: some may be
        missed, one may come before the record is there, or be one that is refused.

        Raises LogBusy: nobody answers now.
        """
