"""Three steps one after the other, each with effects that must not happen twice.

dispatcher run --session pipeline -- python examples/functions/pipeline.py

Kill it half way (kill -9) and start it again with --session pipeline and the argument `resume`: it
goes on behind the last step that has ended.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import dispatcher.sdk as dispatch

JOURNAL = Path("pipeline.log")


def _stage(name: str, order: str) -> str:
    time.sleep(0.5)
    with JOURNAL.open("a") as journal:
        journal.write(f"{name} {order}\n")
    return f"{order}, {name}"


@dispatch.function
async def fulfil(order: str) -> str:
    """Charge, pack, ship. A step is I/O: it is done in a thread, and what it returned is kept."""
    order = await dispatch.step(_stage, "charged", order)
    order = await dispatch.step(_stage, "packed", order)
    return await dispatch.step(_stage, "shipped", order)


if __name__ == "__main__":
    app = dispatch.Dispatch(fulfil)
    if "resume" not in sys.argv:
        fulfil.dispatch_sync("order 7")
    app.serve()
