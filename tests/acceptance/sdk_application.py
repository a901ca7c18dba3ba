"""An application of the SDK, as a process. What it has done is in the file STEPS, a line each."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import dispatcher.sdk as dispatch

STEPS = Path(os.environ["STEPS"])
GO = STEPS.with_name("go")


def note(word: str) -> str:
    """Do something that can be seen."""
    with STEPS.open("a") as steps:
        steps.write(f"{word}\n")
    return word


async def note_soon(word: str) -> str:
    """The same on the loop."""
    return note(word)


@dispatch.function
async def greet(name: str) -> str:
    note(f"greet {name}")
    return f"Hello, {name}!"


@dispatch.function
async def welcome(names: list[str]) -> list[str]:
    await dispatch.sleep(0.2)
    return await greet.gather(names)


@dispatch.function
async def held(word: str) -> str:
    """Ends when the test says so."""
    note(f"held {word}")
    while not GO.exists():  # noqa: ASYNC110  another process makes it
        await asyncio.sleep(0.01)
    return word


@dispatch.function
async def pipeline(word: str) -> list[str]:
    done = [await dispatch.step(note, f"first {word}")]
    done.append(await dispatch.step(note_soon, f"second {word}"))
    done.append(await held(word))
    done.append(await dispatch.step(note, f"last {word}"))
    return done


async def held_step(word: str) -> str:
    return await held.local(word)


@dispatch.function
async def once(word: str) -> str:
    try:
        return await dispatch.step.options(at_most_once=True)(held_step, word)
    except dispatch.CallError as error:
        return f"{error.type}: {word}"


@dispatch.function
def large(size: int) -> str:
    return "x" * size


@dispatch.function
async def reads(size: int) -> list[int]:
    first = await large(size)
    second = await held("reads")
    third = await large(size)
    return [len(first), len(second), len(third)]


@dispatch.function
async def long() -> None:
    try:
        await dispatch.sleep(3600)
    finally:
        await greet("cleanup")


@dispatch.function
async def fails(word: str) -> None:
    raise KeyError(word)


@dispatch.function
async def catches(word: str) -> str:
    try:
        await fails(word)
    except KeyError as error:
        return f"caught {error.args[0]}"
    return "nothing"


app = dispatch.Dispatch(greet, welcome, held, pipeline, once, large, reads, long, fails, catches)

if __name__ == "__main__":
    app.serve()
