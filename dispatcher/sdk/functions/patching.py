"""Changed code: whether a body was here before the change."""

from __future__ import annotations

from typing import cast

from dispatcher.sdk.functions import durable, marks, naming, performing, sites
from dispatcher.sdk.replay.model import Kind, Operation


@marks.operation()
def patched(change: str) -> bool:
    """Return whether the code after a change is to run: guard it with `if patched("…"):`.

        if dispatch.patched("send an invoice too"):
            await send_invoice(order)

    True for calls that come here with the new code, False for those that were here before: they go
    on as they began. It is on record, so that a call is always given the same answer. Once no call
    is left that began before the change, take the guard out. True outside of durable functions.

    Args:
        change: names the change, in letters, digits, _, dots and spaces.
    """
    name = naming.checked(_underscored(change), of="the change that patched is given")
    loop = durable.running()
    if loop is None:
        return True
    future = loop.perform(Operation(Kind.PATCH, name, str(sites.caller())))
    return cast(bool, performing.outcome(future.result(), bool))


def _underscored(change: object) -> object:
    return change.replace(" ", "_") if isinstance(change, str) else change
