"""An application of the SDK, in a process of its own: python -m benchmarks.application

Its settings are in its environment, as those of any application.
"""

from __future__ import annotations

import logging

import dispatcher.sdk as dispatch


@dispatch.function
async def noop(number: int) -> int:
    """Return at once."""
    return number


@dispatch.function
async def chain(awaits: int) -> int:
    """Call `noop` as often, one after the other."""
    total = 0
    for number in range(awaits):
        total += await noop(number)
    return total


@dispatch.function
async def fan(children: int) -> int:
    """Call `noop` as often, all at once."""
    return sum(await noop.gather(range(children)))


@dispatch.function
async def doze(number: int) -> int:
    """Sleep for a day."""
    await dispatch.sleep(86_400)
    return number


FUNCTIONS = (noop, chain, fan, doze)

if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    dispatch.Dispatch(*FUNCTIONS).serve()
