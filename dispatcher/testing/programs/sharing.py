"""Kinds of nodes whose parts wait for each other: locks, queues, events; and generators."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

from dispatcher.sdk.replay.model import Kind
from dispatcher.testing.programs.node import Node
from dispatcher.testing.programs.operations import fold, play_all, shown
from dispatcher.testing.programs.stage import Failed, Played, Stage

_depth: contextvars.ContextVar[int] = contextvars.ContextVar("depth", default=0)


async def semaphore(stage: Stage, node: Node) -> int:
    limit = asyncio.Semaphore(1 + node.number % 2)

    async def limited(part: Node) -> int:
        async with limit:
            return await stage.play(part)

    return fold(list(await asyncio.gather(*(limited(part) for part in node.parts))))


async def queue(stage: Stage, node: Node) -> int:
    """Two workers take parts from a queue, until each has got its end."""
    parts: asyncio.Queue[Node | None] = asyncio.Queue(1 + node.number % 2)
    values: list[int] = []

    async def work() -> None:
        while (part := await parts.get()) is not None:
            with contextlib.suppress(Failed, TimeoutError, ExceptionGroup):
                values.append(await stage.play(part))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(work())
        tasks.create_task(work())
        for part in (*node.parts, None, None):
            await parts.put(part)
    return fold(values)


async def event(stage: Stage, node: Node) -> int:
    """The other parts begin once the first is through, whatever became of it."""
    through = asyncio.Event()

    async def opening() -> int:
        try:
            return await stage.play(node.parts[0])
        finally:
            through.set()

    async def waiting(part: Node) -> int:
        await through.wait()
        return await stage.play(part)

    rest = (waiting(part) for part in node.parts[1:])
    return fold(list(await asyncio.gather(opening(), *rest)))


async def callback(stage: Stage, node: Node) -> int:
    """A future of the body's own, set from a timer, and a callback at it."""
    loop = stage.loop
    future: asyncio.Future[int] = loop.create_future()
    future.add_done_callback(lambda done: stage.see("done", done.cancelled()))
    timer = loop.call_later(node.number % 3, _set, future, node.number)
    try:
        return await future
    finally:
        timer.cancel()


async def ensured(stage: Stage, node: Node) -> int:
    """`finally` that waits, also when cancelled."""
    try:
        return await play_all(stage, node)
    finally:
        stage.see("finally", await stage.perform(Kind.CALL, 10 * node.number + 1))


async def late_cancel(stage: Stage, node: Node) -> int:
    """Whoever is cancelled makes one more call before it goes."""
    try:
        return await play_all(stage, node)
    except asyncio.CancelledError:
        stage.see("going", await stage.perform(Kind.CALL, 10 * node.number + 2))
        raise


async def stubborn(stage: Stage, node: Node) -> int:
    """Swallows whatever it is told, and goes on."""
    values = [0]
    for part in node.parts:
        try:
            values.append(await stage.play(part))
        except BaseException as error:
            stage.see("swallowed", shown(error))
    return fold(values)


async def generator(stage: Stage, node: Node) -> int:
    """Broken off after so many items; what is in its `finally` runs in a task of the loop."""
    values: list[int] = []
    items = _items(stage, node)
    async for value in items:
        values.append(value)
        if len(values) > node.number % 3:
            break
    if node.number % 2:
        await items.aclose()
    return fold(values)


async def managed(stage: Stage, node: Node) -> int:
    async with _opened(stage, node.number):
        return await play_all(stage, node)


async def nested(stage: Stage, node: Node) -> int:
    """Context variables belong to the task that set them; closures keep what they saw."""
    token = _depth.set(_depth.get() + 1)
    try:
        values = [await inner() for inner in [_closed(stage, part) for part in node.parts]]
        stage.see("depth", _depth.get())
        return fold(values)
    finally:
        _depth.reset(token)


def _set(future: asyncio.Future[int], number: int) -> None:
    if not future.done():
        future.set_result(number)


async def _items(stage: Stage, node: Node) -> AsyncGenerator[int, None]:
    try:
        for part in node.parts:
            yield await stage.play(part)
    finally:
        stage.see("closing", await stage.perform(Kind.CALL, 10 * node.number + 3))


@contextlib.asynccontextmanager
async def _opened(stage: Stage, number: int) -> AsyncIterator[None]:
    stage.see("open", await stage.perform(Kind.CALL, 10 * number + 1))
    try:
        yield
    finally:
        stage.see("close", await stage.perform(Kind.STEP, 10 * number + 1))


def _closed(stage: Stage, node: Node) -> Callable[[], Awaitable[int]]:
    async def inner() -> int:
        return await stage.play(node)

    return inner


KINDS: dict[str, Played] = {
    "semaphore": semaphore,
    "queue": queue,
    "event": event,
    "callback": callback,
    "ensured": ensured,
    "late_cancel": late_cancel,
    "stubborn": stubborn,
    "generator": generator,
    "managed": managed,
    "nested": nested,
}
