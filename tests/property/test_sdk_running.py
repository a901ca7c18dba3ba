"""Durable functions with steps, run by applications that crash, for servers that repeat themselves.

Whatever happens between a request and its answer, the result is that of a run without it. A step
runs again only where its result was lost before it was stored.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.protocol.connect import Code, ConnectError
from dispatcher.protocol.messages import RunResponse
from dispatcher.sdk.replay.loop import running
from dispatcher.sdk.replay.model import INTENT, Failure, Kind, Operation, Value
from dispatcher.sdk.running import parts
from dispatcher.sdk.running.runner import Runner
from dispatcher.testing.runnables import (
    ALL,
    NOW_US,
    Asking,
    FakeRunnable,
    calls,
    does,
    returned,
    runner,
    sleeps,
)
from tests.effort import times

Node = tuple[str, object]
"""What a body does: a call, a step, a sleep, several of these in order or at once."""

LEAVES = st.one_of(
    st.tuples(st.just("call"), st.integers(0, 9)),
    st.tuples(st.just("fail"), st.integers(0, 9)),
    st.tuples(st.just("step"), st.integers(0, 9)),
    st.tuples(st.just("bad step"), st.integers(0, 9)),
    st.tuples(st.just("once"), st.integers(0, 9)),
    st.tuples(st.just("sleep"), st.integers(1, 3)),
    st.tuples(st.just("limited"), st.integers(1, 3)),
)
NODES: st.SearchStrategy[Node] = st.recursive(
    LEAVES,
    lambda inner: st.tuples(st.sampled_from(("seq", "par")), st.lists(inner, max_size=4)),
    max_leaves=10,
)


@dataclass
class World:
    """What steps did, and the time."""

    steps: Counter[int] = field(default_factory=Counter)
    claimed: set[str] = field(default_factory=set)
    now_us: int = NOW_US

    def body(self, node: Node) -> Callable[[], object]:
        """A function that does what the node says."""
        numbers = iter(range(1000))
        named = name(node, numbers)

        async def body() -> object:
            return await self.do(named)

        return body

    async def do(self, node: Node) -> object:
        kind, what = node
        match kind, what:
            case "call" | "fail", int():
                return await caught(calls(kind, what))
            case "step" | "bad step", int():
                return await caught(does(self.step(kind, what)))
            case "once", int():
                return await caught(self.once(what))
            case "sleep", int():
                await sleeps(what)
                return None
            case "limited", int():
                try:
                    async with asyncio.timeout(what):
                        await calls("never")
                except TimeoutError:
                    return "late"
            case "seq", list():
                return [await self.do(one) for one in what]
            case "par", list():
                return await asyncio.gather(*map(self.do, what))
        raise AssertionError(node)

    async def once(self, number: int) -> object:
        """A step that is to run once at most, as the functions of the SDK make one."""
        loop = running()
        assert loop is not None
        intent = await loop.perform(Operation(Kind.STEP, "step", "app.py:4", carrier=INTENT))
        assert isinstance(intent, Value)
        return await does(self.step("step", number), intent=intent)

    async def claim(self, word: str) -> bool:
        """What a server answers who claims this word."""
        await asyncio.sleep(0)
        is_free = word not in self.claimed
        self.claimed.add(word)
        return is_free

    def step(self, kind: str, number: int) -> Callable[[], object]:
        async def step() -> object:
            await asyncio.sleep(0)
            self.steps[number] += 1
            if kind == "bad step":
                raise ValueError(str(number))
            return f"did {number}"

        return step


def name(node: Node, numbers: object) -> Node:
    """The same, and each leaf has a number of its own."""
    kind, what = node
    if isinstance(what, list):
        return kind, [name(one, numbers) for one in what]
    return (kind, what) if kind in ("sleep", "limited") else (kind, next(numbers))  # type: ignore[call-overload]


async def caught(what: object) -> object:
    try:
        return await what  # type: ignore[misc]  # it can be awaited
    except RuntimeError as error:
        return str(error)


def expected(node: Node, found: object) -> object:
    """What the function returns. Of a step that is to run once it may be that nobody knows."""
    kind, what = node
    match kind, what:
        case "once", _:
            is_known = not str(found).startswith("Interrupted: ")
            return f"did {what}" if is_known else found
        case "call", _:
            return f"called {what}"
        case "fail", _:
            return f"Failed: {what}"
        case "step", _:
            return f"did {what}"
        case "bad step", _:
            return f"ValueError: {what}"
        case "sleep", _:
            return None
        case "limited", _:
            return "late"
        case _, list() if isinstance(found, list) and len(found) == len(what):
            return [expected(*both) for both in zip(what, found, strict=True)]
        case _:
            return None


def steps_in(node: Node, *kinds: str) -> set[int]:
    """The numbers of its steps of these kinds."""
    kind, what = node
    if isinstance(what, list):
        return set().union(*(steps_in(one, *kinds) for one in what))
    return {what} if kind in kinds and isinstance(what, int) else set()


class Server:
    """Runs one call on two applications until it ends. `random` says what goes wrong."""

    def __init__(
        self, world: World, node: Node, random: Random, *, features: frozenset[str], loses: bool
    ) -> None:
        self.world = world
        self.node = node
        self.random = random
        self.features = features
        self.loses = loses
        self.hosts = [self.host(), self.host()]
        self.asking = Asking(self.hosts[0], "body", features)
        self.results: dict[int, object] = {}
        self.outstanding: dict[int, object] = {}
        self.made: set[int] = set()

    def host(self) -> Runner:
        function = FakeRunnable(self.world.body(self.node), durable=True)
        return runner(
            function,
            warm=self.random.choice((0, 1, 100)),
            now_us=lambda: self.world.now_us,
            claim=self.world.claim,
        )

    async def run(self) -> object:
        """Until it ends; what it returned."""
        response = await self.asked(self.asking.first)
        for _ in range(1000):
            if not response.HasField("poll"):
                return returned(response)
            self.take(response)
            response = await self.resumed()
        raise AssertionError("it does not end")

    def take(self, response: RunResponse) -> None:
        poll = response.poll
        for id in poll.cancel:
            self.outstanding.pop(id, None)
            self.results.pop(id, None)
        for call in poll.calls:
            assert call.correlation_id not in self.made
            self.made.add(call.correlation_id)
            number = int(_number(call.input.value)) if call.function != "never" else 0
            if call.function == "call":
                self.outstanding[call.correlation_id] = f"called {number}"
            elif call.function == "fail":
                self.outstanding[call.correlation_id] = Failure("Failed", str(number))
        ready = self.random.sample(
            sorted(self.outstanding), self.random.randint(0, len(self.outstanding))
        )
        if not ready and self.outstanding and not poll.HasField("max_wait"):
            ready = self.random.sample(sorted(self.outstanding), 1)
        for id in ready:
            self.results[id] = self.outstanding.pop(id)
        if not self.results and poll.HasField("max_wait"):
            self.world.now_us += poll.max_wait.seconds * 10**6 + poll.max_wait.nanos // 1000

    async def resumed(self) -> RunResponse:
        asking, results = self.asking, self.results
        self.results = {}
        self.disturb()
        if "state-ref" in self.features and self.random.random() < 0.5:
            try:
                return await self.asked(lambda: asking.resume(results, by_nonce=True), tries=1)
            except ConnectError as error:
                if error.code is not Code.FAILED_PRECONDITION:
                    raise
        return await self.asked(lambda: asking.resume(results))

    async def asked(self, ask: Callable[[], object], *, tries: int = 3) -> RunResponse:
        """The answer; those before it may be lost, or asked for twice at once."""
        asking = self.asking
        state = asking.state, asking.nonce
        for _ in range(tries - 1):
            if not self.loses or self.random.random() < 0.6:
                break
            asking.state, asking.nonce = state
            await ask()  # type: ignore[misc]  # it is a coroutine
            if self.random.random() < 0.3:
                await asyncio.gather(asking.again(), asking.again())
            self.disturb()
        asking.state, asking.nonce = state
        return await ask()  # type: ignore[misc, no-any-return]  # likewise

    def disturb(self) -> None:
        """A crash, an eviction, or another process goes on."""
        which = self.random.randrange(2)
        match self.random.randrange(4):
            case 0:
                self.hosts[which] = self.host()
            case 1:
                self.hosts[which].close()
            case 2:
                self.hosts[which].forget_answers()
        self.asking.runner = self.random.choice(self.hosts)


def _number(data: bytes) -> int:
    from dispatcher.protocol.messages import Int64Value

    return int(Int64Value.FromString(data).value)


@pytest.mark.parametrize("loses", [False, True])
@settings(max_examples=times(20), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    node=NODES,
    seed=st.integers(0, 2**32),
    extends=st.booleans(),
    most=st.sampled_from((1, 2, parts.MOST_CALLS)),
)
def test_a_function_returns_what_it_returns_without_crashes(
    loses: bool, node: Node, seed: int, extends: bool, most: int
) -> None:
    """Crashes at any activation, two processes, states by nonce, whole or appended, few calls in an
    answer; and answers that are lost. No call is made twice. Where no answer is lost each step runs
    once; one that says so never runs twice."""

    async def run() -> None:
        world = World()
        features = ALL if extends else frozenset()
        server = Server(world, node, Random(seed), features=features, loses=loses)
        named = name(node, iter(range(1000)))
        found = await server.run()
        assert found == expected(named, found)
        assert set(world.steps) >= steps_in(named, "step", "bad step")
        assert all(world.steps[number] <= 1 for number in steps_in(named, "once"))
        if not loses:
            assert set(world.steps.values()) <= {1}
            assert set(world.steps) == steps_in(named, "step", "bad step", "once")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "MOST_CALLS", most)
        asyncio.run(run())
