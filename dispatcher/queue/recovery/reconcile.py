"""A message that is in both logs after a crash: which one counts.

It became a dead letter, or was redriven, and what ends it in the other log was not durable yet. The
number of redrives tells which of the two came later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from dispatcher.core.message import Message
from dispatcher.queue.bodies.readback import read_messages
from dispatcher.queue.deadletters.store import DeadLetters
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.records.ids import id_parts
from dispatcher.queue.registry.idempotency.keys import Keys
from dispatcher.txlog import TransactionLog

_SLICE = 500
"""Letters that are looked at before others get their turn."""


async def reconcile(
    log: TransactionLog,
    pending: Pending,
    letters: DeadLetters,
    keys: Keys,
    *,
    partition: int,
    end: Callable[[Message], Awaitable[bool]],
) -> None:
    """After both logs were read, and before anything is delivered: settle what became a dead letter
    just before the process ended, and drop the letters of what was being redriven. `log` is the
    transaction log. `end` settles a message itself if something is born of its death, and says
    whether that is so.

    Raises:
        LogError: a log failed.
    """
    redriven: list[bytes] = []
    for looked_at, (message_id, redrives) in enumerate(letters):
        if not pending.index.count:
            break  # of nothing there is a message too
        if not looked_at % _SLICE:
            await asyncio.sleep(0)
        _, incarnation, id_position = id_parts(message_id)
        slot = pending.find(id_position, incarnation)
        if slot < 0:
            continue
        messages = await read_messages(log, pending, [slot], partition=partition)
        assert messages is not None, "nothing moves before the start"
        (message,) = messages
        if message.redrives > redrives:
            redriven.append(message_id)
        elif not await end(message):
            keys.settle(message.position, message.incarnation)
            pending.remove(slot)
    await letters.drop(redriven)


async def reconcile_calls(letters: DeadLetters, goes_on: Callable[[bytes], bool]) -> None:
    """After the calls were recovered, and before the partition starts: drop the letters of those
    that were being redriven. `goes_on` says of an id whether there is a call with it that has not
    ended. One that has ended and has a letter is buried again by the function service.

    Raises:
        LogError: the log failed.
    """
    redriven: list[bytes] = []
    for looked_at, call_id in enumerate(letters.call_ids()):
        if not looked_at % _SLICE:
            await asyncio.sleep(0)
        if goes_on(call_id):
            redriven.append(call_id)
    await letters.drop(redriven)
