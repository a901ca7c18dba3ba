"""An application written with the real SDK, dispatch-py 0.8.0: run in an environment of its own.

`POST /start/FUNCTION` with a JSON list of arguments dispatches a call of it and answers its id. The
lines of the file `STEPS` say which bodies ran: they outlive the process.

`BUILD` makes this another interpreter than one with another `BUILD`: the SDK compares versions
before it reads a state. With `STATES` its states are always of another one.
"""

# mypy: ignore-errors
# The SDK is not installed where the types are checked.
# ruff: noqa: E402

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

sys.version += os.environ.get("BUILD", "")  # before the SDK looks

import dispatch
import uvicorn
from dispatch.asyncio.fastapi import Dispatch
from dispatch.error import PermanentError, ThrottleError
from fastapi import FastAPI, Request

sys.version += os.environ.get("STATES", "")  # after it looked: states say what it is now

STEPS = Path(os.environ["STEPS"])
web = FastAPI()
application = Dispatch(web)


def step(name: str) -> int:
    """Note that a body ran; how often it has now."""
    with STEPS.open("a") as file:
        file.write(f"{name}\n")
    return STEPS.read_text().splitlines().count(name)


@application.function
async def add(a: int, b: int) -> int:
    step(f"add {a} {b}")
    return a + b


@application.function
async def slow(name: str, seconds: float) -> str:
    step(f"slow {name}")
    await asyncio.sleep(seconds)
    return name


@application.function
async def throttled(name: str, times: int) -> str:
    if step(f"throttled {name}") <= times:
        raise ThrottleError("not so fast")
    return name


@application.function
async def broken(name: str) -> None:
    step(f"broken {name}")
    raise PermanentError(f"no {name}")


@application.function
async def one_after_another(count: int) -> int:
    total = 0
    for number in range(count):
        total = await add(total, number)
    return total


@application.function
async def at_once(count: int) -> list[int]:
    return await dispatch.gather(*(add(number, 1) for number in range(count)))


@application.function
async def nested(depth: int) -> int:
    return 1 + await nested(depth - 1) if depth else 0


@application.function
async def catches(name: str) -> str:
    try:
        await broken(name)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


@application.function
async def first_of(name: str) -> str:
    return await dispatch.any(broken(name), slow(name, 0.05))


@application.function
async def winner(name: str) -> str:
    return await dispatch.race(slow(f"{name} fast", 0.0), slow(f"{name} late", 1.5))


@application.function
async def countdown(left: int, total: int) -> int:
    step(f"countdown {left}")
    if left:
        raise dispatch.Reset(countdown, left - 1, total + left)
    return total


@application.function
async def pipeline(name: str) -> str:
    first = await slow(f"{name} 1", 0.3)
    second = await slow(f"{name} 2", 0.3)
    third = await slow(f"{name} 3", 0.3)
    return f"{first}, {second}, {third}"


@application.function
async def published(name: str) -> str:
    step(f"published {name}")
    await slow(f"{name} 1", 0.0)
    await dispatch.gather(slow(f"{name} 2", 0.5), throttled(f"{name} waits", 1000))
    return f"{name}, as it was"


@application.function
async def approved(name: str) -> str:
    step(f"approved {name}")
    person = dispatch.Call(function="approval", endpoint=f"promise:{name}")
    return f"{name}: {await dispatch.call(person)}"


@application.function
async def calls(name: str, endpoint: str, value: Any) -> Any:
    call = dispatch.Call(function=name, endpoint=endpoint, input=value)
    return await dispatch.call(call)


@application.function
async def catches_of(name: str, endpoint: str, value: Any) -> str:
    call = dispatch.Call(function=name, endpoint=endpoint, input=value)
    try:
        await dispatch.call(call)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


@web.post("/start/{name}")
async def start(name: str, request: Request) -> dict:
    """Dispatch one call."""
    arguments = await request.json()
    return {"id": await globals()[name].dispatch(*arguments)}


@web.post("/batch/{name}")
async def start_many(name: str, request: Request) -> dict:
    """Dispatch many, in one batch."""
    batch = application.batch()
    for arguments in await request.json():
        batch.add(globals()[name], *arguments)
    return {"ids": await batch.dispatch()}


@web.post("/await/{name}")
async def call(name: str, request: Request) -> dict:
    """Dispatch one call, and wait for its result in this process, as the SDK does it."""
    return {"result": await globals()[name](*await request.json())}


if __name__ == "__main__":
    host, _, port = os.environ["DISPATCH_ENDPOINT_ADDR"].rpartition(":")
    uvicorn.run(web, host=host, port=int(port), log_level="warning")
