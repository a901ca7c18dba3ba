"""Members of a cluster, on simulated time: who has which partition when nodes start, die, hang, are
cut off and leave, and when the store of leases does."""

from __future__ import annotations

import asyncio

from tests.simulation.cluster_life import Node, World, live


async def three(world: World) -> tuple[Node, Node, Node]:
    """Three nodes that have joined at about the same time, and share everything."""
    nodes = world.node("a"), world.node("b"), world.node("c")
    for node in nodes:
        node.boot()
        await asyncio.sleep(0.3)
    await world.whole(within_s=5)
    return nodes


def sizes(world: World) -> list[int]:
    """How many partitions each node has."""
    return sorted(len(one) for one in world.owned().values())


def test_nodes_that_start_together_share_the_partitions() -> None:
    """Whoever is first waits until the others are heard."""

    async def main(world: World) -> None:
        await three(world)
        assert sizes(world) == [5, 5, 6]
        assert [node.member.number for node in world.nodes] == [0, 1, 2]

    live(main)


def test_the_partitions_of_a_node_that_is_killed_are_taken_over() -> None:
    """By the others, in equal shares, within the time that is promised."""

    async def main(world: World) -> None:
        a, b, c = await three(world)
        await asyncio.sleep(1.23)
        a.kill()
        assert 2.4 < await world.whole(within_s=5) < 4.5
        assert sizes(world) == [8, 8]
        assert b.member.takeovers_total + c.member.takeovers_total == 16 - 11

    live(main)
