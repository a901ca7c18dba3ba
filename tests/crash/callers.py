"""Callers that send what a test says, and write down what they are told."""

from __future__ import annotations

import asyncio
import contextlib

from dispatcher.testing.process import ServerProcess
from tests.crash.load import Account, Answer, ask, read_answer, request_of

_AT_ONCE = 400


async def send(account: Account, server: ServerProcess, origin: str, size_bytes: int) -> Answer:
    """Send one message on a connection of its own."""
    target = account.begin(size_bytes)
    answer = await ask(server.listen, origin, target, account.body(target))
    account.note(target, answer)
    return answer


async def pour(account: Account, server: ServerProcess, origin: str, size_bytes: int) -> int:
    """Send many messages on one connection, one behind the other; returns how many were
    accepted."""
    reader, writer = await asyncio.open_connection(*server.listen)
    targets = [account.begin(size_bytes) for _ in range(_AT_ONCE)]
    writer.writelines(request_of(origin, target, account.body(target)) for target in targets)
    accepted = 0
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        async with asyncio.timeout(60):
            for target in targets:
                answer = await read_answer(reader)
                account.note(target, answer)
                accepted += answer.status == 202
    writer.transport.abort()
    return accepted


async def accepts_again(account: Account, server: ServerProcess, origin: str) -> None:
    """Send until a message is accepted."""
    for _ in range(600):
        if (await send(account, server, origin, 10)).status == 202:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it still refuses everything")
