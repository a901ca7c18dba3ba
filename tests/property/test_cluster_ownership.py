"""One partition and three members who want it, over a store that loses, delays and answers with
what was so before: whatever comes when, no two may act at the same time, and each knows what it
has."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.cluster.lease import Lease, Me, Turn
from dispatcher.cluster.ownership import Do, State
from dispatcher.cluster.records import LeaseRecord
from dispatcher.cluster.store import Entry
from dispatcher.cluster.times import Times
from tests.effort import times

TIMES = Times()
MEMBERS = range(3)
WHO = st.sampled_from(MEMBERS)

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), WHO, st.sampled_from([0.01, 0.3, 0.9, 1.1, 2.5, 3.1])),
        st.tuples(st.just("look"), WHO, st.sampled_from([0, 0, 0, 1, 3])),
        st.tuples(
            st.just("send"), WHO, st.sampled_from(["answered", "answered", "lost", "mute", "late"])
        ),
        st.tuples(st.just("turn"), WHO, st.just(0)),
        st.tuples(st.just("deliver"), WHO, st.just(0)),
        st.tuples(st.sampled_from(["opened", "given", "lose", "give"]), WHO, st.just(0)),
    ),
    min_size=10,
    max_size=120,
)

TURN = (("look", 0), ("send", "answered"), ("opened", 0), ("given", 0))
"""What one does that hears everything and is answered."""


@dataclass
class Store:
    """One record, and all that it ever was."""

    history: list[LeaseRecord] = field(default_factory=list)

    def put(self, record: LeaseRecord, after: int) -> int | None:
        """Its revision; None: refused."""
        if after != len(self.history):
            return None
        self.history.append(record)
        return len(self.history)

    def entry(self, back: int) -> Entry | None:
        """What it is, or was so many records before."""
        revision = len(self.history) - back
        return Entry(revision, self.history[revision - 1].encode()) if revision > 0 else None


class Members:
    """Three of them, and the time."""

    def __init__(self) -> None:
        self.store = Store()
        self.now_s = 100.0
        self.leases = [Lease(number + 1, TIMES) for number in MEMBERS]
        self.late: list[tuple[LeaseRecord, int]] = []
        self.sent_s: dict[int, float] = {}
        self.epochs: list[int] = []
        self.n = 0

    def do(self, what: str, who: int, how: object) -> None:
        """One step."""
        lease = self.leases[who]
        match what:
            case "pass":
                assert isinstance(how, float)
                self.now_s += how
            case "look":
                assert isinstance(how, int)
                self.told(who, lease.looked(self.store.entry(how), self.now_s))
            case "send":
                self.send(who, str(how))
            case "turn":
                for step, well in TURN:
                    self.do(step, who, well)
                    self.check()
            case "deliver" if self.late:
                self.store.put(*self.late.pop(0))
            case "opened" if lease.state is State.OPENING:
                self.epochs.append(lease.epoch)
                lease.opened()
            case "given" if lease.state is State.GIVING:
                self.told(who, lease.given())
            case "lose" if lease.state in {State.OPENING, State.OWNED, State.GIVING}:
                self.told(who, lease.lost("no verdict"))
            case "give" if lease.state is State.OWNED:
                self.told(who, lease.give(is_leaving=False))
            case _:
                return

    def told(self, who: int, do: Do) -> None:
        """What is to be done is done at once; opening is a step of its own."""
        lease = self.leases[who]
        assert (do is Do.OPEN) <= (lease.state is State.OPENING)
        assert (do is Do.HAND_OVER) <= (lease.state is State.GIVING)

    def send(self, who: int, how: str) -> None:
        """Store something, if it is time to."""
        lease = self.leases[who]
        if not lease.wants(self.now_s, Turn(0, 0.0, self.now_s - 5)):
            return
        self.n += 1
        after = lease.writing.revision
        record = lease.next_record(
            Me(who, "abc"[who], who + 1), self.n, self.now_s, int(self.now_s), {}
        )
        self.sent_s[self.n] = self.now_s
        if how == "late":
            self.late.append((record, after))
        if how in {"lost", "late"}:
            lease.silent()
            return
        revision = self.store.put(record, after)
        if how == "mute":
            lease.silent()
        elif revision is None:
            lease.refused()
        else:
            self.told(who, lease.stored(record, revision, self.now_s))

    def may_act(self, who: int) -> bool:
        """Whether a member may start attempts of the partition."""
        lease = self.leases[who]
        return lease.state.is_open and self.now_s < lease.acts_until_s

    def check(self) -> None:
        """What always holds."""
        acting = [who for who in MEMBERS if self.may_act(who)]
        assert len(acting) <= 1, f"{acting} may act at {self.now_s}"
        for who, lease in enumerate(self.leases):
            record = lease.record
            is_ours = record is not None and record.is_held and record.nonce == who + 1
            assert lease.state is not State.FOREIGN or not is_ours
            assert not lease.state.is_held or is_ours
            if is_ours:
                assert record is not None
                assert lease.acts_until_s == self.sent_s[record.n] + TIMES.act_s
        assert self.epochs == sorted(set(self.epochs)), "each opening has a later epoch"


@settings(max_examples=times(70), deadline=None)
@given(STEPS)
def test_no_two_members_may_act_for_a_partition(steps: list[tuple[str, int, object]]) -> None:
    """Nor does one believe that it has what it has not, once it knows; and when everything is
    answered again, one of them has it soon."""
    members = Members()
    for what, who, how in steps:
        members.do(what, who, how)
        members.check()
    for _ in range(12):
        for who in MEMBERS:
            members.do("turn", who, 0)
        members.do("pass", 0, 0.9)
    assert sum(lease.state is State.OWNED for lease in members.leases) == 1
