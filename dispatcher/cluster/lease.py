"""The lease of one partition, as one member has it: what was seen and sent, and when to act. Pure.

What may follow what is the table in `ownership`. Here is what the clock and the store's answers add
to it: when to renew, until when to act, and when to claim what is not renewed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dispatcher.cluster.ownership import TRANSITIONS, Do, Event, State
from dispatcher.cluster.records import LeaseRecord, Phase, Unreadable, read_lease
from dispatcher.cluster.store import Entry
from dispatcher.cluster.times import Times
from dispatcher.cluster.writing import Writing

_PHASES: Final[Mapping[State, Phase]] = {
    State.FOREIGN: Phase.OPENING,
    State.CLAIMING: Phase.OPENING,
    State.LOST: Phase.OPENING,
    State.OPENING: Phase.OPENING,
    State.OWNED: Phase.OPEN,
    State.FAILED: Phase.FAILED,
    State.GIVING: Phase.LEAVING,
    State.RELEASING: Phase.RELEASED,
}
"""What is stored in each state: claims in the first three."""


@dataclass(frozen=True, slots=True)
class Me:
    """This member: its number, its node, and its nonce, which is another one at each start."""

    number: int
    node: str
    nonce: int


@dataclass(frozen=True, slots=True)
class Turn:
    """Whether a member may claim a partition: what it knows beside the partition's own record.

    `rank` is its place among those who may, from 0. What nobody had when it came it may claim from
    `settles_s` on. It stores its own record time after time since `steady_s`; None: it does not.
    """

    rank: int
    settles_s: float
    steady_s: float | None


class Lease:
    """One partition. What is sent for it is made by `next_record`, after `wants`; everything that
    is told may change `state`, and returns what is to be done.

    `record` is the latest that was seen, None where there is none; `seen_s` when it was seen first,
    `changed_s` when it last said something new. `acts_until_s` is until when the owner may act,
    `epoch` what its logs are opened with.
    """

    __slots__ = (
        "_claimed_s",
        "_has_looked",
        "_is_fenced",
        "_is_news",
        "_is_unreadable",
        "_nonce",
        "_times",
        "_was_nobodys",
        "acts_until_s",
        "changed_s",
        "epoch",
        "is_leaving",
        "record",
        "seen_s",
        "state",
        "why",
        "writing",
    )

    def __init__(self, nonce: int, times: Times) -> None:
        self.state = State.FOREIGN
        self.record: LeaseRecord | None = None
        self.writing = Writing()
        self.seen_s = self.changed_s = -math.inf
        self.acts_until_s = -math.inf
        self.epoch = 0
        self.why = ""
        self.is_leaving = False
        self._nonce = nonce
        self._times = times
        self._claimed_s = -math.inf
        self._is_news = self._is_fenced = self._is_unreadable = False
        self._has_looked = False
        self._was_nobodys = False

    def __repr__(self) -> str:
        return f"<Lease {self.state.name}, revision {self.writing.revision}, {self.record!r}>"

    # What was seen, and what became of what was sent.

    def looked(self, entry: Entry | None, now_s: float) -> Do:
        """The latest record, as a look found it; None: there is none."""
        if not self._has_looked:
            self._has_looked = True
            self.seen_s = self.changed_s = now_s
            self._was_nobodys = entry is None
        self.writing.looked()
        if entry is None or not self.writing.is_new(entry.revision):
            return Do.NOTHING  # or what was so before, of a leader that does not know better
        try:
            record = read_lease(entry.value)
        except Unreadable:
            self._is_unreadable = True  # a later version has it: never claimed from here
            return self._anothers(None, now_s)
        if self.record is None and not record.is_held:
            self._was_nobodys = True
        return self._latest(record, now_s)

    def stored(self, record: LeaseRecord, revision: int, now_s: float) -> Do:
        """What was sent is stored."""
        self.writing.stored()
        if not self.writing.is_new(revision):
            return Do.NOTHING  # a look has said so, or more, before
        return self._latest(record, now_s)

    def refused(self) -> None:
        """What was sent is certainly not stored, and something else is there."""
        self.writing.refused()
        self._unclear()

    def silent(self) -> None:
        """Nobody said what became of what was sent."""
        self.writing.silent()
        self._unclear()

    def _unclear(self) -> None:
        if self.state is State.CLAIMING:
            self._go(Event.UNCLEAR)

    def _latest(self, record: LeaseRecord, now_s: float) -> Do:
        if record.nonce != self._nonce or not record.is_held:
            return self._anothers(record, now_s)
        self._note(record, now_s)
        self.acts_until_s = self.writing.sent_at_s(record.n) + self._times.act_s
        if self.state is State.FOREIGN and self.is_leaving:
            return self._go(Event.UNWANTED)
        if self.state in {State.FOREIGN, State.CLAIMING, State.LOST}:
            self.epoch = self.writing.revision
        return self._go(Event.OURS)

    def _anothers(self, record: LeaseRecord | None, now_s: float) -> Do:
        self.writing.forget()
        self._note(record, now_s)
        self.acts_until_s = -math.inf
        return self._go(Event.ANOTHERS)

    def _note(self, record: LeaseRecord | None, now_s: float) -> None:
        before, self.record, self.seen_s = self.record, record, now_s
        if record is not None and record.is_held:
            self._was_nobodys = False
        if record is None or is_news(before, record):
            self.changed_s = now_s

    # What the node says.

    def opened(self) -> Do:
        """Its logs are open."""
        self._is_fenced = False
        return self._go(Event.OPENED)

    def failed(self, why: str) -> Do:
        """Its logs cannot be opened."""
        self.why = why
        return self._go(Event.FAIL)

    def tries_again(self) -> int:
        """What failed is opened again: under the latest epoch that is its own, that of its last
        renewal. So leases that were restored as they were before a log's last fence come after it
        some time. Returns the epoch."""
        self.epoch = self.writing.revision
        return self.epoch

    def lost(self, why: str, *, is_fenced: bool = False) -> Do:
        """Its logs have to be opened anew, if it is still ours. When they are fenced by a later
        epoch although the lease is ours, and again after a claim that is later than all: then it is
        the leases that are wrong."""
        if self.state is State.OPENING and is_fenced and self._is_fenced:
            return self.failed(why)
        self._is_fenced = is_fenced
        return self._go(Event.LOSE)

    def give(self, *, is_leaving: bool) -> Do:
        """It is to be another's; `is_leaving`: and nothing is claimed any more."""
        self.is_leaving = is_leaving
        return self._go(Event.GIVE)

    def given(self) -> Do:
        """Nothing of it is left here."""
        return self._go(Event.GIVEN)

    def _go(self, event: Event) -> Do:
        before = self.state
        self.state, do = TRANSITIONS[before, event]
        if before is State.FAILED and self.state is not before:
            self.why = ""
        if self.state is not before or event is Event.FAIL:
            self._is_news = self.state.is_news
        return do

    # What is to be sent.

    def wants(self, now_s: float, turn: Turn | None = None) -> bool:
        """Whether a record is to be sent now: a claim, a renewal or a release. `turn` says when it
        may be a claim of what is not ours; None: not at all."""
        writing = self.writing
        if not writing.may_send(now_s, self._times.again_s):
            return False
        if self.state.is_held:
            return self._is_due(now_s) or self._is_news or writing.is_silent()
        match self.state:
            case State.RELEASING:
                return True
            case State.LOST:
                return now_s - self._claimed_s >= self._times.renew_s
            case State.FOREIGN:
                return turn is not None and now_s >= self._claims_from_s(turn)
            case _:
                return False

    def _is_due(self, now_s: float) -> bool:
        """Whether what counts was sent long enough ago: also when an early try came late."""
        since_s = now_s - self.writing.sent_s
        counts_s = self.acts_until_s - self._times.act_s
        if now_s - counts_s >= self._times.renew_s:
            return since_s >= self._times.again_s
        return since_s >= self._times.renew_s

    def _claims_from_s(self, turn: Turn) -> float:
        """From when on this member may claim a partition that is not its own."""
        if not self._has_looked or self._is_unreadable or self.is_leaving:
            return math.inf
        if self.record is None or not self.record.is_held:
            from_s = self.seen_s
            if self._was_nobodys:
                from_s = max(from_s, turn.settles_s)
        elif turn.steady_s is None:
            return math.inf
        else:
            # Not from when a look last failed: only the owner's renewals put it off.
            from_s = max(self.seen_s + self._times.ttl_s, turn.steady_s + self._times.grace_s)
        return from_s + turn.rank * self._times.rank_s

    def next_record(
        self, me: Me, n: int, now_s: float, now_us: int, ends: Mapping[str, int]
    ) -> LeaseRecord:
        """Make what is sent now, in place of `writing.revision`. `n` is another one each time;
        `ends` is how far the logs reach, empty while they are not open."""
        before = self.record
        phase = _PHASES[self.state]
        if not self.state.is_held and self.state is not State.RELEASING:
            self._claimed_s = now_s
        if self.state is State.FOREIGN:
            self._go(Event.CLAIM)
        is_same = before is not None and before.nonce == self._nonce and before.phase is phase
        record = LeaseRecord(
            me.number,
            me.node,
            me.nonce,
            n,
            phase,
            self.epoch if self.state.is_held else 0,
            before.since_us if before is not None and is_same else now_us,
            ends or (before.ends if before is not None else {}),
            self.why,
        )
        self._is_news = False
        self.writing.send(n, now_s)
        return record

    # What others are told.

    def is_heard(self, now_s: float) -> bool:
        """Whether its owner renewed it lately."""
        return self.state.is_held or now_s - self.seen_s < self._times.ttl_s


def is_news(before: LeaseRecord | None, record: LeaseRecord) -> bool:
    """Whether a record says more than the one before it, and that its owner lives."""
    if before is None:
        return True
    return (before.nonce, before.phase, before.epoch) != (record.nonce, record.phase, record.epoch)
