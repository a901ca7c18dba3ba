"""An application that answers runs as a test tells it, and a runner in front of it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence, Set
from typing import Any as Anything

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dispatcher.core.answer import Answer
from dispatcher.core.clock import Clock, SteadyClock
from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult
from dispatcher.functions.bridge.bridge import MOST_OUT, Bridge
from dispatcher.functions.events import Created, NewCall
from dispatcher.functions.ids import Keys
from dispatcher.functions.lanes.lanes import Lanes
from dispatcher.functions.lanes.turns import Turns
from dispatcher.functions.model import Call as Known
from dispatcher.functions.ports import Sender
from dispatcher.functions.rules import Rules
from dispatcher.functions.runs.asking import Targets
from dispatcher.functions.runs.config import RunnerConfig
from dispatcher.functions.runs.recalling import Recalling
from dispatcher.functions.runs.running import Runner
from dispatcher.protocol.messages import (
    Any,
    Call,
    CallResult,
    Duration,
    Error,
    Exit,
    Poll,
    RunRequest,
    RunResponse,
)
from dispatcher.protocol.signing import Signer
from dispatcher.protocol.statuses import Status
from dispatcher.queue.ports import Deliverer
from dispatcher.testing.clock import FixedRandom
from dispatcher.testing.memory_store import MemoryStore

ENDPOINT = "http://app.example:8000"
SIGNING_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def an_any(value: bytes) -> Any:
    """A value of some type."""
    return Any(type_url="type.example/T", value=value)


def exits(value: bytes = b"done", status: Status = Status.OK) -> RunResponse:
    """It has ended, with this output."""
    return RunResponse(status=status.value, exit=Exit(result=CallResult(output=an_any(value))))


def fails(status: Status, kind: str = "ValueError", message: str = "no") -> RunResponse:
    """It has ended with an error."""
    error = Error(type=kind, message=message)
    return RunResponse(status=status.value, exit=Exit(result=CallResult(error=error)))


def polls(
    *functions: str,
    state: bytes = b"state",
    min_results: int = 1,
    max_results: int = 10,
    wait_s: float | None = None,
) -> RunResponse:
    """It waits, and calls these functions; their correlations are 1, 2, …"""
    poll = Poll(
        typed_coroutine_state=an_any(state), min_results=min_results, max_results=max_results
    )
    for number, function in enumerate(functions):
        poll.calls.append(
            Call(correlation_id=number + 1, function=function, input=an_any(function.encode()))
        )
    if wait_s is not None:
        poll.max_wait.CopyFrom(Duration(seconds=int(wait_s), nanos=int(wait_s % 1 * 1e9)))
    return RunResponse(status=Status.OK.value, poll=poll)


Reply = RunResponse | AttemptResult | Answer | None
"""None: it does not answer; see `FakeApplication.held`."""


class FakeApplication:
    """A `queue.ports.Deliverer` with an application behind it. `answer` says what a request is
    answered with. `requests` and `messages` are what came, `times` when, by the loop's clock."""

    def __init__(self, answer: Callable[[RunRequest], Reply]) -> None:
        self.answer = answer
        self.requests: list[RunRequest] = []
        self.messages: list[Message] = []
        self.times: list[float] = []
        self.held: list[Message] = []
        self.abandoned: list[Message] = []
        self.in_flight: dict[str, int] = {}
        self.most_in_flight = 0

    def deliver(self, message: Message) -> None:
        """Answer it, one turn of the loop later."""
        request = RunRequest.FromString(message.body)
        self.requests.append(request)
        self.messages.append(message)
        loop = asyncio.get_running_loop()
        self.times.append(loop.time())
        count = self.in_flight[request.dispatch_id] = self.in_flight.get(request.dispatch_id, 0) + 1
        assert count == 1, f"{request.dispatch_id} runs twice at once"
        self.most_in_flight = max(self.most_in_flight, sum(self.in_flight.values()))
        reply = self.answer(request)
        if reply is None:
            self.held.append(message)
        else:
            loop.call_soon(self.tell, message, reply)

    def tell(self, message: Message, reply: Reply) -> None:
        """Answer a message that was held, unless it was abandoned."""
        if message in self.abandoned:
            return
        del self.in_flight[RunRequest.FromString(message.body).dispatch_id]
        message.answer = None
        if isinstance(reply, AttemptResult):
            message.home.failed(message, reply)
            return
        if isinstance(reply, RunResponse):
            reply = Answer(200, b"application/proto", None, reply.SerializeToString())
        assert reply is not None
        message.answer = reply
        message.home.delivered(message, reply.status)

    def abandon(self, messages: Set[Message]) -> None:
        """They are not answered any more."""
        for message in messages:
            self.abandoned.append(message)
            del self.in_flight[RunRequest.FromString(message.body).dispatch_id]

    def under_way(self, message_id: bytes) -> tuple[int, int] | None:
        """Nobody asks."""
        return None


class Running:
    """A runner with a store in memory, and a bridge. `died` is what nobody foresaw."""

    def __init__(
        self,
        deliverer: Sender,
        clock: Clock,
        *,
        store: MemoryStore | None = None,
        most: int = 200,
        rules: Rules | None = None,
        starts: int = 1,
        most_out: int = MOST_OUT,
        fetched: Deliverer | None = None,
        is_behind: Callable[[], bool] = lambda: False,
        **more: Anything,
    ) -> None:
        steady = SteadyClock(clock)
        self.clock = steady
        self.store = store or MemoryStore()
        self.machine = self.store.machine
        self.keys = Keys(starts, 0)
        self.lanes = Lanes(most)
        self.turns = Turns(self.lanes, steady, is_behind)
        numbers = itertools.count(1)
        self.bridge = Bridge(
            self.turns, steady, make_id=lambda: f"r{next(numbers)}", most_out=most_out
        )
        self.died: list[BaseException] = []
        timeout_ms = more.pop("timeout_ms", 60_000)
        features = more.pop("features", ())
        self.runner = Runner(
            self.machine,
            self.store,
            turns=self.turns,
            targets=Targets(Signer(SIGNING_KEY), features=features),
            deliverer=deliverer,
            next_key=self.keys.next,
            config=RunnerConfig(1, rules or Rules(), timeout_ms),
            clock=steady,
            random=FixedRandom(),
            died=lambda name, error: self.died.append(error),
            fetched=fetched or self.bridge,
            **more,
        )
        self.recalling = Recalling(self.machine.calls, self.store, self.runner.targets, 1)
        self.machine.listener = self.runner
        self.runner.start()

    async def dispatch(
        self,
        *functions: str,
        application: str = "app",
        **more: Anything,
    ) -> Sequence[Known]:
        """Store root calls of these functions; further fields as of `NewCall`."""
        now_us = self.clock.wall_us()
        fields = {
            "endpoint": ENDPOINT,
            "version": "",
            "correlation": 0,
            "created_us": now_us,
            "expires_us": now_us + 3_600_000_000,
            **more,
        }
        calls = tuple(
            NewCall(
                self.keys.next(),
                function=function,
                input=an_any(function.encode()).SerializeToString(),
                **fields,
            )
            for function in functions
        )
        await self.store.stored(Created(application, calls))
        return [self.machine.calls[call.key] for call in calls]

    async def until(self, done: Callable[[], object], timeout_s: float = 60.0) -> None:
        """Wait until something is so.

        Raises:
            TimeoutError: it never is.
        """
        async with asyncio.timeout(timeout_s):
            while not done():  # noqa: ASYNC110 - anything may be asked
                await asyncio.sleep(0.05)

    def result_of(self, call: Known) -> CallResult:
        """What a root call came to."""
        assert call.how is not None, f"{call!r} has not ended"
        return CallResult.FromString(self.store.bytes_at(call.result))

    async def stop(self) -> None:
        """End it."""
        await self.runner.stop()
        self.turns.stop()
        assert not self.died, self.died
