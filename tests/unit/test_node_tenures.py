"""How long a process may act for a partition, and what it waits for first."""

from __future__ import annotations

import asyncio
import gc

from dispatcher.node.tenures import Tenures
from dispatcher.queue.partition import Partition
from dispatcher.testing.queue import Bench, message, simulate

_LONG_S = 1e12
_PAST_S = 1.0


def _acts(partition: Partition) -> bool:
    return partition.tenure.holds()


def test_partition_acts_when_its_holds_are_known_and_as_long_as_it_is_this_processs() -> None:
    """Whichever is said first; what waited in it is sent then. Without another word it is this
    process's for good."""

    async def test(bench: Bench) -> None:
        tenures, part = Tenures(), bench.queue
        tenures.wait_for_holds(part)
        bench.accept(message())
        await asyncio.sleep(0.1)
        assert not bench.deliverer.flying
        tenures.may_act_until(part, _LONG_S)
        assert not _acts(part)
        tenures.holds_are_known([part])
        assert _acts(part)
        await asyncio.sleep(0.1)
        assert len(bench.deliverer.flying) == 1
        tenures.may_act_until(part, _PAST_S)
        assert not _acts(part)
        tenures.holds_are_known()
        assert not _acts(part)

    simulate(test)


def test_partition_whose_lease_is_over_does_not_act_when_its_holds_are_known() -> None:
    """It ends with the last instant that was said."""

    async def test(bench: Bench) -> None:
        tenures, part = Tenures(), bench.queue
        tenures.wait_for_holds(part)
        tenures.may_act_until(part, _PAST_S)
        tenures.holds_are_known()
        assert not _acts(part)
        tenures.may_act_until(part, _LONG_S)
        assert _acts(part)

    simulate(test)


def test_holds_are_known_for_those_that_were_told() -> None:
    """One that came meanwhile waits on."""

    async def test(bench: Bench) -> None:
        tenures, part = Tenures(), bench.queue
        tenures.wait_for_holds(part)
        tenures.holds_are_known([])
        assert not _acts(part)
        tenures.holds_are_known()
        assert _acts(part)

    simulate(test)


def test_partition_that_is_forgotten_is_not_kept() -> None:
    """Nothing refers to it."""

    async def test(bench: Bench) -> None:
        tenures, part = Tenures(), bench.queue
        tenures.wait_for_holds(part)
        tenures.may_act_until(part, _LONG_S)
        tenures.forget(part)
        tenures.forget(part)
        assert not any(part in gc.get_referents(held) for held in vars(tenures).values())

    simulate(test)
