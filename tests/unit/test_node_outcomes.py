"""What became of a schedule's message is told by the process in which it lies."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.core.message import Message
from dispatcher.errors import Refused
from dispatcher.node.outcomes import Outcomes, telling
from dispatcher.peers.kinds import Kind
from dispatcher.queue.admin.surface import Cancelled
from dispatcher.schedules.messages import MessageOutcome
from dispatcher.schedules.partition import PartitionQueue
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run
from dispatcher.testing.peered import keyed, peered, place_in
from dispatcher.testing.queue import Bench, failed
from tests.unit.test_queue_admin import accepted


def test_outcome_in_another_process_is_told_when_it_is_asked_for_again() -> None:
    """A message waits until it is known to have ended, also while the other process is away; one of
    which nothing is left is none."""

    async def main(clock: SimulatedClock) -> None:
        async with peered(clock) as (zero, one, network):
            here = PartitionQueue([one.bench.queue], one.bench.queue.intake)
            one.linked.table.on_ask(Kind.OUTCOME, telling(here.outcome_here))
            assert zero.router.elsewhere is not None
            outcomes = Outcomes(zero.router.elsewhere.peer_of)
            planned = PartitionQueue(
                [zero.bench.queue], zero.bench.queue.intake, elsewhere=outcomes
            )
            receipts = [
                zero.accept(keyed(place_in(1, number), str(number), idempotency_key="a@1"))
                for number in range(2)
            ]
            await asyncio.sleep(0.1)
            ids = []
            for receipt in receipts:
                assert isinstance(receipt.answer, Message)
                ids.append(receipt.answer.wire_id.decode())

            async def told(message_id: str) -> MessageOutcome | None:
                planned.outcome(message_id)
                await asyncio.sleep(0.1)
                return planned.outcome(message_id)

            assert [await told(one) for one in ids] == [MessageOutcome.WAITING] * 2
            network.is_down = True
            network.cut()
            delivered, died = sorted(one.flying, key=lambda sent: sent.wire_id)
            one.bench.end(delivered)
            one.bench.end(died, failed(404))
            await asyncio.sleep(1)
            assert [await told(one) for one in ids] == [MessageOutcome.WAITING] * 2
            network.is_down = False
            await one.linked.links.to(0).connected(5)
            await asyncio.sleep(0.1)
            assert await told(ids[0]) is MessageOutcome.DELIVERED
            assert await told(ids[1]) is MessageOutcome.DEAD
            assert await told("0001" + "0" * 24) is None
            assert await told("0002" + "0" * 24) is MessageOutcome.WAITING  # nobody has that
            assert planned.outcome("0000" + "0" * 24) is None

    run(main)


def test_what_was_delivered_before_a_partition_came_here_is_not_taken_for_cancelled() -> None:
    """Of what was accepted since, nothing is left only when somebody has cancelled it."""

    async def main(clock: SimulatedClock) -> None:
        bench = await Bench(clock, workers=1).start()
        before = PartitionQueue([bench.queue], bench.queue.intake)
        delivered = await accepted(bench)
        cancelled = await accepted(bench)
        assert await bench.queue.admin.cancel(cancelled) is Cancelled.DONE
        bench.end(bench.deliverer.flying[0])
        await asyncio.sleep(1)
        assert before.outcome(delivered) is MessageOutcome.DELIVERED
        assert before.outcome(cancelled) is MessageOutcome.CANCELLED
        await bench.stop()
        await bench.start()
        again = PartitionQueue([bench.queue], bench.queue.intake)
        assert again.outcome(delivered) is None
        late = await accepted(bench)
        later = await accepted(bench)
        assert again.outcome(late) is MessageOutcome.WAITING
        assert await bench.queue.admin.cancel(later) is Cancelled.DONE
        assert again.outcome(later) is MessageOutcome.CANCELLED
        with pytest.raises(Refused):
            again.outcome_here("0001" + "0" * 24)
        await bench.stop()

    run(main)
