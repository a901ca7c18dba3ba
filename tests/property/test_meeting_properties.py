"""Keys keep meeting over any sequence of numbers of partitions: an order key's messages go one at a
time and in the order of their 202s, one idempotency key makes one message, and nothing is lost."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.core.message import Message
from dispatcher.core.terms import Terms
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run
from dispatcher.testing.queue import Receipts, destination
from dispatcher.testing.spread import SpreadNode
from tests.effort import times

PLACES = [destination(f"{name}.example") for name in "abcd"]

sends = st.tuples(
    st.just("send"),
    st.integers(0, len(PLACES) - 1),
    st.sampled_from(["", "o", "p"]),
    st.sampled_from(["", "i", "j"]),
)
steps = st.lists(
    st.one_of(
        st.lists(sends, min_size=1, max_size=4),
        st.tuples(st.just("end"), st.integers(0, 7)),
        st.tuples(st.just("start"), st.integers(1, 4)),
    ),
    max_size=30,
)


class Model:
    """What was accepted, and what may start."""

    def __init__(self) -> None:
        self.waiting: dict[tuple[int, str], list[str]] = {}
        self.flying: set[str] = set()
        self.sent: dict[str, tuple[int, str]] = {}
        self.ids: dict[tuple[int, str], bytes] = {}
        self.left: set[str] = set()

    def started(self, message: Message) -> None:
        """An attempt starts: nobody before it with its order key is left."""
        name = message.target.removeprefix("/")
        line = self.waiting.get(self.sent[name], [])
        assert not line or line[0] == name, f"{name} overtook {line}"

    def stored(self, name: str, place: int, order: str, key: str, message: Message) -> None:
        """It was answered 202."""
        self.left.add(name)
        if key:
            assert (place, key) not in self.ids, "one key made two messages"
            self.ids[place, key] = message.wire_id

    def ended(self, name: str) -> None:
        """It was delivered."""
        self.left.remove(name)
        line = self.waiting.get(self.sent[name], [])
        if name in line:
            line.remove(name)


async def live(clock: SimulatedClock, program: list[object]) -> None:
    node, model, count = SpreadNode(clock), Model(), 0
    node.on_start = model.started
    await node.start(1)
    for step in program:
        if isinstance(step, list):
            burst: list[tuple[str, int, str, str, Receipts.One]] = []
            for _, place, order, key in step:
                name = f"m{count}"
                count += 1
                is_new = not key or (place, key) not in model.ids
                is_new = is_new and not any(key and (place, key) == one[1:4:2] for one in burst)
                model.sent[name] = (place, order)
                if order and is_new:
                    model.waiting.setdefault((place, order), []).append(name)
                terms = Terms(order_key=order, idempotency_key=key) if order or key else None
                burst.append((name, place, order, key, node.send(PLACES[place], name, terms)))
            await asyncio.sleep(0.5)
            for name, place, order, key, receipt in burst:
                if isinstance(receipt.answer, Message):
                    model.stored(name, place, order, key, receipt.answer)
                else:
                    assert receipt.answer == model.ids[place, key], receipt.answer
        elif step[0] == "end":  # type: ignore[index]
            holding = node.holding()
            if holding:
                bench, one = holding[step[1] % len(holding)]  # type: ignore[index]
                model.ended(one.target.removeprefix("/"))
                bench.end(one)
                await asyncio.sleep(0.5)
        else:
            await node.stop()
            await node.start(step[1])  # type: ignore[index]
            await asyncio.sleep(0.5)
    while holding := node.holding():
        for bench, one in holding:
            model.ended(one.target.removeprefix("/"))
            bench.end(one)
        await asyncio.sleep(1)
    assert not model.left, "what is left was lost"
    await node.stop()


@settings(deadline=None, max_examples=times(20))
@given(steps)
def test_keys_keep_meeting_whatever_the_numbers_of_partitions(program: list[object]) -> None:
    """Also where messages come at once, and where those of a key wait in a partition of before."""
    run(lambda clock: live(clock, program))
