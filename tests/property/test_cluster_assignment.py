"""Who gets what: everybody's share, whatever happened before."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.cluster.assignment import next_move, turns
from tests.effort import times

PARTITIONS = st.integers(1, 40)
MEMBERS = st.sets(st.integers(0, 250), min_size=1, max_size=9)


@given(PARTITIONS, MEMBERS)
def test_what_nobody_has_is_shared_equally(partitions: int, members: set[int]) -> None:
    """Each has its share, or one more."""
    found = turns(dict.fromkeys(range(partitions)), members)
    loads = Counter(who[0] for who in found.values())
    share = partitions // len(members)
    assert all(share <= loads[member] <= share + 1 for member in members)
    assert all(sorted(who) == sorted(members) for who in found.values())


@given(PARTITIONS, MEMBERS, st.data())
def test_who_claims_its_turn_changes_nobody_elses(
    partitions: int, members: set[int], data: st.DataObject
) -> None:
    """In whatever order they come: all of them see the same, before and after."""
    owners: dict[int, int | None] = dict.fromkeys(range(partitions))
    loads: Counter[int] = Counter()
    for one in data.draw(st.permutations(range(partitions))):
        owners[one] = turns(owners, members)[one][0]
        loads[owners[one]] += 1  # type: ignore[index]  # just set
    share = partitions // len(members)
    assert all(share <= loads[member] <= share + 1 for member in members)


@given(PARTITIONS, MEMBERS, st.data())
def test_what_a_dead_member_had_goes_to_those_who_have_least(
    partitions: int, members: set[int], data: st.DataObject
) -> None:
    """Nothing of the others is touched; nobody gets more than the share while another has less."""
    owners: dict[int, int | None] = {
        one: data.draw(st.sampled_from([*sorted(members), None])) for one in range(partitions)
    }
    found = turns(owners, members)
    assert sorted(found) == [one for one, owner in owners.items() if owner is None]
    loads = Counter(dict.fromkeys(members, 0))
    loads.update(owner for owner in owners.values() if owner is not None)
    before = dict(loads)
    loads.update(who[0] for who in found.values())
    gained = {member for member in members if loads[member] > before[member]}
    share = partitions // len(members)
    if any(loads[member] < share for member in members):
        assert all(loads[member] <= share for member in gained)


def test_nobody_claims_where_nobody_is_there() -> None:
    """And nothing is claimed that has an owner."""
    assert turns({0: None, 1: 7}, []) == {0: (), 1: ()}
    assert turns({0: 3}, [3]) == {}


@settings(max_examples=times(20))
@given(st.integers(1, 24), st.integers(1, 6), st.integers(0, 2), st.data())
def test_moves_end_with_everybodys_share_and_move_no_more_than_needed(
    partitions: int, members: int, away: int, data: st.DataObject
) -> None:
    """One at a time, until nobody has two more than another; the desk only where nothing else can
    be moved."""
    settled = range(members)
    all_of_them = range(members + away)  # the others have just joined
    owners = {one: data.draw(st.sampled_from(all_of_them)) for one in range(partitions)}
    share, more = divmod(partitions, members)
    before = Counter(owners.values())
    moved = 0
    while (move := next_move(owners, list(owners), settled)) is not None:
        assert owners[move.partition] == move.giver
        assert move.taker in settled
        assert move.partition != 0 or sum(who == move.giver for who in owners.values()) == 1
        owners[move.partition] = move.taker
        moved += 1
        assert moved <= partitions
    loads = Counter(dict.fromkeys(settled, 0))
    loads.update(owners.values())
    assert max(loads.values()) - min(loads[member] for member in settled) <= 1
    assert moved == sum(max(0, before[who] - loads[who]) for who in before), "none there and back"
    if not away:
        assert sorted(loads.values()) == sorted([share + 1] * more + [share] * (members - more))


def test_what_cannot_be_moved_stays() -> None:
    """As one that failed."""
    owners = {0: 0, 1: 0, 2: 0, 3: 1}
    assert next_move(owners, [], [0, 1]) is None
    move = next_move(owners, [1], [0, 1])
    assert move is not None
    assert move.partition == 1


def test_weights_alone_would_not_do() -> None:
    """Where the share is what one of many members would not have."""
    found = turns(dict.fromkeys(range(16)), range(6))
    assert sorted(Counter(who[0] for who in found.values()).values()) == [2, 2, 3, 3, 3, 3]
