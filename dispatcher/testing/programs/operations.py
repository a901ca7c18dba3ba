"""Kinds of nodes that are operations, and those that run their parts one after another."""

from __future__ import annotations

import asyncio

from dispatcher.sdk.replay.model import Kind
from dispatcher.testing.programs.node import Node
from dispatcher.testing.programs.stage import Failed, Played, Stage, understood


async def call(stage: Stage, node: Node) -> int:
    return await stage.perform(Kind.CALL, node.number)


async def step(stage: Stage, node: Node) -> int:
    return await stage.perform(Kind.STEP, node.number)


async def sleep(stage: Stage, node: Node) -> int:
    await stage.begin(Kind.SLEEP, node.number % 7)
    return node.number


async def nap(stage: Stage, node: Node) -> int:
    await asyncio.sleep(node.number % 7 / 2)
    return node.number


async def patch(stage: Stage, node: Node) -> int:
    answer = await stage.begin(Kind.PATCH, node.number, function=f"change{node.number % 2}")
    stage.see("patched", answer)
    return node.number


async def clock(stage: Stage, node: Node) -> int:
    """Recorded time and randomness reach the arguments of a call."""
    loop = stage.loop
    stage.see("clock", loop.time_us(), loop.time(), loop.random.random())
    return await stage.perform(Kind.CALL, 10 * loop.random.randrange(100) + 1)


async def together(stage: Stage, node: Node) -> int:
    """Calls of one gather of a function, without tasks."""
    group = object()
    begun = [stage.begin(Kind.CALL, node.number + i, group=group) for i in range(3)]
    return fold([understood(result) for result in await asyncio.gather(*begun)])


async def forgotten(stage: Stage, node: Node) -> int:
    """Nobody waits for the result."""
    stage.begin(Kind.CALL, node.number)
    return node.number


async def withdrawn(stage: Stage, node: Node) -> int:
    """Given up before it was sent, or right after; the next one must not get its record."""
    first = stage.begin(Kind.CALL, node.number)
    if node.number % 2:
        await asyncio.sleep(0)
    stage.loop.cancel(first)
    return await stage.perform(Kind.CALL, node.number + 1)


async def sequence(stage: Stage, node: Node) -> int:
    return fold([await stage.play(part) for part in node.parts])


async def attempt(stage: Stage, node: Node) -> int:
    """`try`, `except`, and what comes after it."""
    try:
        return await play_all(stage, node)
    except (Failed, TimeoutError, ExceptionGroup) as error:
        stage.see("caught", shown(error))
        return await stage.perform(Kind.CALL, 10 * node.number + 1)


async def repeated(stage: Stage, node: Node) -> int:
    return fold([await play_all(stage, node) for _ in range(1 + node.number % 3)])


async def play_all(stage: Stage, node: Node) -> int:
    return fold([await stage.play(part) for part in node.parts])


def fold(values: list[int]) -> int:
    """One number that depends on every value and on their order."""
    folded = 7
    for value in values:
        folded = (folded * 31 + value) % 9973
    return folded


def shown(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return f"{type(error).__name__}({', '.join(shown(inner) for inner in error.exceptions)})"
    return f"{type(error).__name__}({error})"


KINDS: dict[str, Played] = {
    "call": call,
    "step": step,
    "sleep": sleep,
    "nap": nap,
    "patch": patch,
    "clock": clock,
    "together": together,
    "forgotten": forgotten,
    "withdrawn": withdrawn,
    "sequence": sequence,
    "attempt": attempt,
    "repeated": repeated,
}
