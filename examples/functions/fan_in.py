"""Invoices of a month: each is generated, then uploaded; when all are, the month is closed.

dispatcher run --session invoices -- python examples/functions/fan_in.py

Kill it half way (kill -9) and start it again with --session invoices and the argument `resume`:
what was generated and uploaded is not done again.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import dispatcher.sdk as dispatch

BUCKET = Path("invoices.log")
"""Stands in for a place in the cloud: one line for each thing that was done."""


def _note(line: str) -> None:
    with BUCKET.open("a") as bucket:
        bucket.write(f"{line}\n")


@dispatch.function
def generate(customer: int) -> str:
    """Make one invoice. Not async: it runs in a thread."""
    time.sleep(0.05)
    _note(f"generated {customer}")
    return f"invoice-{customer}.pdf"


@dispatch.function
def upload(name: str) -> str:
    """Store one invoice."""
    time.sleep(0.05)
    _note(f"uploaded {name}")
    return f"https://files.example.com/{name}"


@dispatch.function
async def invoice(customer: int) -> str:
    """One customer: generate, then upload."""
    return await upload(await generate(customer))


@dispatch.function
async def close_month(customers: int) -> str:
    """All customers at once, ten of them at a time."""
    urls = await invoice.gather(range(customers), limit=10)
    _note(f"closed with {len(urls)} invoices")
    return f"{len(urls)} invoices, the last: {urls[-1]}"


if __name__ == "__main__":
    app = dispatch.Dispatch(close_month, invoice, generate, upload)
    if "resume" not in sys.argv:
        close_month.dispatch_sync(20)
    app.serve()
