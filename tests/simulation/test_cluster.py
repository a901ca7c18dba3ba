"""Members of a cluster, on simulated time: who has which partition when nodes start, die, hang, are
cut off and leave, and when the store of leases does."""

from __future__ import annotations

import asyncio
import random
from functools import partial

import pytest

from dispatcher.cluster.numbers import NodeTaken
from dispatcher.cluster.records import MemberState, Phase, partition_key, read_lease
from dispatcher.errors import LogBusy, LogCorrupt, LogUnknown
from dispatcher.testing.leases import Fate
from tests.effort import times
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


def owners(world: World) -> list[str]:
    """Who acts for each partition."""
    return ["".join(world.acting(one)) for one in range(len(world.logs))]


def claims(world: World) -> int:
    """How often somebody became the owner of something."""
    return sum("claimed" in what for node in world.nodes for what, _ in node.told)


# Starting.


def test_nodes_that_start_together_share_the_partitions() -> None:
    """Whoever is first waits until the others are heard."""

    async def main(world: World) -> None:
        await three(world)
        assert sizes(world) == [5, 5, 6]
        assert [node.member.number for node in world.nodes] == [0, 1, 2]

    live(main)


def test_nodes_that_start_together_again_share_what_was_released() -> None:
    """After all of them were stopped, as at first: nothing is claimed twice."""

    async def main(world: World) -> None:
        for node in await three(world):
            await node.leave()
        assert not any(world.owned().values())
        world.nodes.clear()
        nodes = await three(world)
        assert sizes(world) == [5, 5, 6]
        assert [node.member.number for node in nodes] == [0, 1, 2]

    live(main)


def test_a_node_that_starts_alone_has_everything() -> None:
    """After the two seconds in which others might come."""

    async def main(world: World) -> None:
        node = world.node("a")
        node.boot()
        assert 2 <= await world.whole(within_s=5) < 2.5
        assert node.member.directory.owned == tuple(range(16))

    live(main)


def test_a_store_that_is_away_for_minutes_keeps_a_node_from_starting_and_no_longer() -> None:
    """It joins when the store is there."""

    async def main(world: World) -> None:
        node = world.node("a")
        node.link.is_cut = True
        node.boot()
        await asyncio.sleep(300)
        assert ("away", -1) in node.told
        node.link.is_cut = False
        await world.whole(within_s=5)
        assert node.told.count(("away", -1)) == node.told.count(("back", -1)) == 1

    live(main)


# Failing.


def test_the_partitions_of_a_node_that_is_killed_are_taken_over() -> None:
    """By the others, in equal shares, within the time that is promised."""

    async def main(world: World) -> None:
        a, b, c = await three(world)
        had = len(a.held)
        await asyncio.sleep(1.23)
        a.kill()
        assert 2.4 < await world.whole(within_s=5) < 4.5
        assert sizes(world) == [8, 8]
        assert b.member.takeovers_total + c.member.takeovers_total == had

    live(main)


def test_a_node_that_hangs_loses_its_partitions_and_knows_it_when_it_wakes() -> None:
    """It may act for none of them again, and takes its share later, as every other."""

    async def main(world: World) -> None:
        a, _, _ = await three(world)
        had = set(a.held)
        a.stop()
        assert await world.whole(within_s=5) < 4.5
        await asyncio.sleep(20)
        a.go_on()
        await asyncio.sleep(0.1)
        assert not any("a" in world.acting(one) for one in had)
        await asyncio.sleep(0.3)
        assert not a.held
        assert world.is_whole()
        await asyncio.sleep(30)
        assert sizes(world) == [5, 5, 6]

    live(main)


def test_a_node_that_is_cut_off_stops_acting_before_others_begin() -> None:
    """And lets go of everything when it hears of them. That no two act is checked throughout."""

    async def main(world: World) -> None:
        a, _, _ = await three(world)
        a.link.is_cut = True
        await asyncio.sleep(2.45)
        assert not any("a" in one for one in owners(world))
        assert a.held, "what is stored meanwhile is its owner's all the same"
        await world.whole(within_s=3)
        await asyncio.sleep(20)
        a.link.is_cut = False
        await world.until(lambda: not a.held, within_s=2)
        await asyncio.sleep(30)
        assert sizes(world) == [5, 5, 6]

    live(main)


@pytest.mark.parametrize(
    ("away_s", "is_kept"), [(2.0, True), (2.0, False), (6.0, True), (6.0, False), (100.0, False)]
)
def test_without_a_majority_nothing_is_claimed_and_all_have_what_they_had(
    away_s: float, is_kept: bool
) -> None:
    """The leader goes on saying what was so before; nobody acts after 2.4 s, and everybody acts
    again soon after the majority is back: whether it stores what it was sent meanwhile or not."""

    async def main(world: World) -> None:
        await three(world)
        await asyncio.sleep(0.77)
        before, claimed = owners(world), claims(world)
        world.leases.lose_majority()
        await asyncio.sleep(min(away_s, 2.45))
        if away_s > 2.45:
            assert owners(world) == [""] * 16
            await asyncio.sleep(away_s - 2.45)
        world.leases.regain_majority(is_kept=is_kept)
        assert await world.whole(within_s=3) < 1.8
        await asyncio.sleep(10)
        assert owners(world) == before
        assert claims(world) == claimed

    live(main)


def test_a_store_without_a_majority_is_told_as_away_until_it_stores_again() -> None:
    """Looks are answered all the while; once each, as nobody wants to read it every second."""

    async def main(world: World) -> None:
        nodes = await three(world)
        await asyncio.sleep(10)
        assert not any(("away", -1) in node.told for node in nodes)
        world.leases.lose_majority()
        await asyncio.sleep(6)
        for node in nodes:
            assert node.told.count(("away", -1)) == 1
        await asyncio.sleep(60)
        assert not any(("back", -1) in node.told for node in nodes)
        world.leases.regain_majority(is_kept=False)
        await asyncio.sleep(4)
        for node in nodes:
            assert node.told.count(("away", -1)) == node.told.count(("back", -1)) == 1

    live(main)


def test_a_store_that_answers_nobody_for_minutes_costs_no_partition() -> None:
    """All are suspended, and go on with what they had."""

    async def main(world: World) -> None:
        nodes = await three(world)
        before, claimed = owners(world), claims(world)
        for node in nodes:
            node.link.is_cut = True
        await asyncio.sleep(130)
        assert owners(world) == [""] * 16
        for node in nodes:
            node.link.is_cut = False
        await world.whole(within_s=3)
        assert owners(world) == before
        assert claims(world) == claimed

    live(main)


def test_a_majority_that_comes_back_without_an_owner_costs_no_more_than_a_takeover() -> None:
    """It died while nobody could store anything."""

    async def main(world: World) -> None:
        a, _, _ = await three(world)
        world.leases.lose_majority()
        await asyncio.sleep(5)
        a.kill()
        await asyncio.sleep(5)
        world.leases.regain_majority()
        assert await world.whole(within_s=5) < 4
        assert sizes(world) == [8, 8]

    live(main)


def test_a_machine_that_dies_with_a_server_of_the_store_costs_its_election_and_little_more() -> (
    None
):
    """The time in which nobody could look counts: only what its owner stores puts a claim off."""

    async def main(world: World) -> None:
        a, b, c = await three(world)
        a.kill()
        b.link.is_cut = c.link.is_cut = True
        await asyncio.sleep(5)
        b.link.is_cut = c.link.is_cut = False
        assert await world.whole(within_s=5) < 3

    live(main)


def test_renewals_that_are_stored_late_are_renewals() -> None:
    """Whatever was sent meanwhile: it is the nonce that says whose they are."""

    async def main(world: World) -> None:
        a, _, _ = await three(world)
        claimed = claims(world)
        a.link.fate = Next(Fate.LATE, times=14)
        await asyncio.sleep(20)
        assert claims(world) == claimed
        assert ("lost", 0) not in a.told
        assert world.is_whole()

    live(main)


def test_a_renewal_that_is_seen_late_gives_no_more_time_than_when_it_was_sent() -> None:
    """Its owner was cut off when it was stored, and others have counted since then."""

    async def main(world: World) -> None:
        a, _, _ = await three(world)
        began_s = world.loop.time()

        def fate(is_put: bool) -> Fate:
            at_s = world.loop.time() - began_s
            if is_put:
                return Fate.LATE if at_s < 1.2 else Fate.LOST
            return Fate.NONE if 3.8 < at_s < 4.6 else Fate.LOST

        a.link.fate, a.link.late_s = fate, lambda: 1.5
        await asyncio.sleep(4.7)
        assert a.held
        assert not any("a" in one for one in owners(world))
        await world.whole(within_s=5)

    live(main)


def test_a_claim_that_was_thought_lost_is_ours_when_it_is_stored() -> None:
    """And not only after nobody has renewed it for a while."""

    async def main(world: World) -> None:
        a = world.node("a")
        a.boot()
        await asyncio.sleep(1.9)
        a.link.fate = Next(Fate.LATE, times=40)
        a.link.late_s = lambda: 1.0
        await world.whole(within_s=3)

    live(main)


def test_all_machines_that_start_again_after_a_power_cut_have_everything_soon() -> None:
    """Nobody has left, so leases have to end first; they share what there is all the same."""

    async def main(world: World) -> None:
        for node in await three(world):
            node.kill()
        await asyncio.sleep(60)
        nodes = [world.node(name) for name in "abc"]
        for node in nodes:
            node.name += " again"
            node.boot()
            await asyncio.sleep(0.1)
        assert await world.whole(within_s=8) < 6
        assert sizes(world) == [5, 5, 6]

    live(main)


# Leaving and moving.


@pytest.mark.parametrize("hears", [True, False])
def test_a_node_that_leaves_hands_over_at_once(hears: bool) -> None:
    """Others hear it as it is stored; where hints are lost, they see it when they look."""

    async def main(world: World) -> None:
        a, b, c = await three(world)
        if not hears:
            world.leases.listeners.clear()
        await asyncio.sleep(3)
        leaving = asyncio.ensure_future(a.leave())
        await world.until(lambda: not a.held, within_s=1)
        assert await world.whole(within_s=3) < (0.2 if hears else 1.2)
        await leaving
        assert sizes(world) == [0, 8, 8]
        assert b.member.takeovers_total == c.member.takeovers_total == 0
        assert b.member.directory.members[0].state is MemberState.LEFT
        assert a.told.count(("released", 3)) + a.told.count(("released", 4)) <= 2

    live(main)


def test_leaving_ends_although_the_store_does_not_answer() -> None:
    """The leases run out then."""

    async def main(world: World) -> None:
        a, _, _ = await three(world)
        a.link.is_cut = True
        began_s = world.loop.time()
        await a.leave()
        assert world.loop.time() - began_s < 6
        await world.whole(within_s=5)

    live(main)


def test_a_node_that_joins_is_given_its_share_one_partition_at_a_time() -> None:
    """After it has been there for a while; what moves is away for a moment, and nothing else."""

    async def main(world: World) -> None:
        await three(world)
        before = owners(world)
        d = world.node("d")
        d.boot()
        await asyncio.sleep(9.5)
        assert owners(world) == before
        for _ in range(20 * 100):
            assert sum(not one for one in owners(world)) <= 1
            await asyncio.sleep(0.01)
        assert sizes(world) == [4, 4, 4, 4]
        after = owners(world)
        assert sum(one != other for one, other in zip(before, after, strict=True)) == 4
        assert after[0] == before[0], "the desk stays where it is"
        moved_s = [at for at, one in zip(range(16), after, strict=True) if one == "d"]
        assert len(moved_s) == 4

    live(main)


def test_what_is_lost_while_it_is_handed_over_is_others_at_once() -> None:
    """Its log gave no verdict: there is nothing left to hand over, and nobody waits for that."""

    async def main(world: World) -> None:
        a, b, c = await three(world)
        a.hand_over_s = 60
        partition = next(iter(a.held))
        leaving = asyncio.ensure_future(a.leave())
        await asyncio.sleep(0.5)
        del a.held[partition]
        a.member.lost(partition, LogUnknown("20 s"))
        await world.until(lambda: partition in b.held or partition in c.held, within_s=1)
        assert a.held, "the others are handed over in their own time"
        await asyncio.wait_for(leaving, 65)
        await world.whole(within_s=3)
        assert sizes(world) == [0, 8, 8]

    live(main)


def test_what_cannot_be_handed_over_in_time_is_taken_over() -> None:
    """A node that is killed while it leaves."""

    async def main(world: World) -> None:
        a, _, _ = await three(world)
        a.hand_over_s = 60
        task = asyncio.ensure_future(a.leave())
        await asyncio.sleep(30)
        assert a.held, "it is renewed while it is being handed over"
        assert world.is_whole()
        a.kill()
        await world.whole(within_s=5)
        task.cancel()

    live(main)


# Logs.


def test_a_partition_that_cannot_be_opened_stays_where_it_is_and_says_why() -> None:
    """Whoever else took it would fail too; all the others are served."""

    async def main(world: World) -> None:
        world.logs[5].error = LogCorrupt("stream dispatcher-5", 7, "a gap")
        nodes = world.node("a"), world.node("b")
        for node in nodes:
            node.boot()
        await world.until(lambda: all(owners(world)[:5] + owners(world)[6:]), within_s=5)
        await asyncio.sleep(30)
        for node in nodes:
            facts = node.member.directory.partitions[5]
            assert facts.phase is Phase.FAILED
            assert "a gap" in facts.why
            assert node.member.directory.process_of(5) is None
        told = [one for node in nodes for one in node.told if one == ("failed", 5)]
        assert len(told) == 1
        # Another node has it when this one leaves, and can open it.
        world.logs[5].error = None
        number = nodes[0].member.directory.partitions[5].member
        await next(node for node in nodes if node.member.number == number).leave()
        assert await world.whole(within_s=1) < 0.5

    live(main)


def test_a_partition_that_failed_is_open_soon_after_somebody_saw_to_it() -> None:
    """It is tried again now and then, without a word while the same is wrong."""

    async def main(world: World) -> None:
        world.logs[5].error = LogCorrupt("stream dispatcher-5", 7, "a gap")
        a = world.node("a")
        a.boot()
        await asyncio.sleep(100)
        assert a.told.count(("failed", 5)) == 1
        world.logs[5].error = LogCorrupt("stream dispatcher-5", 7, "another gap")
        await asyncio.sleep(31)
        assert a.told.count(("failed", 5)) == 2
        assert "another" in a.member.directory.partitions[5].why
        world.logs[5].error = None
        await world.whole(within_s=31)
        facts = a.member.directory.partitions[5]
        assert (facts.phase, facts.why) == (Phase.OPEN, "")
        assert claims(world) == 16

    live(main)


def test_a_log_that_is_busy_is_opened_as_soon_as_it_is_not() -> None:
    """Under the same epoch; nobody else claims it meanwhile."""

    async def main(world: World) -> None:
        world.logs[5].error = LogBusy("no leader")
        nodes = world.node("a"), world.node("b")
        for node in nodes:
            node.boot()
        await asyncio.sleep(30)
        world.logs[5].error = None
        assert await world.whole(within_s=2) < 1.2
        assert claims(world) == 16
        assert [told for node in nodes for told in node.told if told[0] == "waits"] == [
            ("waits", 5)
        ]

    live(main)


def test_a_log_whose_servers_elect_a_leader_is_opened_soon_and_without_a_word() -> None:
    """It is tried again at once, more slowly after a while."""

    async def main(world: World) -> None:
        world.logs[5].error = LogBusy("no leader")
        a = world.node("a")
        a.boot()
        await world.until(lambda: sizes(world) == [15], within_s=5)
        await asyncio.sleep(1)
        world.logs[5].error = None
        assert await world.whole(within_s=2) < 0.9
        assert ("waits", 5) not in a.told

    live(main)


@pytest.mark.parametrize("kind", ["fenced by mistake", "without a verdict"])
def test_a_log_that_is_lost_although_the_lease_is_not_is_opened_anew(kind: str) -> None:
    """By the same node, under a later epoch."""

    async def main(world: World) -> None:
        a, _, _ = await three(world)
        partition, held = next(iter(a.held.items()))
        before = owners(world)
        if kind == "fenced by mistake":
            world.logs[partition].fence = held.epoch + 1
            assert not a.append(partition)
        else:
            del a.held[partition]
            a.member.lost(partition, LogUnknown("20 s"))
        await world.whole(within_s=1.5)
        assert owners(world) == before
        assert a.append(partition)
        assert a.held[partition].epoch > held.epoch

    live(main)


def test_a_log_with_a_higher_epoch_than_the_leases_can_give_fails_loudly() -> None:
    """The leases were lost and made anew: nobody may guess which history is right."""

    async def main(world: World) -> None:
        world.logs[3].fence = 1 << 40
        a = world.node("a")
        a.boot()
        await asyncio.sleep(10)
        assert a.told.count(("failed", 3)) == 1
        assert a.member.directory.partitions[3].phase is Phase.FAILED
        assert sizes(world) == [15]

    live(main)


def test_a_log_that_is_a_little_ahead_of_its_leases_is_open_soon() -> None:
    """As after a backup whose copy of the leases is older than that of the log."""

    async def main(world: World) -> None:
        world.logs[3].fence = 500
        a = world.node("a")
        a.boot()
        await asyncio.sleep(10)
        assert a.member.directory.partitions[3].phase is Phase.FAILED
        await world.whole(within_s=60)
        assert a.held[3].epoch > 500
        assert a.told.count(("failed", 3)) == 1

    live(main)


def test_how_far_a_log_reaches_is_in_its_lease_also_after_a_takeover() -> None:
    """Whoever opens it can tell that it was cut."""

    async def main(world: World) -> None:
        a, _, _ = await three(world)
        partition = min(a.held)
        for _ in range(50):
            assert a.append(partition)
        await asyncio.sleep(1.2)
        a.kill()
        await world.whole(within_s=5)
        record = read_lease(world.leases.latest[partition_key(partition)].value)
        assert record.node != "a"
        assert record.ends == {"transaction": 50}
        taker = next(node for node in world.nodes if partition in node.held and node is not a)
        assert taker.opened_with[partition] == {"transaction": 50}

    live(main)


# Names and numbers.


def test_a_node_that_is_started_again_has_its_number_again() -> None:
    """After it was killed, once it is certain that it is gone; others take what it had before."""

    async def main(world: World) -> None:
        _, b, _ = await three(world)
        b.kill()
        again = world.node("b")
        again.name, again.told = "b again", []
        again.boot()
        await world.until(lambda: again.task is not None and again.task.done(), within_s=6)
        assert again.member.number == 1
        await world.whole(within_s=3)

    live(main)


def test_a_second_node_of_one_name_refuses_to_start() -> None:
    """And the first one does not notice."""

    async def main(world: World) -> None:
        a = world.node("a")
        a.boot()
        await world.whole(within_s=5)
        second = world.node("a")
        second.name = "second"
        with pytest.raises(NodeTaken, match="a:8082"):
            await asyncio.wait_for(second._life(), 6)
        assert a.ended_by is None
        assert world.is_whole()
        assert NodeTaken.exit_code == 4

    live(main)


def test_two_nodes_of_one_name_that_start_at_the_same_time_are_one() -> None:
    """One of them is refused."""

    async def main(world: World) -> None:
        first, second = world.node("a"), world.node("a")
        lives = [asyncio.ensure_future(one._life()) for one in (first, second)]
        await asyncio.wait(lives, timeout=6)
        assert sorted(type(one.exception()).__name__ for one in lives) == ["NodeTaken", "NoneType"]

    live(main)


def test_the_number_of_a_node_that_left_is_anothers() -> None:
    """Numbers are few; one that was never used is taken where none is free."""

    async def main(world: World) -> None:
        _, b, _ = await three(world)
        await b.leave()
        d = world.node("d")
        d.boot()
        await world.until(lambda: d.task is not None and d.task.done(), within_s=2)
        assert d.member.number == 1
        e = world.node("e")
        e.boot()
        await world.until(lambda: e.task is not None and e.task.done(), within_s=2)
        assert e.member.number == 3

    live(main)


def test_a_node_that_hung_until_its_name_was_anothers_has_to_end() -> None:
    """It is told once, claims nothing more, and loses what it had."""

    async def main(world: World) -> None:
        _, b, _ = await three(world)
        b.stop()
        again = world.node("b")
        again.name = "b again"
        again.boot()
        await asyncio.sleep(20)
        b.go_on()
        await asyncio.sleep(2)
        assert b.ended_by == "b"
        assert not b.held
        assert again.ended_by is None
        await world.whole(within_s=1)

    live(main)


# Everything at once.


@pytest.mark.parametrize("seed", range(times(2)))
def test_whatever_happens_no_two_act_and_everything_is_owned_again(seed: int) -> None:
    """Requests and answers are lost, late and stale, nodes hang, die, leave and are cut off, and
    the store loses its majority."""
    live(Chance(seed).main, partitions=6)


class Next:
    """What becomes of the next records that a link is given; of everything else nothing."""

    def __init__(self, fate: Fate, *, times: int) -> None:
        self.left = times
        self._fate = fate

    def __call__(self, is_put: bool) -> Fate:
        if not is_put or not self.left:
            return Fate.NONE
        self.left -= 1
        return self._fate


class Chance:
    """A life at random. The seed says which."""

    def __init__(self, seed: int, turns: int = 40) -> None:
        self.turns = turns
        self.random = random.Random(seed)
        self.trouble = self.random.choice([0.0, 0.02, 0.1, 0.3])

    def fate(self, is_put: bool) -> Fate:
        """What becomes of a request."""
        if self.random.random() >= self.trouble:
            return Fate.NONE
        return self.random.choice([one for one in Fate if one is not Fate.NONE])

    def make(self, world: World, name: str) -> Node:
        """A node with such a link."""
        node = world.node(name)
        chance = self.random
        node.link.fate = self.fate
        node.link.delay_s = lambda: chance.expovariate(1 / 0.01)
        node.link.late_s = lambda: chance.uniform(0.5, 8)
        node.link.stale_by = lambda: chance.randrange(40)
        node.open_s = chance.choice([0.0, 0.1, 2.0])
        node.hand_over_s = chance.choice([0.0, 0.1, 4.0])
        node.boot()
        return node

    async def main(self, world: World) -> None:
        """Some minutes, then a quiet one."""
        chance = self.random
        nodes = [self.make(world, name) for name in "abc"]
        for turn in range(self.turns):
            await asyncio.sleep(chance.expovariate(1 / 3))
            at = chance.randrange(3)
            node = nodes[at]
            match chance.choice(["stop", "cut", "kill", "leave", "quorum", "append", "fence"]):
                case "stop":
                    node.stop()
                    world.loop.call_later(chance.uniform(0.1, 8), node.go_on)
                case "cut":
                    node.link.is_cut = True
                    world.loop.call_later(
                        chance.uniform(0.1, 8), setattr, node.link, "is_cut", False
                    )
                case "kill" if turn % 3 == 0:
                    node.kill()
                    nodes[at] = self.make(world, f"{node.name[0]}{turn}")
                case "leave" if turn % 3 == 0 and not world.loop.is_frozen(node.name):
                    if node.task is not None and node.task.done():
                        await asyncio.wait([asyncio.ensure_future(node.leave())], timeout=20)
                        node.kill()
                        nodes[at] = self.make(world, f"{node.name[0]}{turn}")
                case "quorum":
                    world.leases.lose_majority()
                    back = partial(world.leases.regain_majority, is_kept=chance.random() < 0.5)
                    world.loop.call_later(chance.uniform(0.1, 8), back)
                case "fence" if node.held:
                    partition = chance.choice(sorted(node.held))
                    world.logs[partition].fence += 1
                    node.append(partition)
                case _:
                    for one in nodes:
                        for partition in list(one.held):
                            one.append(partition)
        await asyncio.sleep(10)
        world.leases.regain_majority()
        self.trouble = 0.0
        for node in nodes:
            node.link.is_cut = False
            node.go_on()
        await world.whole(within_s=15)
        await asyncio.sleep(60)
        assert sizes(world)[-3:] == [2, 2, 2]
