"""Kinds of nodes that run their parts at the same time, or limit their time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from dispatcher.sdk.replay.model import Kind
from dispatcher.testing.programs.node import Node
from dispatcher.testing.programs.operations import fold, play_all, shown
from dispatcher.testing.programs.stage import Failed, Played, Stage


async def gather(stage: Stage, node: Node) -> int:
    return fold(list(await asyncio.gather(*begun(stage, node))))


async def gather_all(stage: Stage, node: Node) -> int:
    """With errors among the results."""
    ended = await asyncio.gather(*begun(stage, node), return_exceptions=True)
    stage.see("ended", *(shown(one) for one in ended if isinstance(one, BaseException)))
    return fold([one for one in ended if isinstance(one, int)])


async def group(stage: Stage, node: Node) -> int:
    """A TaskGroup; whoever is cancelled in it says so, in the order of cancelling."""
    async with asyncio.TaskGroup() as tasks:
        made = [tasks.create_task(_heard(stage, part, i)) for i, part in enumerate(node.parts)]
    return fold([task.result() for task in made])


async def first(stage: Stage, node: Node) -> int:
    """`wait` for the first; the others are cancelled in the order of the set they are in."""
    tasks = [asyncio.create_task(_heard(stage, part, i)) for i, part in enumerate(node.parts)]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    return fold([outcome(task) for task in done])


async def wait_all(stage: Stage, node: Node) -> int:
    tasks = {asyncio.create_task(stage.play(part)) for part in node.parts}
    done, _ = await asyncio.wait(tasks, timeout=30 + node.number)
    return fold([outcome(task) for task in done])


async def as_completed(stage: Stage, node: Node) -> int:
    """In the order in which they end, each with a call that follows it."""
    values = []
    for ended in asyncio.as_completed(begun(stage, node)):
        try:
            values.append(await ended)
        except Failed as error:
            stage.see("completed", shown(error))
        values.append(await stage.perform(Kind.CALL, 10 * len(values) + 1))
    return fold(values)


async def cancel(stage: Stage, node: Node) -> int:
    """The first part is cancelled once the second is through."""
    task = asyncio.create_task(_heard(stage, node.parts[0], 0))
    value = await stage.play(node.parts[1])
    task.cancel()
    ended = await asyncio.gather(task, return_exceptions=True)
    stage.see("cancelled", *map(repr, ended))
    return value


async def background(stage: Stage, node: Node) -> int:
    """The first part in a task that nobody keeps."""
    asyncio.create_task(_quiet(stage, node.parts[0]))  # noqa: RUF006 - the loop keeps it
    return await stage.play(node.parts[1])


async def shield(stage: Stage, node: Node) -> int:
    inner = asyncio.ensure_future(play_all(stage, node))
    try:
        async with asyncio.timeout(node.number % 5):
            return await asyncio.shield(inner)
    except TimeoutError:
        stage.see("shielded")
        return await inner


async def timeout(stage: Stage, node: Node) -> int:
    try:
        async with asyncio.timeout(node.number % 9 / 2):
            return await play_all(stage, node)
    except TimeoutError:
        stage.see("timeout", stage.loop.time_us())
        return node.number


async def moved_timeout(stage: Stage, node: Node) -> int:
    """Moved before it has come."""
    async with asyncio.timeout(None) as limit:
        limit.reschedule(stage.loop.time() + 3 + node.number % 5)
        value = await stage.play(node.parts[0])
        limit.reschedule(None)
    return value


async def wait_for(stage: Stage, node: Node) -> int:
    try:
        return await asyncio.wait_for(play_all(stage, node), node.number % 9 / 2)
    except TimeoutError:
        stage.see("wait_for", stage.loop.time_us())
        return node.number


def begun(stage: Stage, node: Node) -> list[Coroutine[Any, Any, int]]:
    return [stage.play(part) for part in node.parts]


def outcome(task: asyncio.Task[int]) -> int:
    error = None if task.cancelled() else task.exception()
    return -1 if task.cancelled() or error else task.result()


async def _heard(stage: Stage, node: Node, i: int) -> int:
    try:
        return await stage.play(node)
    except asyncio.CancelledError:
        stage.see("heard", i)
        raise


async def _quiet(stage: Stage, node: Node) -> None:
    try:
        stage.see("background", await stage.play(node))
    except (Failed, TimeoutError, ExceptionGroup) as error:
        stage.see("background", shown(error))


KINDS: dict[str, Played] = {
    "gather": gather,
    "gather_all": gather_all,
    "group": group,
    "first": first,
    "wait_all": wait_all,
    "as_completed": as_completed,
    "cancel": cancel,
    "background": background,
    "shield": shield,
    "timeout": timeout,
    "moved_timeout": moved_timeout,
    "wait_for": wait_for,
}
