"""Which number a member takes, what it sees of the others, and what it says of itself."""

from __future__ import annotations

import pytest

from dispatcher.cluster.heart import Heart
from dispatcher.cluster.hints import is_worth_a_look
from dispatcher.cluster.lease import Lease, Me
from dispatcher.cluster.numbers import NodeTaken, Take, number_for
from dispatcher.cluster.records import (
    MOST_MEMBERS,
    LeaseRecord,
    MemberRecord,
    MemberState,
    Phase,
    member_key,
)
from dispatcher.cluster.sight import Sight
from dispatcher.cluster.store import Entry
from dispatcher.cluster.times import Times

TIMES = Times()
LIVE, LEFT = MemberState.LIVE, MemberState.LEFT


def said(node: str, revision: int, state: MemberState = LIVE, nonce: int = 1) -> Entry:
    """A record of a member."""
    return Entry(revision, MemberRecord(node, f"{node}:1", nonce, revision, state).encode())


def sight_of(*entries: Entry, now_s: float = 0.0) -> Sight:
    """What is seen when these have the numbers from 0 on."""
    sight = Sight(TIMES.ttl_s)
    sight.looked({member_key(number): entry for number, entry in enumerate(entries)}, now_s)
    return sight


def test_the_first_number_that_nobody_had_is_taken() -> None:
    """In place of no record."""
    assert number_for("a", sight_of(), 0, TIMES) == Take(0, 0)
    assert number_for("c", sight_of(said("a", 5), said("b", 6)), 0, TIMES) == Take(2, 0)


def test_the_number_of_one_that_left_is_taken_before_a_new_one() -> None:
    """The lowest."""
    sight = sight_of(said("a", 5), said("b", 6, LEFT), said("c", 7, LEFT))
    assert number_for("d", sight, 0, TIMES) == Take(1, 6)
    assert number_for("c", sight, 0, TIMES) == Take(2, 7), "its own one is better"


def test_a_node_that_died_has_its_number_again_once_that_is_certain() -> None:
    """When it was not heard of for as long as a lease lasts."""
    sight = sight_of(said("a", 5))
    assert number_for("a", sight, 2.9, TIMES) is None
    assert number_for("a", sight, 3.0, TIMES) == Take(0, 5)


def test_a_last_word_that_comes_late_is_no_life() -> None:
    """It was on its way when its node died."""
    sight = sight_of(said("a", 5))
    sight.saw(0, said("a", 6), 1.0)
    assert number_for("a", sight, 3.9, TIMES) is None
    assert number_for("a", sight, 4.0, TIMES) == Take(0, 6)


def test_the_name_of_a_node_that_lives_is_refused() -> None:
    """As soon as it was heard of twice; one that is leaving is waited for."""
    sight = sight_of(said("a", 5), said("b", 6, MemberState.LEAVING, 2))
    for revision in (7, 8):
        sight.saw(0, said("a", revision), revision / 4)
        sight.saw(1, said("b", revision + 10, MemberState.LEAVING, 2), revision / 4)
    with pytest.raises(NodeTaken, match="a:1"):
        number_for("a", sight, 2.1, TIMES)
    assert number_for("b", sight, 2.1, TIMES) is None


def test_where_all_numbers_are_taken_the_longest_silence_gives_its_own() -> None:
    """After ten seconds of it."""
    sight = Sight(TIMES.ttl_s)
    for number in range(MOST_MEMBERS):
        sight.saw(number, said(f"node {number}", number + 1), 0.0)
    assert sight.first_free == MOST_MEMBERS
    assert len(sight.keys()) == MOST_MEMBERS
    for number in range(MOST_MEMBERS):
        if number != 77:
            sight.saw(number, said(f"node {number}", number + 1000), 9.0)
    assert number_for("new", sight, 9.9, TIMES) is None
    assert number_for("new", sight, 10.0, TIMES) == Take(77, 78)


def test_members_that_were_not_known_are_looked_for_until_there_are_none() -> None:
    """One key beyond those that are known is enough: numbers have no gaps."""
    store = {member_key(number): said(f"node {number}", number + 1) for number in range(3)}
    sight = Sight(TIMES.ttl_s)
    looks = 1
    while not sight.looked({one: store[one] for one in {*sight.keys()} & {*store}}, 0.0):
        looks += 1
    assert looks == 4
    assert sight.keys() == ["m.0", "m.1", "m.2", "m.3"]


def test_who_was_not_heard_of_for_a_while_is_there_anew() -> None:
    """It has to stay before it is given anything."""
    sight = sight_of(said("a", 5))
    sight.saw(0, said("a", 6), 2.0)
    assert sight.members[0].since_s == 0.0
    assert [*sight.heard(4.9)] == [0]
    assert not sight.heard(5.0)
    sight.saw(0, said("a", 7), 9.0)
    assert sight.members[0].since_s == 9.0
    sight.saw(0, said("a", 8, nonce=2), 10.0)
    assert sight.members[0].since_s == 10.0
    sight.saw(0, said("a", 4), 11.0)
    assert sight.members[0].revision == 8, "what was so before is no news"


def test_a_record_that_cannot_be_read_is_nobody() -> None:
    """Its number is not taken either: a later version may have written it."""
    sight = sight_of(Entry(1, b"{}"), said("b", 2))
    assert [*sight.heard(0.0)] == [1]
    assert number_for("c", sight, 0.0, TIMES) == Take(2, 0)


# The heart.


def beat(heart: Heart, n: int, now_s: float) -> None:
    """Stored at once."""
    record = heart.next_record(n, now_s)
    heart.stored(record, heart.writing.revision + 1, now_s)


def test_the_store_is_there_once_the_own_record_was_stored_for_a_while() -> None:
    """And no longer than it is."""
    heart = Heart(Me(0, "a", 1), "a:1", 0, TIMES)
    beat(heart, 1, 10.0)
    assert heart.steady_s(10.1) is None
    beat(heart, 2, 11.0)
    assert heart.steady_s(11.1) == 10.0
    assert heart.steady_s(12.5) == 10.0
    assert heart.steady_s(12.6) is None
    beat(heart, 3, 14.0)
    assert heart.steady_s(14.1) is None, "anew"
    beat(heart, 4, 15.0)
    assert heart.steady_s(15.1) == 14.0


def test_a_number_that_is_anothers_is_not_taken_back() -> None:
    """Two would take it from each other again and again."""
    heart = Heart(Me(0, "a", 1), "a:1", 0, TIMES)
    beat(heart, 1, 10.0)
    heart.looked(said("b", 7, nonce=2), 11.0)
    assert heart.is_taken
    assert heart.taken_by == "b"
    assert not heart.wants(100.0)


def test_a_beat_that_was_thought_lost_is_ones_own() -> None:
    """By its nonce."""
    heart = Heart(Me(0, "a", 1), "a:1", 0, TIMES)
    record = heart.next_record(1, 10.0)
    heart.writing.silent()
    assert not heart.wants(10.1)
    assert heart.wants(10.3)
    heart.looked(Entry(3, record.encode()), 10.5)
    assert not heart.is_taken
    assert heart.said is MemberState.JOINING
    assert heart.joined_s == 10.5


# Hints.


def test_renewals_are_not_worth_a_look_and_news_are() -> None:
    """What one stores oneself is no news, nor is what is not understood."""
    lease = Lease(1, TIMES)
    held = LeaseRecord(2, "b", 2, 5, Phase.OPEN, 4)
    lease.looked(Entry(5, held.encode()), 0.0)
    sight = sight_of(said("a", 5), said("b", 6, nonce=2))

    def is_worth(key: str, value: bytes) -> bool:
        return is_worth_a_look(key, value, {3: lease}, sight, nonce=1)

    assert not is_worth("p.3", LeaseRecord(2, "b", 2, 6, Phase.OPEN, 4).encode())
    assert is_worth("p.3", LeaseRecord(2, "b", 2, 6, Phase.RELEASED).encode())
    assert is_worth("p.3", LeaseRecord(3, "c", 3, 6, Phase.OPENING).encode())
    assert not is_worth("p.3", LeaseRecord(1, "a", 1, 6, Phase.OPENING).encode())
    assert not is_worth("p.4", LeaseRecord(3, "c", 3, 6, Phase.OPENING).encode())
    assert not is_worth("m.1", said("b", 9, nonce=2).value)
    assert is_worth("m.1", said("b", 9, MemberState.LEAVING, 2).value)
    assert is_worth("m.2", said("c", 9, nonce=3).value)
    for key, value in (("p.3", b""), ("p.x", b"{}"), ("cluster", b"{}"), ("q.3", b"{}")):
        assert not is_worth(key, value)


def test_times_that_would_let_two_act_are_refused() -> None:
    """An owner has to stop before another one may begin."""
    with pytest.raises(ValueError, match="renew_s < act_s < ttl_s"):
        Times(act_s=3.0)
