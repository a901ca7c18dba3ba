"""Groups on the file engine, with the power cut at every write: all messages of one, or none."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from random import Random

from dispatcher.core.message import Message
from dispatcher.errors import Refusal
from dispatcher.queue.partition import Partition, PartitionConfig
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.disk import Fate, SimulatedDisk
from dispatcher.testing.queue import POLICY, HeldDeliverer, Notes, destination, message
from tests.effort import each
from tests.simulation.engine_log import EngineLog, Power, run
from tests.simulation.workload import base_seed

MEMBERS = 4


class _Receipt:
    def __init__(self) -> None:
        self.is_accepted = False

    def accepted_all(self, messages: Sequence[Message]) -> None:
        self.is_accepted = True

    def duplicate_all(self, message_ids: Sequence[bytes]) -> None:
        raise AssertionError(message_ids)

    def duplicate(self, message_id: bytes) -> None:
        raise AssertionError(message_id)

    def refused(self, refusal: Refusal) -> None:
        raise AssertionError(refusal)

    def accepted(self, message: Message) -> None:
        pass


def queue_on(clock: SimulatedClock, power: Power, random: Random, start: int) -> Partition:
    return Partition(
        EngineLog(Path("/a/log"), power, random),
        EngineLog(Path("/b/log"), power, random),
        PartitionConfig(POLICY, workers=64),
        Notes(),
        clock=clock,
        random=random,
        incarnation=start,
    )


def group(name: str, body: bytes) -> list[Message]:
    return [message(destination(f"h{n}"), body, name=name) for n in range(MEMBERS)]


async def live(queue: Partition, power: Power) -> dict[str, _Receipt]:
    """Accept groups of every sort, until all are answered or the power is cut."""
    receipts = {name: _Receipt() for name in ("small", "spread", "large", "last")}
    queue.intake.accept_all(group("small", b"s"), receipts["small"])
    queue.intake.accept_all(group("spread", bytes(CHUNK_BYTES)), receipts["spread"])
    large = group("large", b"")
    upload = queue.intake.start_uploads(lambda: None, copies=MEMBERS, head_bytes=500)
    for _ in range(2):
        upload.write(bytes(CHUNK_BYTES))
        queue.intake.accept(message(name="between"), _Receipt())
        await asyncio.sleep(0.05)
    for one in large:
        one.body_size = 2 * CHUNK_BYTES
    queue.intake.accept_all(large, receipts["large"], upload)
    queue.intake.accept_all(group("last", b"l" * 1000), receipts["last"])
    for _ in range(100):
        if power.is_cut.is_set() or all(one.is_accepted for one in receipts.values()):
            break
        await asyncio.sleep(0.05)
    return receipts


def test_power_cut_at_every_write_leaves_all_messages_of_a_group_or_none() -> None:
    """Those that were answered are there, each with its whole body, whatever became of the sectors
    that were not synced."""
    seed = base_seed()
    seen = {0: 0, MEMBERS: 0}

    def one_life(at: int | None, fate: Fate) -> int:
        async def main(clock: SimulatedClock) -> int:
            random = Random(seed + (at or 0))
            power = Power(SimulatedDisk(seed=seed), random, at=at, fate=fate)
            queue = queue_on(clock, power, random, 1)
            await asyncio.wait(
                [
                    asyncio.ensure_future(queue.open("test", 1)),
                    asyncio.ensure_future(power.is_cut.wait()),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
            if power.after is None:
                queue.start(HeldDeliverer())
                receipts = await live(queue, power)
            else:
                receipts = {}
            queue.close_intake()
            queue.stop_timers()
            if power.after is not None:
                await check(clock, power.after, random, receipts)
            return power.changes

        return int(run(main))

    async def check(
        clock: SimulatedClock,
        disk: SimulatedDisk,
        random: Random,
        receipts: dict[str, _Receipt],
    ) -> None:
        queue = queue_on(clock, Power(disk, random), random, 2)
        recovered = await queue.open("again", 2)
        assert not recovered.lost
        deliverer = HeldDeliverer()
        queue.start(deliverer)
        while queue.pending.index.count:
            await asyncio.sleep(1)
            for sent in list(deliverer.flying):
                pieces = await queue.settling.read_body(list(sent.chunks or ()))
                assert sum(map(len, pieces)) + len(sent.body) == sent.body_size
                deliverer.flying.remove(sent)
                queue.settling.delivered(sent, 200)
        targets = [target for target, _ in deliverer.started]
        for name, receipt in receipts.items():
            there = targets.count(f"/{name}")
            assert there in seen, f"{there} messages of {name}"
            assert there or not receipt.is_accepted, f"{name} was lost"
            seen[there] += 1
        queue.close_intake()
        queue.stop_timers()

    changes = one_life(None, Fate.CHANCE)
    stride = each(3)
    for at in range(1 + base_seed() % stride, changes + 1, stride):
        for fate in (Fate.LOST, Fate.KEPT, Fate.CHANCE):
            one_life(at, fate)
    print(f"{changes} changes, {seen}")
    assert min(seen.values()) > 5
