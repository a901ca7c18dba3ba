"""Rules that bound how often attempts start, and how many there are, for one path of a destination:
in simulated time."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from dispatcher.core.flow import parse_flow
from dispatcher.core.message import Message
from dispatcher.core.rate import Rate
from dispatcher.core.rules.match import Match
from dispatcher.core.rules.rule import Rule
from dispatcher.core.rules.table import Rules, RulesInForce
from dispatcher.core.terms import Terms
from dispatcher.queue.admin.surface import LetterFilter, Reason
from dispatcher.queue.lanes import lines as lines_module
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run
from dispatcher.testing.queue import Bench, destination, failed, message, simulate

S = 1_000_000


def bound(
    count: int = 0, *, period_s: int = 1, burst: int = 1, most: int | None = None, path: str = "/v1"
) -> Rule:
    """A rule for a path."""
    rate = Rate(count, period_s * S, burst) if count else None
    return Rule(Match.parse(f"a.example{path}"), rate=rate, concurrency=most)


def in_force(*rules: Rule) -> RulesInForce:
    """Rules that a bench has."""
    return RulesInForce(Rules(rules))


def change(bench: Bench, *rules: Rule) -> None:
    """As SIGHUP does."""
    bench.config.rules.replace(Rules(rules))
    bench.queue.traffic.rules_changed()


def widen(bench: Bench) -> None:
    """Nothing but rules limits the destination."""
    lane = bench.queue.lanes.of(destination())
    lane.peer.limit.value = lane.peer.limit.ceiling
    bench.queue.starting.look_at(lane)


def hand_in(bench: Bench, *names: str) -> list[Message]:
    """Accept messages; a name is a path."""
    messages = [message(name=name) for name in names]
    for one in messages:
        bench.accept(one)
    return messages


def answering(bench: Bench) -> None:
    """All attempts succeed at once."""
    bench.deliverer.answer = lambda sent: bench.queue.settling.delivered(sent, 200)


class Starts:
    """What started, and when."""

    def __init__(self, bench: Bench) -> None:
        self.found: list[tuple[str, int]] = []
        self._clock = bench.clock
        bench.deliverer.on_start = self._note

    def _note(self, sent: Message) -> None:
        self.found.append((sent.target, self._clock.now_us() // 1000))

    def of(self, *paths: str) -> list[int]:
        """When attempts for some paths started, in ms since the first of them."""
        times = [at for target, at in self.found if target.startswith(paths)]
        return [at - times[0] for at in times]


def names(prefix: str, count: int) -> list[str]:
    """Paths of messages."""
    return [f"{prefix}/{n}" for n in range(count)]


def test_rate_bounds_the_messages_of_a_path_and_no_others() -> None:
    """One each tenth of a second; what goes elsewhere does not wait for it."""

    async def test(bench: Bench) -> None:
        starts = Starts(bench)
        widen(bench)
        answering(bench)
        hand_in(bench, *names("v1", 8), *names("v10", 8))
        await asyncio.sleep(0.05)
        assert len(starts.of("/v10")) == 8
        await asyncio.sleep(2)
        assert starts.of("/v1/") == [0, 100, 200, 300, 400, 500, 600, 700]
        assert not bench.queue.pending.has_lines

    simulate(test, rules=in_force(bound(10)))


def test_concurrency_bounds_the_attempts_of_a_path() -> None:
    """Two at once, retries too, and the destination's others beside them."""

    async def test(bench: Bench) -> None:
        widen(bench)
        hand_in(bench, *names("v1", 5), *names("v2", 3))
        await asyncio.sleep(0.05)
        flying = bench.deliverer.flying
        assert [one.target for one in flying] == ["/v1/0", "/v1/1", "/v2/0", "/v2/1", "/v2/2"]
        bench.end(flying[0], failed(500))
        await asyncio.sleep(0.05)
        assert [one.target for one in flying if "v1" in one.target] == ["/v1/1", "/v1/2"]
        for _ in range(20):
            for one in list(flying):
                bench.end(one)
            await asyncio.sleep(1)
            assert len(flying) <= 2
        assert not bench.queue.pending.index.count

    simulate(test, rules=in_force(bound(most=2)))


def test_rate_holds_after_a_crash_and_for_letters_that_come_back() -> None:
    """What is read from the log, and what is redriven, is let through as what is new."""

    async def main(clock: SimulatedClock) -> None:
        bench = await Bench(clock, rules=in_force(bound(10))).start()
        widen(bench)
        hand_in(bench, *names("v1", 6))
        await asyncio.sleep(0.01)
        await bench.crash()
        await bench.start()
        widen(bench)
        starts = Starts(bench)
        bench.deliverer.answer = lambda sent: bench.queue.settling.failed(sent, failed(404))
        await asyncio.sleep(2)
        assert starts.of("/v1") == [0, 100, 200, 300, 400, 500]
        starts = Starts(bench)
        answering(bench)
        await bench.queue.admin.redrive(LetterFilter())
        await asyncio.sleep(2)
        assert starts.of("/v1") == [0, 100, 200, 300, 400, 500]
        await bench.stop()

    run(main)


def test_other_rules_count_for_what_waits() -> None:
    """A rule that appears holds what is in the lane, another rate is in force at once, and without
    a rule all go."""

    async def test(bench: Bench) -> None:
        starts = Starts(bench)
        await bench.queue.admin.hold("a.example")
        widen(bench)
        answering(bench)
        hand_in(bench, *names("v1", 40))
        await asyncio.sleep(0.05)
        change(bench, bound(1, period_s=3600))
        await bench.queue.admin.resume("a.example")
        await asyncio.sleep(10)
        assert len(starts.of("/v1")) <= 1
        change(bench, bound(10))
        await asyncio.sleep(1.05)
        assert 10 <= len(starts.of("/v1")) <= 12
        change(bench, bound(1, period_s=3600), bound(10, path="/v1/x"))
        await asyncio.sleep(60)
        assert len(starts.of("/v1")) <= 12
        change(bench)
        await asyncio.sleep(0.1)
        assert len(starts.of("/v1")) == 40
        await asyncio.sleep(0)
        assert not len(bench.queue.lines)

    simulate(test, rules=in_force())


def test_message_with_a_flow_key_keeps_both_bounds() -> None:
    """Its key lets it through first, then its rule."""

    async def test(bench: Bench) -> None:
        starts = Starts(bench)
        widen(bench)
        answering(bench)
        for path, key in (("v1", "f"), ("v1", "g"), ("v2", "f")):
            for n in range(4):
                sent = message(name=f"{path}/{key}{n}")
                sent.terms = Terms(flow_key=key, flow=parse_flow("rate=2/1s"))
                bench.accept(sent)
        await asyncio.sleep(30)
        assert len(bench.deliverer.started) == 12
        assert min(_gaps(starts.of("/v1"))) >= 999
        assert len(starts.of("/v1/f", "/v2/f")) == 8
        assert min(_gaps(starts.of("/v1/f", "/v2/f"))) >= 499

    simulate(test, rules=in_force(bound(1)))


def _gaps(times: list[int]) -> list[int]:
    return [after - before for before, after in pairwise(times)]


def flowing(path: str, flow: str) -> Message:
    """A message with the flow key f."""
    made = message(name=path)
    made.terms = Terms(flow_key="f", flow=parse_flow(flow))
    return made


def test_message_that_waits_for_its_rule_and_is_cancelled_leaves_its_flow_key() -> None:
    """It is in the line of its rule, and counted in its key's; both go on without it."""

    async def test(bench: Bench) -> None:
        widen(bench)
        sent = [flowing(f"v1/{n}", "parallelism=3") for n in range(5)]
        for one in sent:
            bench.accept(one)
        await asyncio.sleep(0.05)
        assert [one.target for one in bench.deliverer.flying] == ["/v1/0"]
        await bench.queue.admin.cancel(sent[1].wire_id.decode())
        await asyncio.sleep(0.05)
        for name in ("/v1/0", "/v1/2", "/v1/3", "/v1/4"):
            await asyncio.sleep(0.05)
            assert [one.target for one in bench.deliverer.flying] == [name]
            bench.end(bench.deliverer.flying[0])
        await asyncio.sleep(0.05)
        assert not bench.queue.pending.index.count
        assert not bench.queue.pending.has_lines

    simulate(test, rules=in_force(bound(most=1)))


@pytest.mark.parametrize("is_let_through", [False, True])
def test_flow_key_takes_back_what_its_rule_has(is_let_through: bool) -> None:
    """Less holds for a key: what was let through waits in its line again, whether its rule let it
    through too or not, and holds up nobody in that."""

    async def test(bench: Bench) -> None:
        widen(bench)
        for n in range(3):
            bench.accept(flowing(f"v1/{n}", "parallelism=3"))
        await asyncio.sleep(0.05)
        assert [one.target for one in bench.deliverer.flying] == ["/v1/0"]
        if is_let_through:
            await bench.queue.admin.hold("a.example")
            change(bench, bound(most=2))
            await asyncio.sleep(0.05)
        bench.accept(flowing("v2/0", "parallelism=1"))
        await asyncio.sleep(0.05)
        await bench.queue.admin.resume("a.example")
        hand_in(bench, "v1/free")
        await asyncio.sleep(0.05)
        flying = [one.target for one in bench.deliverer.flying]
        assert flying == (["/v1/0", "/v1/free"] if is_let_through else ["/v1/0"])
        for _ in range(5):
            for one in list(bench.deliverer.flying):
                bench.end(one)
            await asyncio.sleep(0.05)
        assert not bench.queue.pending.index.count
        assert not bench.queue.pending.has_lines

    simulate(test, rules=in_force(bound(most=1)))


def test_what_a_rule_lets_wait_is_explained() -> None:
    """With the rule, when it opens, and who is before."""

    async def test(bench: Bench) -> None:
        widen(bench)
        sent = hand_in(bench, *names("v1", 3), *names("v2", 3))
        await asyncio.sleep(0.05)
        found = await bench.queue.admin.explain(sent[2].wire_id.decode())
        assert found is not None
        assert found.reason is Reason.RATE_REACHED
        assert found.message == (
            "Its rule for a.example/v1 lets 1/h start at most; one message of its rule is before "
            "it, and 1 in flight."
        )
        assert found.until_us is not None
        found = await bench.queue.admin.explain(sent[5].wire_id.decode())
        assert found is not None
        assert found.reason is Reason.LIMIT_REACHED
        assert found.message == (
            "Its rule for a.example/v2 lets 1 run at once at most; one message of its rule is "
            "before it, and 1 in flight."
        )

    simulate(test, rules=in_force(bound(1, period_s=3600), bound(most=1, path="/v2")))


def test_many_that_are_let_go_at_once_leave_turns_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many wait for a rule that is taken away: some go, then others have their turn."""
    monkeypatch.setattr(lines_module, "_MOST_RELEASED", 3)

    async def test(bench: Bench) -> None:
        widen(bench)
        hand_in(bench, *names("v1", 9))
        await asyncio.sleep(0.05)
        lane = bench.queue.lanes.of(destination())
        assert lane.behind == 8
        change(bench)
        assert lane.behind == 5
        answering(bench)
        await asyncio.sleep(0.1)
        assert len(bench.deliverer.started) == 9

    simulate(test, rules=in_force(bound(1, period_s=3600)))
