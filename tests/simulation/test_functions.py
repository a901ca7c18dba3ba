"""The function service whose machine loses its power at every write and every sync."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

from dispatcher.queue.deadletters.burial import MAX_WAITING_BYTES
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.disk import Fate, SimulatedDisk
from tests.effort import each
from tests.simulation.engine_log import Power, run
from tests.simulation.functions_application import World
from tests.simulation.functions_life import Life, live
from tests.simulation.workload import base_seed

STRIDE = each(24)


def test_calls_end_as_they_should(tmp_path: Path) -> None:
    """Without any crash: so many changes of the disk."""
    changes, world = lived(1, [None], tmp_path)
    print(changes, world.runs)
    assert changes > 100
    assert world.recalls >= 2
    assert world.lives == 2  # and one start that finds nothing


def test_nothing_is_lost_wherever_the_power_is_cut(tmp_path: Path) -> None:
    """At one write and sync of the three logs of many, with enough effort at all of them; often
    again in what follows."""
    seed = base_seed()
    random = Random(seed)
    changes, _ = lived(seed, [None], tmp_path)
    for at in range(1 + seed % STRIDE, changes + 1, STRIDE):
        cuts: list[int | None] = [at]
        while random.random() < 0.4:
            cuts.append(random.randrange(1, 40))
        lived(seed + at, cuts, tmp_path)


def test_no_run_is_made_while_dead_letters_wait_for_space(tmp_path: Path) -> None:
    """As no message is sent then; all goes on by itself."""
    random = Random(3)
    world = World(random)

    async def main(clock: SimulatedClock) -> None:
        power = Power(SimulatedDisk(seed=3), random, at=None, fate=Fate.KEPT)
        life = Life(world, power, clock, tmp_path / "signing.pem")
        await life.start()
        life.partition.dead_letters.most_waiting_bytes = -1
        going = asyncio.create_task(life.go_through())
        await asyncio.sleep(30)
        assert world.ids
        assert not world.runs
        life.partition.dead_letters.most_waiting_bytes = MAX_WAITING_BYTES
        await going
        assert world.runs
        await life.stop()
        life.check()

    run(main)


def lived(seed: int, cuts: list[int | None], keys: Path) -> tuple[int, World]:
    """Live with a power cut at each of these changes of the disk, one a life, then to the end."""
    random = Random(seed)
    world = World(random)
    disk = SimulatedDisk(seed=seed)

    async def main(clock: SimulatedClock) -> int:
        nonlocal disk
        left = list(cuts)
        while True:
            at = left.pop(0) if left else None
            fate = random.choice((Fate.LOST, Fate.KEPT, Fate.CHANCE, Fate.CHANCE))
            power = Power(disk, random, at=at, fate=fate)
            after = await live(world, power, clock, keys / "signing.pem")
            if after is None:
                return power.changes
            disk = after

    changes: int = run(main)
    return changes, world
