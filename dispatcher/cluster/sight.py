"""What was seen of the members, and since when. Pure.

A member is heard of when its record changes; that a record is there says nothing, it stays when its
member dies. Numbers are taken from 0 on, and records never go: so the members that there are stand
below the first number without a record, and that one is looked at too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from dispatcher.cluster.records import (
    MOST_MEMBERS,
    MemberRecord,
    MemberState,
    Unreadable,
    member_key,
    read_member,
)
from dispatcher.cluster.store import Entry


@dataclass(frozen=True, slots=True)
class Seen:
    """A member's record: its revision, when that one was seen first (`seen_s`), since when the same
    life of its node is heard of without a gap (`since_s`), and how often that was (`changes`).
    `record` is None where it cannot be read."""

    revision: int
    record: MemberRecord | None
    seen_s: float
    since_s: float
    changes: int = 0

    @property
    def nonce(self) -> int | None:
        """Of its node's life."""
        return None if self.record is None else self.record.nonce


class Sight:
    """All members, by number."""

    def __init__(self, ttl_s: float) -> None:
        """Who is not heard of for `ttl_s` is not there."""
        self.members: dict[int, Seen] = {}
        self._ttl_s = ttl_s

    @property
    def first_free(self) -> int:
        """The first number that nobody ever had; `MOST_MEMBERS` where there is none."""
        return len(self.members)

    def keys(self) -> list[str]:
        """What to look at."""
        return [member_key(one) for one in range(min(self.first_free + 1, MOST_MEMBERS))]

    def looked(self, entries: Mapping[str, Entry], now_s: float) -> bool:
        """Take in what was found; False: there may be more, so look at `keys` again."""
        is_complete = True
        for number in range(MOST_MEMBERS):
            entry = entries.get(member_key(number))
            if number == self.first_free:
                if entry is None:
                    break
                is_complete = False
            if entry is not None:
                self.saw(number, entry, now_s)
        return is_complete

    def saw(self, number: int, entry: Entry, now_s: float) -> None:
        """A member's record is this one, or was before."""
        before = self.members.get(number)
        if before is not None and entry.revision <= before.revision:
            return
        try:
            record = read_member(entry.value)
        except Unreadable:
            record = None
        found = Seen(entry.revision, record, now_s, now_s)
        if before is not None and before.nonce == found.nonce and self._is_heard(before, now_s):
            found = replace(found, since_s=before.since_s, changes=before.changes + 1)
        self.members[number] = found

    def heard(self, now_s: float) -> dict[int, MemberRecord]:
        """Those that are heard of, but who has left."""
        return {
            number: one.record
            for number, one in self.members.items()
            if one.record is not None
            and one.record.state is not MemberState.LEFT
            and self._is_heard(one, now_s)
        }

    def _is_heard(self, seen: Seen, now_s: float) -> bool:
        return now_s - seen.seen_s < self._ttl_s
