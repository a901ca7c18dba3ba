"""Members of a cluster on simulated time, with nodes that only remember what they were told.

What must hold is checked as it happens: of one partition no two nodes may act at the same time,
whatever the store, the clocks and the processes do; and a node opens what its member claimed, and
nothing else.
"""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from dispatcher.cluster.holder import Ends
from dispatcher.cluster.member import Member
from dispatcher.cluster.times import Times
from dispatcher.core.clock import Clock
from dispatcher.errors import LogFenced
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.freezing import FreezingLoop, run_in
from dispatcher.testing.leases import Leases, LeasesLink


class Violation(AssertionError):
    """Something that must not happen has happened."""


@dataclass(slots=True)
class Log:
    """The log of a partition: it is the epoch of its last fence that counts, and what was acted
    on. `error` is raised by whoever opens it."""

    fence: int = 0
    end: int = 0
    error: Exception | None = None


@dataclass(slots=True)
class Held:
    """What a node has of a partition."""

    epoch: int
    until_s: float = -1.0


class Node:
    """A node (`Holder`, `Observer`): it opens, acts and lets go as it is told."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.world = world
        self.link = LeasesLink(world.leases)
        self.held: dict[int, Held] = {}
        self.opened_with: dict[int, Ends] = {}
        self.told: list[tuple[str, int]] = []
        self.ended_by: str | None = None
        self.open_s = 0.05
        self.hand_over_s = 0.02
        self.member: Member = self._made()
        self.task: asyncio.Task[Any] | None = None
        self.is_dead = False

    def _made(self) -> Member:
        world = self.world
        world.nonces += 1
        return world.member_class(
            self.link,
            self,
            self,
            self._died,
            node=self.name,
            address=f"{self.name}:8082",
            partitions=len(world.logs),
            nonce=world.nonces,
            clock=world.clock,
            random=random.Random(world.nonces),
            times=world.times,
        )

    # What happens to it.

    def boot(self) -> None:
        """Start the process."""
        self.task = run_in(self.name, self._life)

    async def _life(self) -> None:
        await self.member.start()
        self.member.begin()

    def kill(self) -> None:
        """It is gone: nothing of it runs ever again."""
        self.is_dead = True
        self.world.loop.freeze(self.name)
        self.held.clear()

    def stop(self) -> None:
        """SIGSTOP."""
        self.world.loop.freeze(self.name)

    def go_on(self) -> None:
        """SIGCONT."""
        if not self.is_dead:
            self.world.loop.thaw(self.name)

    async def leave(self) -> None:
        """SIGTERM, to the end."""

        async def ending() -> None:
            await self.member.leave()
            await self.member.stop()

        await run_in(self.name, ending)

    def _died(self, name: str, error: BaseException) -> None:
        self.world.died.append(f"{self.name}: {name}: {error!r}")

    # Holder.

    async def open(self, partition: int, epoch: int, ends: Ends) -> None:
        log = self.world.logs[partition]
        assert partition not in self.held
        if log.error is not None:
            raise log.error
        self.world.refuse_older(log, epoch)
        log.fence = epoch
        self.opened_with[partition] = ends
        await asyncio.sleep(self.open_s)
        self.world.refuse_older(log, epoch)
        if ends.get("transaction", 0) > log.end:
            raise Violation("the record says more than is stored")
        self.held[partition] = Held(epoch)

    def may_act_until(self, partition: int, until_s: float) -> None:
        if partition in self.held:
            self.held[partition].until_s = until_s
            self.world.check(partition, self)

    def ends(self, partition: int) -> Ends:
        log = self.world.logs[partition]
        return {"transaction": log.end}

    def abandon(self, partition: int) -> None:
        self.held.pop(partition, None)

    async def hand_over(self, partition: int) -> None:
        await asyncio.sleep(self.hand_over_s)
        self.held.pop(partition, None)

    def append(self, partition: int) -> bool:
        """Store something, if the log lets it."""
        log, held = self.world.logs[partition], self.held.get(partition)
        if held is None:
            return False
        if log.fence > held.epoch:
            del self.held[partition]
            self.member.lost(partition, LogFenced("another owner has opened the log"))
            return False
        log.end += 1
        return True

    # Observer.

    def partition_claimed(self, partition: int, epoch: int, former: str) -> None:
        self.told.append((f"claimed from {former}" if former else "claimed", partition))

    def partition_opened(self, partition: int, epoch: int) -> None:
        self.told.append(("opened", partition))

    def partition_lost(self, partition: int, owner: str) -> None:
        self.told.append(("lost", partition))

    def partition_in_doubt(self, partition: int, error: Exception) -> None:
        self.told.append(("in doubt", partition))

    def partition_waits(self, partition: int, error: Exception) -> None:
        self.told.append(("waits", partition))

    def partition_failed(self, partition: int, error: Exception) -> None:
        self.told.append(("failed", partition))

    def partition_released(self, partition: int) -> None:
        self.told.append(("released", partition))

    def number_taken(self, node: str) -> None:
        self.ended_by = node

    def store_away(self, error: Exception) -> None:
        self.told.append(("away", -1))

    def store_back(self, after_s: float) -> None:
        self.told.append(("back", -1))


@dataclass
class World:
    """A cluster. `logs` are those of its partitions."""

    clock: Clock
    loop: FreezingLoop
    logs: list[Log]
    times: Times
    member_class: type[Member] = Member
    leases: Leases = field(default_factory=Leases)
    nodes: list[Node] = field(default_factory=list)
    died: list[str] = field(default_factory=list)
    nonces: int = 0

    def node(self, name: str) -> Node:
        """Add a node; it is not started."""
        node = Node(self, name)
        self.nodes.append(node)
        return node

    def refuse_older(self, log: Log, epoch: int) -> None:
        """As the servers of a log do."""
        if log.fence > epoch:
            raise LogFenced(f"epoch {log.fence} is later than {epoch}")

    def check(self, partition: int, who: Node) -> None:
        """Of one partition no two may act."""
        now_s = self.loop.time()
        if who.held[partition].until_s <= now_s:
            return
        for other in self.nodes:
            held = other.held.get(partition)
            if other is not who and held is not None and held.until_s > now_s:
                raise Violation(
                    f"at {now_s:.3f} {who.name} and {other.name} may act for partition {partition}"
                    f": until {who.held[partition].until_s:.3f} and {held.until_s:.3f}"
                )

    def acting(self, partition: int) -> list[str]:
        """The nodes that may act for a partition now, and run."""
        now_s = self.loop.time()
        return [
            one.name
            for one in self.nodes
            if not self.loop.is_frozen(one.name)
            and (held := one.held.get(partition)) is not None
            and held.until_s > now_s
        ]

    def owned(self) -> dict[str, list[int]]:
        """What each node that runs has open."""
        return {
            one.name: sorted(one.held) for one in self.nodes if not self.loop.is_frozen(one.name)
        }

    def is_whole(self) -> bool:
        """Whether each partition has one node that acts for it."""
        return all(len(self.acting(one)) == 1 for one in range(len(self.logs)))

    async def until(self, is_so: Callable[[], bool], within_s: float) -> float:
        """Wait until something is so; returns how long it took."""
        began_s = self.loop.time()
        while not is_so():
            if self.loop.time() - began_s > within_s:
                raise Violation(
                    f"not so after {within_s} s: owned {self.owned()}, "
                    f"members {[one.member for one in self.nodes]}, died {self.died}"
                )
            await asyncio.sleep(0.01)
        return self.loop.time() - began_s

    async def whole(self, within_s: float) -> float:
        """Wait until all partitions are owned."""
        return await self.until(self.is_whole, within_s)

    async def end(self) -> None:
        """Stop all that is left."""
        for node in self.nodes:
            self.loop.thaw(node.name)
            if node.task is not None:
                node.task.cancel()
                await asyncio.wait([node.task])
            await run_in(node.name, node.member.stop)
        if self.died:
            raise Violation("; ".join(self.died))


def live(
    main: Callable[[World], Coroutine[Any, Any, Any]],
    *,
    partitions: int = 16,
    times: Times | None = None,
    member_class: type[Member] = Member,
) -> Any:
    """Run a cluster's life on simulated time, and return what it returns."""
    clock = SimulatedClock(monotonic_us=1_000_000)
    loop = FreezingLoop(clock)

    async def whole_life() -> Any:
        logs = [Log() for _ in range(partitions)]
        world = World(clock, loop, logs, times or Times(), member_class)
        try:
            return await main(world)
        finally:
            await world.end()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        result = runner.run(whole_life())
        gc.collect()
    assert not loop.errors, "\n".join(loop.errors)
    return result
