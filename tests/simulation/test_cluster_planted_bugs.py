"""The lives of clusters are worth something: members with one mistake each do not get past them."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Mapping

import pytest

from dispatcher.cluster import lease, numbers, shares
from dispatcher.cluster.heart import Heart
from dispatcher.cluster.keeping import Keeping
from dispatcher.cluster.lease import Lease
from dispatcher.cluster.looking import Looking
from dispatcher.cluster.numbers import Take
from dispatcher.cluster.ownership import TRANSITIONS, Do, Event, State
from dispatcher.cluster.records import LeaseRecord
from dispatcher.cluster.shares import Shares
from dispatcher.cluster.times import Times
from dispatcher.cluster.writing import Writing
from dispatcher.testing.leases import Fate
from tests.simulation import test_cluster as lives
from tests.simulation.cluster_life import World, live

Plant = Callable[[pytest.MonkeyPatch], None]


def acts_from_when_it_hears(patch: pytest.MonkeyPatch) -> None:
    """A renewal counts from when its owner saw that it is stored."""
    right = Lease._latest

    def latest(self: Lease, record: LeaseRecord, now_s: float) -> Do:
        do = right(self, record, now_s)
        if self.acts_until_s > -math.inf:
            self.acts_until_s = now_s + self._times.act_s
        return do

    patch.setattr(Lease, "_latest", latest)


def acts_from_the_last_try(patch: pytest.MonkeyPatch) -> None:
    """A renewal counts from the last try, whichever was stored."""
    right = Writing.sent_at_s

    def sent_at_s(self: Writing, n: int) -> float:
        right(self, n)
        return self.sent_s

    patch.setattr(Writing, "sent_at_s", sent_at_s)


def acts_for_ever(patch: pytest.MonkeyPatch) -> None:
    """An owner acts until it hears of another one."""
    right = Lease._latest

    def latest(self: Lease, record: LeaseRecord, now_s: float) -> Do:
        do = right(self, record, now_s)
        self.acts_until_s = now_s + 3600 if self.acts_until_s > -math.inf else -math.inf
        return do

    patch.setattr(Lease, "_latest", latest)


def claims_early(patch: pytest.MonkeyPatch) -> None:
    """A lease counts as over before its owner has stopped."""
    patch.setattr(Times, "__post_init__", lambda self: object.__setattr__(self, "ttl_s", 1.7))


def counts_again_after_a_look_that_failed(patch: pytest.MonkeyPatch) -> None:
    """What nobody could look at is given its whole time again."""
    right = Looking._failed

    def failed(self: Looking, error: Exception, now_s: float) -> None:
        right(self, error, now_s)
        member = self._found.__self__  # type: ignore[attr-defined]  # a bound method
        for one in member._leases.values():
            one.seen_s = now_s

    patch.setattr(Looking, "_failed", failed)


def believes_a_leader_without_a_majority(patch: pytest.MonkeyPatch) -> None:
    """Claims what does not change, whether or not anybody could have changed it."""
    patch.setattr(Heart, "steady_s", lambda self, now_s: -math.inf)


def knows_its_renewals_by_their_counter(patch: pytest.MonkeyPatch) -> None:
    """What is not the try that was sent last is another's."""
    right = Lease._latest

    def latest(self: Lease, record: LeaseRecord, now_s: float) -> Do:
        tries = self.writing._tries
        is_late = bool(tries) and record.nonce == self._nonce and record.n != max(tries)
        return self._anothers(record, now_s) if is_late else right(self, record, now_s)

    patch.setattr(Lease, "_latest", latest)


def does_not_know_its_late_claim(patch: pytest.MonkeyPatch) -> None:
    """A claim that had no verdict is another's when it is seen."""
    right = Lease._latest

    def latest(self: Lease, record: LeaseRecord, now_s: float) -> Do:
        tries = self.writing._tries
        is_asked = self.state is State.CLAIMING and record.n == max(tries, default=0)
        is_claim = self.state in {State.FOREIGN, State.CLAIMING} and record.nonce == self._nonce
        if is_claim and not is_asked:
            return self._anothers(record, now_s)
        return right(self, record, now_s)

    patch.setattr(Lease, "_latest", latest)


def keeps_what_is_anothers(patch: pytest.MonkeyPatch) -> None:
    """Sees another's record and tells nobody."""
    table = dict(TRANSITIONS)
    table[State.OWNED, Event.ANOTHERS] = (State.FOREIGN, Do.NOTHING)
    patch.setattr(lease, "TRANSITIONS", table)


def believes_what_was_so_before(patch: pytest.MonkeyPatch) -> None:
    """Takes the answer of a leader that does not know better for news."""

    def is_new(self: Writing, revision: int) -> bool:
        is_other = revision != self.revision
        self.revision = revision
        return is_other

    patch.setattr(Writing, "is_new", is_new)


def releases_before_it_let_go(patch: pytest.MonkeyPatch) -> None:
    """Others may have it while it is still being handed over."""
    right = Keeping._hand_over

    async def hand_over(self: Keeping, partition: int) -> None:
        self._given(partition)
        await right(self, partition)

    patch.setattr(Keeping, "_hand_over", hand_over)


def releases_at_the_end(patch: pytest.MonkeyPatch) -> None:
    """Nobody may have anything before all has ended."""
    right = Keeping._hand_over

    async def hand_over(self: Keeping, partition: int) -> None:
        await asyncio.sleep(2)
        await right(self, partition)

    patch.setattr(Keeping, "_hand_over", hand_over)


def waits_for_nobody(patch: pytest.MonkeyPatch) -> None:
    """The first one takes everything."""
    patch.setattr(Shares, "_settles_s", lambda self, heard: 0.0)


def opens_under_an_old_epoch(patch: pytest.MonkeyPatch) -> None:
    """The epoch does not grow with each claim."""
    right = Lease._latest

    def latest(self: Lease, record: LeaseRecord, now_s: float) -> Do:
        do = right(self, record, now_s)
        if self.epoch > 0:
            self.epoch = 7
        return do

    patch.setattr(Lease, "_latest", latest)


def forgets_how_far_logs_reach(patch: pytest.MonkeyPatch) -> None:
    """A claim says nothing of the record that it replaces."""
    right = Lease.next_record

    def next_record(self: Lease, *args: object, **kwargs: Mapping[str, int]) -> LeaseRecord:
        before = self.record
        if self.state is State.FOREIGN:
            self.record = None
        record = right(self, *args, **kwargs)  # type: ignore[arg-type]  # as they came
        self.record = before
        return record

    patch.setattr(Lease, "next_record", next_record)


def takes_a_number_that_is_alive(patch: pytest.MonkeyPatch) -> None:
    """A name is enough to have the number that it had."""
    patch.setattr(numbers, "_again", lambda number, seen, *_: Take(number, seen.revision))


def moves_several_at_a_time(patch: pytest.MonkeyPatch) -> None:
    """Gives the next one before the last one has another owner."""
    patch.setattr(shares, "_RESTING", tuple(State))


def majority() -> None:
    """Six seconds without one."""
    lives.test_without_a_majority_nothing_is_claimed_and_all_have_what_they_had(6.0, is_kept=False)


def leaving() -> None:
    """With hints."""
    lives.test_a_node_that_leaves_hands_over_at_once(hears=True)


def fenced() -> None:
    """By mistake."""
    lives.test_a_log_that_is_lost_although_the_lease_is_not_is_opened_anew("fenced by mistake")


def stale() -> None:
    """A link on which many looks say what was so before."""

    async def main(world: World) -> None:
        nodes = await lives.three(world)
        claimed = lives.claims(world)
        for node in nodes:
            node.link.fate = lambda is_put: Fate.NONE if is_put else chance.choice(ANSWERS)
        await asyncio.sleep(60)
        assert lives.claims(world) == claimed
        assert world.is_whole()

    chance = random.Random(1)
    live(main)


ANSWERS = [Fate.NONE, Fate.STALE]

PLANTED: list[tuple[Plant, Callable[[], None]]] = [
    (
        acts_from_when_it_hears,
        lives.test_a_renewal_that_is_seen_late_gives_no_more_time_than_when_it_was_sent,
    ),
    (
        acts_from_the_last_try,
        lives.test_a_renewal_that_is_seen_late_gives_no_more_time_than_when_it_was_sent,
    ),
    (acts_for_ever, lives.test_a_node_that_is_cut_off_stops_acting_before_others_begin),
    (claims_early, lives.test_a_node_that_is_cut_off_stops_acting_before_others_begin),
    (
        counts_again_after_a_look_that_failed,
        lives.test_a_machine_that_dies_with_a_server_of_the_store_costs_its_election_and_little_more,
    ),
    (believes_a_leader_without_a_majority, majority),
    (knows_its_renewals_by_their_counter, lives.test_renewals_that_are_stored_late_are_renewals),
    (
        does_not_know_its_late_claim,
        lives.test_a_claim_that_was_thought_lost_is_ours_when_it_is_stored,
    ),
    (
        keeps_what_is_anothers,
        lives.test_a_node_that_hangs_loses_its_partitions_and_knows_it_when_it_wakes,
    ),
    (believes_what_was_so_before, stale),
    (releases_before_it_let_go, leaving),
    (releases_at_the_end, leaving),
    (waits_for_nobody, lives.test_nodes_that_start_together_share_the_partitions),
    (opens_under_an_old_epoch, fenced),
    (
        forgets_how_far_logs_reach,
        lives.test_how_far_a_log_reaches_is_in_its_lease_also_after_a_takeover,
    ),
    (takes_a_number_that_is_alive, lives.test_a_second_node_of_one_name_refuses_to_start),
    (
        moves_several_at_a_time,
        lives.test_a_node_that_joins_is_given_its_share_one_partition_at_a_time,
    ),
]


@pytest.mark.parametrize(("plant", "life"), PLANTED, ids=[one.__name__ for one, _ in PLANTED])
def test_a_member_with_a_mistake_is_caught(
    plant: Plant, life: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the life that is named beside it."""
    plant(monkeypatch)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        life()


def test_looks_that_say_what_was_so_before_change_nothing() -> None:
    """The other side of `believes_what_was_so_before`."""
    stale()
