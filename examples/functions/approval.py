"""An order above 1000 waits for a person, for a week, and takes nothing of the machine meanwhile.

dispatcher run -- python examples/functions/approval.py

It prints the command that approves.
"""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta

import dispatcher.sdk as dispatch


def book(order: str, amount: int) -> str:
    """Stand in for a request to the system of orders: I/O, so it is a step."""
    return f"{order} is booked for {amount}"


@dispatch.function
async def place(order: str, amount: int) -> str:
    """Book an order, a large one only once somebody has said yes."""
    if amount > 1000:
        try:
            approved = await dispatch.promise(f"approve-{order}", bool).wait(
                expiration=timedelta(days=7)
            )
        except dispatch.Expired:
            return f"{order} was forgotten"
        if not approved:
            return f"{order} was refused"
    return await dispatch.step(book, order, amount)


async def main() -> None:
    """Place a small order and a large one, and wait for both."""
    app = dispatch.Dispatch(place)
    async with app.serving():
        print(await place("A-1", 200), flush=True)
        large = await place.dispatch("A-2", 5000)
        url, key = os.environ["DISPATCH_API_URL"], os.environ["DISPATCH_API_KEY"]
        print("A-2 waits. In another terminal:")
        print(
            f"  curl {url}/v1/promises/approve-A-2 -H 'Authorization: Bearer {key}' -d true",
            flush=True,
        )
        print(await large.result())


if __name__ == "__main__":
    asyncio.run(main())
