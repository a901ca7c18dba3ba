"""This member's own record: that it is stored says that it lives, and that the store does. Pure."""

from __future__ import annotations

import math

from dispatcher.cluster.lease import Me
from dispatcher.cluster.records import MemberRecord, MemberState, Unreadable, read_member
from dispatcher.cluster.store import Entry
from dispatcher.cluster.times import Times
from dispatcher.cluster.writing import Writing


class Heart:
    """`state` is how this member is, `joined_s` when it was known to be heard first; `is_taken`
    that its number is another's now: then nothing more is stored."""

    __slots__ = (
        "_address",
        "_is_news",
        "_last_s",
        "_since_s",
        "_times",
        "is_taken",
        "joined_s",
        "me",
        "said",
        "state",
        "taken_by",
        "writing",
    )

    def __init__(self, me: Me, address: str, after: int, times: Times) -> None:
        """`after` is the revision of the record that it takes the place of."""
        self.me = me
        self.state = MemberState.JOINING
        self.said: MemberState | None = None
        self.writing = Writing()
        self.writing.revision = after
        self.is_taken = False
        self.taken_by = ""
        self.joined_s = math.inf
        self._address = address
        self._times = times
        self._is_news = True
        self._since_s = self._last_s = -math.inf

    def __repr__(self) -> str:
        return f"<Heart of member {self.me.number}: {self.state.value}>"

    @property
    def stored_s(self) -> float:
        """When what was stored last was sent; infinite while there is nothing to store."""
        is_writing = self.said is not None and not self.is_taken
        return self._last_s if is_writing and self.said is not MemberState.LEFT else math.inf

    def is_now(self, state: MemberState) -> None:
        """Say so at once."""
        self.state = state
        self._is_news = True

    def wants(self, now_s: float) -> bool:
        """Whether it is to be stored now."""
        if self.is_taken or not self.writing.may_send(now_s, self._times.again_s):
            return False
        if self.said is MemberState.LEFT:
            return False
        is_due = now_s - self.writing.sent_s >= self._times.renew_s
        return is_due or self._is_news or self.writing.is_silent()

    def next_record(self, n: int, now_s: float) -> MemberRecord:
        """Make what is sent now, in place of `writing.revision`."""
        self._is_news = False
        self.writing.send(n, now_s)
        return MemberRecord(self.me.node, self._address, self.me.nonce, n, self.state)

    def stored(self, record: MemberRecord, revision: int, now_s: float) -> None:
        """What was sent is stored."""
        self.writing.stored()
        if self.writing.is_new(revision):
            self._is_heard(record, now_s)

    def looked(self, entry: Entry | None, now_s: float) -> None:
        """The record of our number, as a look found it."""
        self.writing.looked()
        if entry is None or not self.writing.is_new(entry.revision):
            return
        try:
            record = read_member(entry.value)
        except Unreadable:
            self.is_taken = True
            return
        if record.nonce == self.me.nonce:
            self._is_heard(record, now_s)
        else:
            self.is_taken, self.taken_by = True, record.node

    def _is_heard(self, record: MemberRecord, now_s: float) -> None:
        self.said = record.state
        self.joined_s = min(self.joined_s, now_s)
        sent_s = self.writing.sent_at_s(record.n)
        if sent_s - self._last_s > self._times.steady_s:
            self._since_s = sent_s
        self._last_s = sent_s

    def silent_s(self, now_s: float) -> float:
        """How long ago the record was sent that is known to be stored."""
        return now_s - self._last_s

    def steady_s(self, now_s: float) -> float | None:
        """Since when it is stored time after time, if it is, and for `grace_s` at least."""
        if now_s - self._last_s > self._times.steady_s:
            return None
        return self._since_s if self._last_s - self._since_s >= self._times.grace_s else None
