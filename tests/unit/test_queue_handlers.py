"""Whose word it is what an outcome means: that of the handler of the message's kind."""

from __future__ import annotations

import asyncio

from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult
from dispatcher.core.verdict import DeadReason, Delivered, Verdict
from dispatcher.queue.lanes.lanes import Lane
from dispatcher.testing.queue import Bench, message, simulate


class Other:
    """A handler that writes down what it is told, and then does as another one."""

    def __init__(self, bench: Bench) -> None:
        self.plain = bench.queue.plain
        self.ends: list[tuple[str, type[Verdict]]] = []

    def ended(
        self, message: Message, lane: Lane, verdict: Verdict, result: AttemptResult | None
    ) -> None:
        """See `Handler`."""
        self.ends.append((message.target, type(verdict)))
        self.plain.ended(message, lane, verdict, result)

    def give_up(self, message: Message, result: AttemptResult, reason: DeadReason) -> None:
        """See `Handler`."""
        self.plain.give_up(message, result, reason)


def test_outcome_is_for_the_handler_of_the_kind_of_message() -> None:
    """Messages of several kinds wait in one lane, and each has its own."""

    async def test(bench: Bench) -> None:
        other = Other(bench)
        bench.queue.settling._handlers = (bench.queue.plain, other)
        for number in range(4):
            sent = message(name=str(number))
            sent.kind = number % 2
            bench.accept(sent)
        bench.deliverer.answer = lambda sent: bench.queue.settling.delivered(sent, 200)
        await asyncio.sleep(1)
        assert other.ends == [("/1", Delivered), ("/3", Delivered)]
        assert bench.queue.figures.delivered_total == 4

    simulate(test)
