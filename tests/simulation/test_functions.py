"""The function service whose machine loses its power at every write and every sync."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.disk import Fate, SimulatedDisk
from tests.simulation.engine_log import Power, run
from tests.simulation.functions_application import World
from tests.simulation.functions_life import live
from tests.simulation.workload import base_seed

STRIDE = int(os.environ.get("SIMULATION_STRIDE", "16"))


def test_calls_end_as_they_should(tmp_path: Path) -> None:
    """Without any crash: so many changes of the disk."""
    changes, world = lived(1, [None], tmp_path)
    print(changes, world.runs)
    assert changes > 100
    assert world.lives == 2  # and one start that finds nothing


def test_nothing_is_lost_wherever_the_power_is_cut(tmp_path: Path) -> None:
    """At every `SIMULATION_STRIDE`-th write and sync of the three logs, all of them with 1; often
    again in what follows."""
    seed = base_seed()
    random = Random(seed)
    changes, _ = lived(seed, [None], tmp_path)
    for at in range(1 + seed % STRIDE, changes + 1, STRIDE):
        cuts: list[int | None] = [at]
        while random.random() < 0.4:
            cuts.append(random.randrange(1, 40))
        lived(seed + at, cuts, tmp_path)


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
