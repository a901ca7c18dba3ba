"""Two processes are as one: whatever messages come to which of them, and whenever the link between
them breaks, what is delivered is what one process would have, and callers are told the truth."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.core.message import Message
from dispatcher.queue.refusals import MOVED, NO_VERDICT
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run
from dispatcher.testing.peered import Process, keyed, peered, place_in
from dispatcher.testing.peers import Network
from dispatcher.testing.queue import Receipts
from tests.effort import times


@dataclass(frozen=True, slots=True)
class Send:
    """A message comes to a process, for one of four places."""

    process: int
    place: int
    key: str
    is_idempotent: bool


@dataclass(frozen=True, slots=True)
class Cut:
    """The link breaks when one side has sent so many bytes more, and is away for some time."""

    side: int
    passes: int
    away_s: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Time passes."""

    seconds: float


Step = Send | Cut | Wait
sends = st.builds(Send, st.integers(0, 1), st.integers(0, 3), st.sampled_from("kl"), st.booleans())
cuts = st.builds(Cut, st.integers(0, 1), st.integers(0, 900), st.sampled_from([0, 0.3, 1.5, 3]))
waits = st.builds(Wait, st.sampled_from([0, 0.01, 0.1, 1]))


@dataclass(slots=True)
class Sent:
    """A message that came, and what was said of it."""

    step: Send
    name: str
    receipt: Receipts.One


@dataclass(slots=True)
class World:
    """Both processes, and what came to them."""

    processes: tuple[Process, Process]
    network: Network
    has_changed: bool
    """Whether there was one partition before, in which two keys lie of each place."""
    sent: list[Sent] = field(default_factory=list)

    async def begin(self) -> None:
        """Have some messages be there from before."""
        for place in range(4) if self.has_changed else ():
            to = place_in(place % 2, place)
            self.processes[0].bench.accept(keyed(to, f"before{place}", order_key="k"))
            self.processes[0].bench.accept(keyed(to, f"{place}-k", idempotency_key="k"))
        await asyncio.sleep(0.1)

    async def do(self, step: Step) -> None:
        if isinstance(step, Wait):
            await asyncio.sleep(step.seconds)
        elif isinstance(step, Cut):
            for pair in self.network.pairs:
                pair.ends[step.side].passes = step.passes
            if step.away_s:
                self.network.is_down = True
                asyncio.get_running_loop().call_later(step.away_s, self._up)
        else:
            self._send(step)

    def _up(self) -> None:
        self.network.is_down = False

    def _send(self, step: Send) -> None:
        to = place_in(step.place % 2, step.place)
        name = f"{step.place}-{step.key}" if step.is_idempotent else str(len(self.sent))
        terms = {"idempotency_key" if step.is_idempotent else "order_key": step.key}
        receipt = self.processes[step.process].accept(keyed(to, name, b"hello", **terms))
        self.sent.append(Sent(step, name, receipt))

    def check(self) -> None:
        """Look at what was said and delivered."""
        delivered = [(one.number, name[1:]) for one in self.processes for name in one.delivered]
        assert len({*delivered}) == len(delivered), "twice"
        by_name = {name: number for number, name in delivered}
        for one in self.sent:
            answer = one.receipt.answer
            assert answer is not None, "no answer"
            if isinstance(answer, (Message, bytes)):
                wanted = one.step.place % 2
                if self.has_changed and one.step.key == "k":
                    wanted = 0
                assert by_name[one.name] == wanted, "lost, or in another partition"
            else:
                assert answer in (MOVED, NO_VERDICT), answer
                if answer == MOVED and not one.step.is_idempotent:
                    assert one.name not in by_name, "refused, and delivered"
        self._check_keys(by_name)
        self._check_order(delivered)

    def _check_keys(self, by_name: dict[str, int]) -> None:
        ids: dict[str, set[bytes]] = {}
        for one in self.sent:
            answer = one.receipt.answer
            if one.step.is_idempotent and isinstance(answer, (Message, bytes)):
                message_id = answer if isinstance(answer, bytes) else answer.wire_id
                ids.setdefault(one.name, set()).add(message_id)
        assert all(len(found) == 1 for found in ids.values()), "two messages with one key"

    def _check_order(self, delivered: list[tuple[int, str]]) -> None:
        """Of those that one process was given for a key, those that were accepted go in order."""
        place = {name: at for at, (_, name) in enumerate(delivered)}
        for process in range(2):
            for where in range(4):
                for key in "kl":
                    names = [
                        one.name
                        for one in self.sent
                        if one.step == Send(process, where, key, is_idempotent=False)
                        and isinstance(one.receipt.answer, Message)
                    ]
                    at = [place[name] for name in names]
                    assert at == sorted(at), "out of order"


@settings(max_examples=times(50))
@given(
    st.lists(st.one_of(sends, sends, sends, cuts, waits), max_size=40),
    st.integers(),
    st.booleans(),
)
def test_two_processes_are_as_one_whatever_becomes_of_their_link(
    steps: list[Step], seed: int, has_changed: bool
) -> None:
    """Nothing that was accepted is lost or delivered twice, a key makes one message, orders are
    kept, and what was refused is not delivered."""

    async def main(clock: SimulatedClock) -> None:
        async with peered(clock, [1] if has_changed else []) as (zero, one, network):
            chance = random.Random(seed)

            def cut(data: bytes) -> list[bytes]:
                at = chance.randint(0, len(data))
                return [data[:at], data[at:]]

            network.pieces = cut
            world = World((zero, one), network, has_changed)
            await world.begin()
            for step in steps:
                await world.do(step)
            await asyncio.sleep(10)
            zero.deliver()
            one.deliver()
            await asyncio.sleep(60)
            world.check()

    run(main)


@settings(max_examples=times(40))
@given(st.lists(sends, max_size=40))
def test_without_a_loss_each_message_is_answered_as_one_process_would(steps: list[Send]) -> None:
    """Every message is accepted, or a duplicate of the first with its key."""

    async def main(clock: SimulatedClock) -> None:
        async with peered(clock) as (zero, one, network):
            world = World((zero, one), network, has_changed=False)
            seen: set[str] = set()
            for step in steps:
                await world.do(step)
                await asyncio.sleep(0.1)
                last = world.sent[-1]
                is_new = not step.is_idempotent or last.name not in seen
                seen.add(last.name)
                assert isinstance(last.receipt.answer, Message if is_new else bytes)
            zero.deliver()
            one.deliver()
            await asyncio.sleep(60)
            world.check()
            assert len(zero.delivered) + len(one.delivered) == len({one.name for one in world.sent})

    run(main)
