"""What rules say of a destination, in simulated time: how often and how many at once, and what
becomes of a message whose attempt has ended."""

from __future__ import annotations

import asyncio

from dispatcher.core.clock import SteadyClock
from dispatcher.core.message import Message
from dispatcher.core.rate import Rate, parse_rate
from dispatcher.core.rules.match import Match
from dispatcher.core.rules.rule import Rule
from dispatcher.core.rules.table import Rules, RulesInForce
from dispatcher.queue.admin.surface import Explanation, LaneOrder, Reason
from dispatcher.queue.flow.traffic import Traffic
from dispatcher.queue.lanes.peers import Peer
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run
from dispatcher.testing.queue import POLICY, Bench, Notes, destination, failed, message, simulate


def rate(text: str, burst: int = 1) -> Rate:
    """A rate as a rule has it."""
    read = parse_rate(text)
    assert read is not None
    return Rate(read.count, read.period_us, burst)


def in_force(*rules: Rule) -> RulesInForce:
    """Rules for one destination."""
    return RulesInForce(Rules(rules))


def limited(text: str, burst: int = 1, *, match: str = "a") -> RulesInForce:
    """One rule with a rate."""
    return in_force(Rule(Match.parse(match), rate=rate(text, burst)))


def starts(bench: Bench, *, answer: int | None = 200) -> list[int]:
    """Note when attempts start, in ms since now, and let them end at once."""
    began, found = bench.clock.now_us(), list[int]()
    bench.deliverer.on_start = lambda message: found.append((bench.clock.now_us() - began) // 1000)

    def end(sent: Message) -> None:
        if answer == 200:
            bench.queue.settling.delivered(sent, 200)
        else:
            bench.queue.settling.failed(sent, failed(answer))

    bench.deliverer.answer = end
    return found


def fill(bench: Bench, count: int, to: str = "a") -> None:
    """Messages that wait."""
    for n in range(count):
        bench.accept(message(destination(to), name=f"{to}{n}"))


def peer_of(bench: Bench, to: str = "a") -> Peer:
    """A destination."""
    return bench.queue.lanes.of(destination(to)).peer


async def why(bench: Bench, number: int) -> Explanation:
    """Why the n-th message that was accepted waits."""
    found = await bench.queue.admin.explain(bench.receipts.accepted[number].wire_id.decode())
    assert found is not None
    return found


def test_a_rate_is_exact_over_a_minute() -> None:
    """50/s are its burst and 3000 in each minute, evenly, as long as messages wait."""

    async def test(bench: Bench) -> None:
        found = starts(bench)
        fill(bench, 10_000)
        await asyncio.sleep(180.001)
        minutes = [sum(1 for at in found if n < at / 60_000 <= n + 1) for n in range(3)]
        assert minutes == [3000, 3000, 3000]
        assert len(found) == 50 + 9000
        seconds = [sum(1 for at in found if n < at / 1000 <= n + 1) for n in range(180)]
        assert set(seconds) == {50}
        assert peer_of(bench).limit.value == 10

    simulate(test, rules=limited("50/s", 50))


def test_a_slow_rate_is_exact_too() -> None:
    """10/1m without a burst is one every six seconds."""

    async def test(bench: Bench) -> None:
        found = starts(bench)
        fill(bench, 30)
        await asyncio.sleep(119)
        assert found == [6000 * n for n in range(20)]

    simulate(test, rules=limited("10/1m"))


def test_a_message_that_comes_when_nothing_waits_waits_for_the_rate_too() -> None:
    """Its destination is well and has nothing in flight; a message could start at once there."""

    async def test(bench: Bench) -> None:
        found = starts(bench)
        for _ in range(5):
            fill(bench, 1)
            await asyncio.sleep(0.1)
        assert found == [0]
        await asyncio.sleep(4)
        assert found == [0, 1000, 2000, 3000, 4000]

    simulate(test, rules=limited("1/s"))


def test_tokens_that_nobody_took_are_a_burst_and_no_more() -> None:
    """A destination that had nothing for an hour gets its burst, not an hour's worth."""

    async def test(bench: Bench) -> None:
        found = starts(bench)
        fill(bench, 1)
        await asyncio.sleep(3600)
        found.clear()
        fill(bench, 20)
        await asyncio.sleep(0.9)
        assert len(found) == 5
        await asyncio.sleep(1)
        assert len(found) == 6

    simulate(test, rules=limited("1/s", 5))


def test_a_message_that_waits_for_the_rate_spends_no_attempt_and_says_what_it_waits_for() -> None:
    """Its destination is neither paused nor in doubt, and keeps its place among the good ones."""

    async def test(bench: Bench) -> None:
        starts(bench)
        fill(bench, 3)
        await asyncio.sleep(1)
        second = await why(bench, 1)
        third = await why(bench, 2)
        until_us = bench.clock.now_us() + 59_000_000
        assert (second.reason, second.expected_at_us) == (Reason.RATE_REACHED, second.until_us)
        assert second.until_us is not None
        assert abs(second.until_us - until_us) < 100_000
        assert second.message == (
            "http://a gets 1/m at most by its rule, and has had as many; it is the next one of its "
            "destination."
        )
        assert (third.until_us, third.expected_at_us) == (second.until_us, None)
        view = await bench.queue.admin.message(bench.receipts.accepted[1].wire_id.decode())
        assert view is not None
        assert view.attempts == 0
        (lane,) = (await bench.queue.admin.lanes(LaneOrder.NAME, after="", limit=9)).items
        assert (lane.rate, lane.paused_until_us) == ("1/m", None)
        assert peer_of(bench).calm

    simulate(test, rules=limited("1/m"))


def test_each_attempt_counts_retries_too() -> None:
    """A destination that fails is not asked more often than its rate says."""

    async def test(bench: Bench) -> None:
        found = starts(bench, answer=500)
        fill(bench, 2)
        await asyncio.sleep(6.5)
        assert found == [0, 2000, 4000, 6000]

    simulate(test, rules=limited("1/2s"))


def test_other_destinations_run_on() -> None:
    """A rule without a port and with a wildcard is for each destination on its own."""

    async def test(bench: Bench) -> None:
        starts(bench)
        for name in ("x.a", "y.a", "b"):
            fill(bench, 10, name)
        await asyncio.sleep(3.5)
        left = [bench.queue.lanes.of(destination(name)).ready for name in ("x.a", "y.a", "b")]
        assert left == [6, 6, 0]

    simulate(test, rules=limited("1/s", match="*.a"))


def test_a_destination_with_a_rate_does_not_wait_behind_those_that_fail() -> None:
    """It is as good as one that may be asked at any time: nothing was wrong with it."""

    async def test(bench: Bench) -> None:
        fill(bench, 2)
        await asyncio.sleep(0.01)
        bench.end(bench.deliverer.flying[0])
        await asyncio.sleep(0.01)
        assert peer_of(bench).spent
        lane = bench.queue.lanes.of(destination("a"))
        assert lane not in bench.queue.traffic.turns
        assert peer_of(bench).calm

    simulate(test, rules=limited("1/s"))


def test_concurrency_bounds_what_is_in_flight() -> None:
    """However well it goes; the limit is still learned below it."""

    async def test(bench: Bench) -> None:
        fill(bench, 100)
        for _ in range(20):
            await asyncio.sleep(0.01)
            assert len(bench.deliverer.flying) <= 3
            for sent in list(bench.deliverer.flying):
                bench.end(sent)
        await asyncio.sleep(0.01)
        assert len(bench.deliverer.flying) == 3
        assert (await why(bench, 90)).reason is Reason.LIMIT_REACHED

    simulate(test, rules=in_force(Rule(Match.parse("a"), concurrency=3)))


def test_a_change_takes_effect_for_messages_that_wait() -> None:
    """A rate that is gone or higher lets them go; a lower concurrency holds at once."""

    async def main(clock: SimulatedClock) -> None:
        rules = limited("1/d")
        bench = await Bench(clock, rules=rules).start()

        def change(rule: Rule) -> None:
            rules.replace(Rules([rule]))
            bench.queue.traffic.rules_changed()

        found = starts(bench)
        fill(bench, 50)
        await asyncio.sleep(10)
        assert found == [0]
        change(Rule(Match.parse("a"), rate=rate("1/s", 20)))
        await asyncio.sleep(0.5)
        assert found == [0]  # no burst for whoever changes a rate
        await asyncio.sleep(1)
        assert found == [0, 11_000]
        change(Rule(Match.parse("b"), rate=rate("1/d")))
        await asyncio.sleep(0.1)
        assert len(found) == 50
        assert peer_of(bench).limit.value == 10
        change(Rule(Match.parse("a"), concurrency=2))
        bench.deliverer.answer = None
        fill(bench, 50)
        await asyncio.sleep(0.1)
        assert len(bench.deliverer.flying) == 2
        rules.replace(Rules())
        bench.queue.traffic.rules_changed()
        for _ in range(30):
            for sent in list(bench.deliverer.flying):
                bench.end(sent)
            await asyncio.sleep(0.01)
            if len(bench.deliverer.flying) == 10:
                break
        assert len(bench.deliverer.flying) == 10
        await bench.stop()

    run(main)


def test_a_rate_that_comes_while_messages_wait_holds_them() -> None:
    """With its burst, from the moment on at which it is in force."""

    async def main(clock: SimulatedClock) -> None:
        rules = RulesInForce()
        bench = await Bench(clock, rules=rules).start()
        fill(bench, 50)
        await asyncio.sleep(0.1)
        assert len(bench.deliverer.flying) == 1
        rules.replace(limited("1/s", 3).all)
        bench.queue.traffic.rules_changed()
        found = starts(bench)
        for sent in list(bench.deliverer.flying):
            bench.end(sent)
        await asyncio.sleep(2.5)
        assert found == [0, 0, 0, 1000, 2000]
        await bench.stop()

    run(main)


def test_messages_of_many_destinations_with_rates_are_read_back_several_at_a_time() -> None:
    """Each lane keeps what fits beside the others. When the first ones keep all that there is room
    for, nearly every message of the others is read by itself, and has a worker while it is."""

    async def test(bench: Bench) -> None:
        lanes, each = 100, 120
        for n in range(each):
            for lane in range(lanes):
                bench.accept(message(destination(f"h{lane}.a"), name=f"{lane}-{n}"))
        await asyncio.sleep(0.1)
        await bench.crash()
        before, read_before = bench.log.reads, bench.log.records_read
        found = starts(bench)
        await bench.start()
        await asyncio.sleep(55)
        assert len(found) >= 55 * lanes
        assert bench.log.reads - before <= len(found) / 2
        assert bench.log.records_read - read_before <= 2 * len(found)

    simulate(test, rules=limited("1/s", match="*.a"), warm_bytes=600_000)


def test_partitions_share_a_rate_and_take_turns() -> None:
    """It is the destination's: two partitions together get it once, and neither all of it."""

    async def main(clock: SimulatedClock) -> None:
        traffic = Traffic(
            workers=10,
            workers_slow=100,
            pause_max_ms=POLICY.max_delay_ms,
            observer=Notes(),
            clock=SteadyClock(clock),
            warm_bytes=100_000,
            rules=limited("1/s"),
        )
        benches = [Bench(clock, traffic=traffic) for _ in range(2)]
        found = []
        for bench in benches:
            await bench.start()
            found.append(starts(bench))
            fill(bench, 100)
        await asyncio.sleep(40.5)
        assert sorted(found[0] + found[1]) == [1000 * n for n in range(41)]
        assert all(len(one) >= 20 for one in found)
        for bench in benches:
            await bench.stop()

    run(main)


def test_an_idle_destination_is_not_forgotten_while_tokens_are_missing() -> None:
    """Else a caller who waits a minute between messages would have a burst each time."""

    async def test(bench: Bench) -> None:
        found = starts(bench)
        fill(bench, 1)
        await asyncio.sleep(600)
        fill(bench, 1)
        await asyncio.sleep(600)
        assert len(found) == 1
        await asyncio.sleep(3600)
        assert len(found) == 2
        await asyncio.sleep(3 * 3600)
        assert len(bench.queue.lanes) == 0

    simulate(test, rules=limited("1/h"))


def test_what_a_rule_acks_is_delivered_and_no_pause() -> None:
    """Not even a 503 that asks for one: whoever lists it knows what it means there."""

    async def test(bench: Bench) -> None:
        fill(bench, 3)
        await asyncio.sleep(0.01)
        for _ in range(3):
            bench.end(bench.deliverer.flying[0], failed(503, retry_after=b"60"))
            await asyncio.sleep(0.01)
        assert bench.queue.figures.delivered_total == 3
        assert peer_of(bench).calm or not peer_of(bench).paused_until
        bench.accept(message(destination("a"), name="last"))
        await asyncio.sleep(0.01)
        bench.end(bench.deliverer.flying[0], failed(500))
        assert bench.queue.figures.delivered_total == 3

    simulate(test, rules=in_force(Rule(Match.parse("a"), ack=frozenset((503,)))))


def test_a_message_that_waits_for_a_retry_has_the_rule_that_is_in_force_then() -> None:
    """Its next attempt is its last one by a rule that came meanwhile."""

    async def main(clock: SimulatedClock) -> None:
        rules = in_force(Rule(Match.parse("a"), retries=500, retry_delay_ms=10_000))
        bench = await Bench(clock, rules=rules).start()
        found = starts(bench, answer=500)
        fill(bench, 1)
        await asyncio.sleep(5)
        assert found == [0]
        rules.replace(Rules([Rule(Match.parse("a"), retries=1)]))
        bench.queue.traffic.rules_changed()
        await asyncio.sleep(100)
        assert len(found) == 2
        assert 8_000 <= found[1] <= 12_000
        assert [reason for _, reason in bench.notes.dead] == ["retries_exhausted"]
        await bench.stop()

    run(main)


def test_rules_with_a_path_hold_for_messages_with_that_path() -> None:
    """Of one destination: what is final for one of them is tried again for another."""

    async def test(bench: Bench) -> None:
        starts(bench, answer=404)
        for name in ("again/x", "again", "final", "againx"):
            bench.accept(message(destination("a"), name=name))
        await asyncio.sleep(0.05)
        assert {dead.target for dead, _ in bench.notes.dead} == {"/final", "/againx"}

    rule = Rule(Match.parse("a/again"), retry_on=frozenset((404,)), retry_delay_ms=60_000)
    simulate(test, rules=in_force(rule, Rule(Match.parse("a"), retries=5)))
