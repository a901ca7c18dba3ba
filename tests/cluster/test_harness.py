"""The tools of the tests of clusters find what they are there to find: on one node, whose logs are
files, and in accounts that were made up."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.cluster.ledger import Ledger, Tenure
from tests.cluster.load import Load
from tests.cluster.sink import Sink
from tests.cluster.site import PARTITIONS, delivered, site
from tests.crash.load import body_of

pytestmark = pytest.mark.crash


def account(*arrivals: tuple[str, float], partition: int = 3, gap_s: float = 0.0) -> Ledger:
    """Messages of one partition, each accepted `gap_s` before it came; by node and time."""
    ledger = Ledger()
    for node, at_s in arrivals:
        one = ledger.begin(10)
        message_id = f"{partition:04x}{len(ledger.sent):024x}"
        ledger.accept(one, message_id, at_s - gap_s)
        ledger.arrive(one.target, message_id, node, at_s, body_of(one.target, 10))
    return ledger


TENURES = (Tenure(3, "n0", 7, 0.5), Tenure(3, "n1", 9, 4.5), Tenure(3, "n0", 12, 6.5))


def test_account_of_what_went_well_is_accepted() -> None:
    """Also where a partition has moved, and soon back again: then nothing is called stale."""
    ledger = account(("n0", 1.0), ("n0", 4.6), ("n1", 5.0), ("n0", 7.0), gap_s=0.5)
    ledger.check(TENURES)
    assert ledger.longest_wait_s() == 0.5
    assert ledger.longest_wait_s(6.8) == pytest.approx(0.2)
    assert ledger.partitions("n0") == {3}


def test_delivery_of_an_old_owner_is_found() -> None:
    """A delivery that comes after the first one of the new owner is one too many."""
    ledger = account(("n0", 1.0), ("n1", 5.0), ("n0", 5.1), ("n1", 5.2))
    assert [one.at_s for one in ledger.stale(TENURES)] == [5.1]
    with pytest.raises(AssertionError, match="an owner that was no more"):
        ledger.check(TENURES)


def test_message_that_never_came_is_found() -> None:
    """A message that was answered 202 and never delivered fails the account."""
    ledger = account(("n0", 1.0))
    ledger.accept(ledger.begin(10), f"{3:04x}{99:024x}", 2.0)
    with pytest.raises(AssertionError, match="1 accepted and never delivered"):
        ledger.check()


def test_message_that_was_refused_and_came_is_found() -> None:
    """A message that was answered 503 and is delivered fails the account: 503 promises that it
    is not."""
    ledger = account(("n0", 1.0))
    (one,) = ledger.sent.values()
    one.id, one.refusal = "", "moved"
    with pytest.raises(AssertionError, match="delivered, and refused"):
        ledger.check()


def test_message_under_two_ids_is_found() -> None:
    """A message that came under two ids fails the account, as if two owners of its key had
    taken it."""
    ledger = account(("n0", 1.0))
    (one,) = ledger.sent.values()
    ledger.arrive(one.target, f"{3:04x}{77:024x}", "n1", 2.0, body_of(one.target, 10))
    with pytest.raises(AssertionError, match="came as"):
        ledger.check()
    assert ledger.duplicates() == 1


def test_time_without_delivery_is_that_of_the_message_that_waited_longest() -> None:
    """Its delay is not counted, nor what was before."""
    ledger = account(("n0", 1.0), gap_s=0.9)
    one = ledger.begin(10, delay_s=2.0)
    ledger.accept(one, f"{3:04x}{55:024x}", 3.0)
    ledger.arrive(one.target, one.id, "n0", 9.0, body_of(one.target, 10))
    assert ledger.longest_wait_s() == 4.0
    assert ledger.longest_wait_s(7.0) == 2.0
    assert ledger.longest_refusal_s(0.0, 4.0) == pytest.approx(2.9)


async def test_load_goes_on_after_a_node_was_killed(tmp_path: Path) -> None:
    """All that it was told 202 for comes to the sink, from that node, and its keys hold."""
    ledger = Ledger()
    async with (
        site(tmp_path, nodes=1, is_cluster=False) as made,
        Sink(ledger, PARTITIONS) as sink,
    ):
        await made.reached(ledger, sink.origins)
        async with Load(ledger, made.addresses, sink.origins):
            await asyncio.sleep(1)
            (node,) = made.nodes
            assert made.victim(ledger) is node
            killed_s, before = time.monotonic(), ledger.accepted
            node.kill()
            await made.whole()
            await asyncio.sleep(1)
        await delivered(ledger, made.told)
    ledger.check()
    assert ledger.accepted > before
    assert {one.node for one in ledger.arrivals} == {"n0"}
    assert ledger.longest_wait_s(killed_s) > 0
