"""Two functions: one greets, the other waits and has many greeted.

dispatcher run -- python examples/functions/greet.py
"""

from __future__ import annotations

import asyncio

import dispatcher.sdk as dispatch


@dispatch.function
async def greet(name: str) -> str:
    """Plain: it makes no durable calls, and is run again from its start where it fails."""
    return f"Hello, {name}!"


@dispatch.function
async def welcome(names: list[str]) -> list[str]:
    """Durable: whatever is killed meanwhile, it goes on from the last `await` that has ended."""
    await dispatch.sleep(1)
    return await greet.gather(names)


async def main() -> None:
    """Have some people welcomed, and print what came of it."""
    app = dispatch.Dispatch(greet, welcome)
    async with app.serving():
        for line in await welcome(["Ada", "Alan", "Grace"]):
            print(line)


if __name__ == "__main__":
    asyncio.run(main())
