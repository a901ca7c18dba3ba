"""Which partition takes a message when several may know its keys. Pure."""

from __future__ import annotations

from dispatcher.core.flow import Flow
from dispatcher.core.meeting import Key, KeyKind, candidates, decide, keys_of, keys_of_all
from dispatcher.core.placing import partition_of
from dispatcher.core.terms import Terms

PLACE = b"https://example.com"
IDEMPOTENCY = Key(KeyKind.IDEMPOTENCY, PLACE, "i")
ORDER = Key(KeyKind.ORDER, PLACE, "o")
FLOW = Key(KeyKind.FLOW, PLACE, "f")


def test_keys_of_a_message_come_in_the_order_in_which_they_decide() -> None:
    """First the one that says whether it is stored at all."""
    terms = Terms(order_key="o", flow_key="f", flow=Flow(), idempotency_key="i", label="l")
    assert keys_of(PLACE, terms) == [IDEMPOTENCY, ORDER, FLOW]
    assert keys_of(PLACE, Terms(label="l")) == []


def test_key_belongs_to_the_place_that_its_message_had_first() -> None:
    """The order is that of where it goes now."""
    terms = Terms(order_key="o", idempotency_key="i", key_place="http://first")
    assert keys_of(PLACE, terms) == [Key(KeyKind.IDEMPOTENCY, b"http://first", "i"), ORDER]


def test_what_was_imported_is_known_by_the_id_that_it_had() -> None:
    """And by its print, as where it is stored; the caller's own key does not decide."""
    terms = Terms(idempotency_key="i", copy_of="00aa", request_print=255)
    assert keys_of(PLACE, terms) == [Key(KeyKind.COPY, PLACE, "00aa ff")]


def test_keys_of_a_group_are_its_own_and_the_lines_of_each_member() -> None:
    """Two members at one destination have one line."""
    terms = Terms(order_key="o", idempotency_key="i", key_place="group:all/0")
    assert keys_of_all(b"group:all", [PLACE, b"http://b", PLACE], terms) == [
        Key(KeyKind.GROUP, b"group:all", "i"),
        ORDER,
        Key(KeyKind.ORDER, b"http://b", "o"),
    ]
    assert keys_of_all(b"group:all", [PLACE], None) == ()


def test_candidates_are_the_partitions_of_all_spreads_the_latest_first() -> None:
    """Each once."""
    numbers = [partition_of(PLACE, spread) for spread in (4, 3, 1, 2)]
    assert candidates(PLACE, 4, [3, 1, 2]) == list(dict.fromkeys(numbers))
    assert candidates(PLACE, 1, []) == [0]


def test_message_that_nobody_knows_goes_to_the_latest() -> None:
    """Its place's partition by the spread in force."""
    assert decide([ORDER], [(2, 0), (0, 0)]) == (2, None)


def test_what_decides_first_is_looked_for_everywhere() -> None:
    """A duplicate is found wherever it is, and an order is kept before a flow is."""
    keys = [IDEMPOTENCY, ORDER, FLOW]
    assert decide(keys, [(2, 0b100), (1, 0b010), (0, 0b001)]) == (0, IDEMPOTENCY)
    assert decide(keys, [(2, 0b100), (1, 0b010), (0, 0)]) == (1, ORDER)


def test_of_those_that_know_a_key_the_latest_takes_the_message() -> None:
    """Those before it are there."""
    assert decide([ORDER], [(2, 1), (0, 1)]) == (2, ORDER)
