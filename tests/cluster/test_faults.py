"""What befalls a cluster under load, one fault after the other: everything that was answered 202 is
delivered, nothing that was refused is, no owner delivers after the next one has begun, and no
partition stands still for longer than is promised.

All tests have one cluster, so each begins with what the one before it has left behind. Some are
left to runs that may take long, with `CHAOS_MINUTES`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import pytest

from dispatcher.cluster.nats_store import BUCKET
from dispatcher.txlog.nats.client import connect
from tests.cluster.ledger import Ledger
from tests.cluster.load import Load
from tests.cluster.long_runs import in_long_runs
from tests.cluster.promises import MACHINE_S, NATS_S, PROCESS_S
from tests.cluster.sink import Sink
from tests.cluster.site import PARTITIONS, Node, Site, delivered, until
from tests.cluster.waiting import PATIENCE_S

pytestmark = [pytest.mark.crash, pytest.mark.asyncio(loop_scope="module")]

_BEFORE_S: Final = 1.5


@dataclass(slots=True)
class Fault:
    """What a test does while callers are at work. `began_s` is when."""

    began_s: float = 0.0


@asynccontextmanager
async def under_load(
    made: Site, ledger: Ledger, origins: Sequence[str], *, still_s: float
) -> AsyncIterator[Fault]:
    """Have callers at work, before the fault and for some time after it; then look at the account.

    `still_s` bounds how long any message waited that could have been delivered, on a machine whose
    processors are not wanted by more than there are.
    """
    fault = Fault()
    async with Load(ledger, made.addresses, origins):
        await asyncio.sleep(_BEFORE_S)
        fault.began_s = time.monotonic()
        yield fault
        await reaches(made, ledger, after_s=time.monotonic())
    await delivered(ledger, made.told)
    waited_s, busy = ledger.longest_wait_s(fault.began_s), _times_busy()
    print(f"{waited_s:.1f} s ({busy:.1f} times busy); {ledger.shown()}")
    ledger.check(made.tenures())
    assert waited_s < still_s * busy, made.told()


def _times_busy() -> float:
    """How many want each processor, of late; 1 where there are enough."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


async def reaches(made: Site, ledger: Ledger, *, after_s: float) -> None:
    """Wait until a message of each partition has come that was accepted after that time."""

    async def come() -> bool:
        later = {
            one.partition
            for one in ledger.arrivals
            if (sent := ledger.sent[one.target]).accepted_s > after_s and sent.is_keyed
        }
        return len(later) == PARTITIONS

    await until(come, "messages of each partition come", made.told)


async def others_have(made: Site, ledger: Ledger, lost: Node) -> None:
    """Wait until all partitions of a node have been delivered of by others."""
    mine = ledger.partitions(lost.name)

    async def have() -> bool:
        return not ledger.partitions(lost.name) & mine

    await until(have, f"others have the partitions of {lost.name}", made.told)


async def test_node_that_is_killed_loses_its_partitions_to_the_others(
    made: Site, ledger: Ledger, sink: Sink
) -> None:
    """Its partitions go on elsewhere within six seconds, and the messages in them with them."""
    async with under_load(made, ledger, sink.origins, still_s=PROCESS_S):
        victim = made.victim(ledger)
        victim.kill()
        await others_have(made, ledger, victim)


async def test_node_that_stands_still_loses_its_partitions_and_does_not_deliver_when_it_wakes(
    made: Site, ledger: Ledger, sink: Sink
) -> None:
    """Its partitions go on elsewhere within six seconds; when it wakes it learns that before it
    starts an attempt."""
    async with under_load(made, ledger, sink.origins, still_s=PROCESS_S):
        victim = made.victim(ledger)
        victim.stand_still()
        await others_have(made, ledger, victim)
        victim.stand_still(is_still=False)
        await asyncio.sleep(1)


@in_long_runs
async def test_nats_server_that_leads_is_killed_and_nobody_loses_a_partition_for_long(
    made: Site, ledger: Ledger, sink: Sink
) -> None:
    """The two servers that are left elect another leader: no partition stands still for longer
    than ten seconds."""
    async with under_load(made, ledger, sink.origins, still_s=NATS_S):
        made.leader().stop()


@in_long_runs
async def test_nats_server_that_leads_stands_still(made: Site, ledger: Ledger, sink: Sink) -> None:
    """Its connections stay open and nothing is answered on them; still no partition stands
    still for longer than ten seconds."""
    async with under_load(made, ledger, sink.origins, still_s=NATS_S):
        leader = made.leader()
        leader.hang(hangs=True)
        await reaches(made, ledger, after_s=time.monotonic() + 1)
        leader.hang(hangs=False)


async def test_machine_that_is_lost_takes_its_node_and_its_nats_server_with_it(
    made: Site, ledger: Ledger, sink: Sink
) -> None:
    """Its partitions go on elsewhere within twelve seconds: streams elect other leaders first,
    and then partitions get other owners."""
    async with under_load(made, ledger, sink.origins, still_s=MACHINE_S):
        victim = made.victim(ledger)
        made.kill_machine(victim)
        await others_have(made, ledger, victim)


@in_long_runs
async def test_no_quorum_stops_everything_and_owners_go_on_after_it(
    made: Site, ledger: Ledger, sink: Sink
) -> None:
    """For four seconds nothing is accepted and nothing is sent, callers are told 503, and then all
    is as it was: nobody has taken a partition from anybody."""
    async with under_load(made, ledger, sink.origins, still_s=PROCESS_S + 4):
        assert made.nats is not None
        taken = made.takeovers()
        for one in made.nats.servers[:2]:
            one.hang(hangs=True)
        await asyncio.sleep(3)
        stopped_s = time.monotonic()
        await asyncio.sleep(1)
        assert not [one for one in ledger.arrivals if one.at_s > stopped_s]
        for one in made.nats.servers[:2]:
            one.hang(hangs=False)
        await reaches(made, ledger, after_s=time.monotonic())
        assert made.takeovers() == taken


@in_long_runs
async def test_node_that_is_stopped_hands_its_partitions_over_and_comes_back(
    made: Site, ledger: Ledger, sink: Sink
) -> None:
    """The others go on with them at once, as in an upgrade."""
    async with under_load(made, ledger, sink.origins, still_s=PROCESS_S):
        node = made.victim(ledger)
        assert await node.stop() == 0
        await others_have(made, ledger, node)
        node.start()
        await node.ready()


@in_long_runs
async def test_full_disk_of_one_nats_server_leaves_the_others(
    made: Site, ledger: Ledger, sink: Sink
) -> None:
    """The others go on without it within ten seconds; with space again, and started again, it
    gets what it missed."""
    if made.disk is None:
        pytest.skip("no disk can be mounted here")
    assert made.nats is not None
    async with under_load(made, ledger, sink.origins, still_s=NATS_S):
        made.fill_disk(is_full=True)
        await reaches(made, ledger, after_s=time.monotonic() + 1)
        made.fill_disk(is_full=False)
        made.nats.servers[-1].stop()
        await made.whole()


@in_long_runs
async def test_power_fails_everywhere_and_nothing_is_lost(
    made: Site, ledger: Ledger, sink: Sink
) -> None:
    """What was answered 202 before all NATS servers and all nodes were killed at once is
    delivered once they are started again."""
    async with Load(ledger, made.addresses, sink.origins):
        await asyncio.sleep(_BEFORE_S)
        await asyncio.to_thread(made.kill_all)
    await made.whole()
    await made.reached(ledger, sink.origins)
    ledger.check(made.tenures())


@in_long_runs
async def test_bucket_is_lost_and_nodes_that_start_again_go_on(
    made: Site, ledger: Ledger, sink: Sink
) -> None:
    """Who had what is forgotten; what is in the logs is not."""
    assert made.nats is not None
    async with Load(ledger, made.addresses, sink.origins):
        await asyncio.sleep(_BEFORE_S)
        link = await connect(made.nats.urls, timeout_s=PATIENCE_S)
        await link.request(f"$JS.API.STREAM.DELETE.{BUCKET}", timeout_s=PATIENCE_S)
        await link.close()
        for node in made.nodes:
            await node.stop()
    await made.whole()
    await made.reached(ledger, sink.origins)
    ledger.check(made.tenures())
