"""Records activations of random programs: `python tests/golden/sdk_life.py FILE`.

A new version of the states' format gets a file of its own; older ones stay, and are still replayed.
What a kind of program does is part of the record: one that does something else is a new kind.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from dispatcher.testing.programs import corpus, strategies
from dispatcher.testing.programs.comparing import compare
from dispatcher.testing.programs.node import Node
from dispatcher.testing.programs.plan import Plan
from dispatcher.testing.programs.server import Life

PROGRAMS = 90
_LEAST_ACTIVATIONS = 4


def lives() -> list[Life]:
    """Programs that are suspended more than once, each another one."""
    found: dict[Node, Life] = {}

    @seed(20261130)
    @settings(
        max_examples=400,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategies.programs(), strategies.plans())
    def play(program: Node, plan: Plan) -> None:
        (life,) = compare([program], plan, rough=())
        if len(life.past) >= _LEAST_ACTIVATIONS:
            found[program] = life

    play()
    return list(found.values())[:PROGRAMS]


if __name__ == "__main__":
    corpus.write(Path(sys.argv[1]), lives())
