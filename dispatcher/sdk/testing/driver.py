"""Runs what the server says is due, one run after another, and lets time pass."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from dispatcher.protocol.messages import Exit, RunResponse
from dispatcher.protocol.statuses import Status, status_of_http
from dispatcher.sdk.endpoint import Answer
from dispatcher.sdk.testing.asking import request_of
from dispatcher.sdk.testing.calls import Record, ended_with
from dispatcher.sdk.testing.server import Server
from dispatcher.sdk.testing.waiting import MOST_FAILURES, Stuck, failing, stuck


class Runs(Protocol):
    """Runs a call; None: the answer got lost."""

    async def __call__(self, call: Record, request: bytes) -> Answer | None: ...


class Driver:
    """Runs calls in turn. `pause` lets time pass until an instant: by a jump, or by waiting."""

    def __init__(self, server: Server, runs: Runs, pause: Callable[[int], Awaitable[None]]) -> None:
        self.server = server
        self._runs = runs
        self._pause = pause
        self._hopeless: Stuck | None = None

    async def settle(self) -> None:
        """Run everything that is due now, and what comes of it, until nothing is due."""
        while (call := self.server.due()) is not None:
            await self._run(call)

    async def advance(self, until_us: int) -> None:
        """Let time pass, and run what is due meanwhile, each at its time."""
        await self.settle()
        while (at_us := self.server.agenda.next_us()) is not None and at_us <= until_us:
            await self._pause(at_us)
            await self.settle()
        await self._pause(until_us)

    async def finish(self, call: Record, *, until_us: int | None = None) -> None:
        """Run until a call has ended, or it is `until_us`; time passes to what is due next.

        Raises:
            Stuck: the call waits for something that the test has to bring about, or something
                fails again and again.
        """
        await self.settle()
        while not call.is_over:
            at_us = self.server.agenda.next_us(patient=False)
            if until_us is not None and (at_us is None or at_us > until_us):
                await self._pause(until_us)
                return
            if at_us is None:
                raise stuck(call)
            await self._pause(at_us)
            await self.settle()
            if self._hopeless is not None:
                raise self._hopeless

    async def _run(self, call: Record) -> None:
        """Run a call once."""
        request = request_of(call).SerializeToString()
        answer = await self._runs(call, request)
        if answer is None:
            self.server.lost(call)
            return
        response = _response(answer)
        if not call.is_over:  # it may have been killed, or have expired
            retry_after_us = int(dict(answer.headers).get("Retry-After", 0)) * 1_000_000
            self.server.answered(call, response, retry_after_us=retry_after_us)
            if call.failures >= MOST_FAILURES:
                self._hopeless = failing(call, _why(response))


def _response(answer: Answer) -> RunResponse:
    """What an answer of the application means."""
    if answer.status == 200:
        return RunResponse.FromString(answer.body)
    status = status_of_http(answer.status)
    message = f"HTTP {answer.status}: {answer.body.decode(errors='replace')}"
    result = ended_with(_type_of(status), message)
    return RunResponse(status=status.value, exit=Exit(result=result))


def _why(response: RunResponse) -> str:
    error = response.exit.result.error
    return f"{error.type}: {error.message}" if error.type else f"status {response.status}"


def _type_of(status: Status) -> str:
    return "".join(word.capitalize() for word in status.name.split("_"))
