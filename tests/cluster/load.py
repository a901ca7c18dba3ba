"""Callers of a cluster: each sends one message after the other, to the node that answers.

Half of them send plain messages, and never one twice. The others send messages with an idempotency
key, as delayed ones, each again until it is accepted: for every partition there is always one that
waits. A node that refuses, does not answer or is not there is left for the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Sequence
from typing import Final

from tests.cluster.ledger import Ledger, Sent
from tests.crash.load import Answer, body_of, read_answer

Address = tuple[str, int]

KEYED_DELAY_S: Final = 0.5
_ANSWER_S: Final = 6.0
"""More than a node may take that lives."""
_REST_S: Final = 0.05
_BODY_BYTES: Final = 300


class Caller:
    """One caller, with one connection at a time."""

    def __init__(self, addresses: Sequence[Address], first: int) -> None:
        self._addresses = addresses
        self._at = first
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, one: Sent, origin: str) -> Answer | None:
        """Send a message to where the last one was accepted; None: there is no answer."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                reader, writer = await self._connected()
                writer.write(_request(one, origin))
                answer = await read_answer(reader)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            self.close()
            return None
        if answer.status != 202 or b"connection: close" in answer.headers.lower():
            self.close()
        return answer

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None:
            address = self._addresses[self._at % len(self._addresses)]
            self._reader, self._writer = await asyncio.open_connection(*address)
        return self._reader, self._writer

    def close(self) -> None:
        """Close the connection, and go on with the next node."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None
        self._at += 1


class Load:
    """Callers at work for as long as this is entered.

    A caller that has a message under way at the end is cut short: nobody knows what became of it.
    """

    def __init__(
        self,
        ledger: Ledger,
        addresses: Sequence[Address],
        origins: Sequence[str],
        *,
        plain: int = 6,
        keyed: int = 4,
        pause_s: float = 0.03,
    ) -> None:
        self._ledger = ledger
        self._addresses = addresses
        self._origins = itertools.cycle(origins)
        self._callers = [*[self._call_plainly] * plain, *[self._call_with_keys] * keyed]
        self._pause_s = pause_s
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Load:
        self._tasks = [
            asyncio.create_task(one(Caller(self._addresses, number)))
            for number, one in enumerate(self._callers)
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    async def _call_plainly(self, caller: Caller) -> None:
        with contextlib.closing(caller):
            while True:
                one = self._ledger.begin(_BODY_BYTES)
                note(self._ledger, one, await caller.send(one, next(self._origins)))
                await asyncio.sleep(_REST_S if one.refusal else self._pause_s)

    async def _call_with_keys(self, caller: Caller) -> None:
        with contextlib.closing(caller):
            while True:
                one = self._ledger.begin(_BODY_BYTES, delay_s=KEYED_DELAY_S, is_keyed=True)
                await send_until_accepted(self._ledger, caller, one, next(self._origins))
                await asyncio.sleep(self._pause_s)


async def send_until_accepted(ledger: Ledger, caller: Caller, one: Sent, origin: str) -> None:
    """Send a message with a key again and again."""
    while not one.id:
        answer = await caller.send(one, origin)
        if answer is not None and answer.status == 202:
            note(ledger, one, answer)
        else:
            await asyncio.sleep(_REST_S)


def note(ledger: Ledger, one: Sent, answer: Answer | None) -> None:
    """Write down how a message was answered."""
    if answer is None:
        return
    if answer.status == 202:
        ledger.accept(one, answer.id, time.monotonic())
    else:
        one.refusal = answer.slug


def _request(one: Sent, origin: str) -> bytes:
    lines = [
        f"POST {one.target} HTTP/1.1",
        "Host: dispatcher",
        f"X-Dispatcher-Origin-Host: {origin}",
        f"Content-Length: {one.size_bytes}",
    ]
    if one.is_keyed:
        lines.append(f"X-Dispatcher-Idempotency-Key: {one.target}")
    if one.delay_s:
        lines.append(f"X-Dispatcher-Delay: {round(one.delay_s * 1000)}ms")
    return "\r\n".join((*lines, "", "")).encode() + body_of(one.target, one.size_bytes)
