"""A newsletter to 100 people, in one batch: all of it is durable, or none.

dispatcher run -- python examples/functions/fan_out.py

Sending to one of them fails twice; that one alone is tried again.
"""

from __future__ import annotations

import asyncio

import dispatcher.sdk as dispatch

FAILURES = {"user-042": 2}
"""How often the mail server is still going to refuse somebody."""


@dispatch.function
async def send(user: str) -> str:
    """Send to one person. What it raises says whether it is worth another try: this is."""
    if FAILURES.get(user, 0):
        FAILURES[user] -= 1
        raise dispatch.TemporaryError(f"the mail server has no time for {user}")
    return f"sent to {user}"


async def main() -> None:
    """Send to all, and count."""
    app = dispatch.Dispatch(send)
    async with app.serving():
        batch = app.batch()
        for number in range(100):
            batch.add(send, f"user-{number:03}")
        handles = await batch.dispatch()
        sent = [await handle.result() for handle in handles]
        print(f"{len(sent)} sent, the last: {sent[-1]}")


if __name__ == "__main__":
    asyncio.run(main())
