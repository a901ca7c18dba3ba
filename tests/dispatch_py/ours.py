"""An application written with this SDK, which calls the functions of one written with dispatch-py
(`application.py`), at `THEIRS`, and is called by it. `STEPS` as there."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

import dispatcher.sdk as dispatch

_THEIRS = os.environ["THEIRS"]
_STEPS = Path(os.environ["STEPS"])

add = dispatch.remote("add", endpoint=_THEIRS, returns=int, style="dispatch-py")
broken = dispatch.remote("broken", endpoint=_THEIRS, style="dispatch-py")
at_once = dispatch.remote("at_once", endpoint=_THEIRS, returns=list[int], style="dispatch-py")
calls = dispatch.remote("calls", endpoint=_THEIRS, style="dispatch-py")


def _step(name: str) -> None:
    """Note that a body ran."""
    with _STEPS.open("a") as file:
        file.write(f"{name}\n")


@dispatch.function
async def sum_of(numbers: list[int]) -> int:
    """Call theirs, one after the other."""
    _step("sum_of")
    total = 0
    for number in numbers:
        total = await add(a=total, b=number)
    return total


@dispatch.function
async def doubled(numbers: list[int]) -> list[int]:
    """Call theirs, all at once."""
    return await dispatch.gather(*(add(one, one) for one in numbers))


@dispatch.function
async def counted(count: int) -> list[int]:
    """Call one of theirs that calls others of theirs; its whole numbers come back as such."""
    return await at_once(count)


@dispatch.function
async def caught(name: str) -> str:
    """Catch an error of theirs."""
    try:
        await broken(name)
    except dispatch.CallError as error:
        return f"{error.type}: {error.message}"
    return "nothing"


@dispatch.function
async def there_and_back(number: int) -> Any:
    """Call one of theirs, which calls one of ours, which calls one of theirs."""
    return await calls("sum_of", os.environ["DISPATCH_ENDPOINT_URL"], [number, 1])


@dispatch.function
def same(value: Any) -> Any:
    """Return what came, whatever it was."""
    return value


@dispatch.function
def wrong(name: str) -> None:
    """Fail with an error that only this language and this SDK know."""
    raise LookupError(f"no {name}")


@dispatch.function
def instant(text: str) -> datetime:
    """Return a value with a type of the protocol's own."""
    return datetime.fromisoformat(text)


if __name__ == "__main__":
    dispatch.Dispatch(
        sum_of, doubled, counted, caught, there_and_back, same, wrong, instant
    ).serve()
