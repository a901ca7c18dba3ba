"""An application that answers as one written with dispatch-go does, without Go.

A function is a generator: it yields the calls that it waits for, gets their results by name, and
returns its output. What the SDK does with that is in `Volatile` and `Durable`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from dispatcher.protocol.messages import (
    Any,
    Call,
    CallResult,
    Duration,
    Poll,
    RunResponse,
    UInt64Value,
)
from dispatcher.protocol.statuses import Status
from tests.acceptance.functions import Http, Reply, Run, an_any, exits, fails

Function = Callable[[], Generator[list[str], dict[str, str], bytes]]
"""Yields names of functions, and gets what each of them put out, or `!` and the type of its
error."""
MAX_WAIT_S = 300
"""Of every poll; then the SDK polls again."""
STATE = "buf.build/stealthrocket/coroutine/coroutine.v1.State"


class Temporary(Exception):
    """What a function fails with that is to be tried again."""


@dataclass
class Coroutine:
    """One that waits. `wanted` are names by the correlations of its last await, of which `got` has
    those that came."""

    body: Generator[list[str], dict[str, str], bytes]
    next_correlation: int
    wanted: dict[int, str] = field(default_factory=dict)
    got: dict[str, str] = field(default_factory=dict)

    def take(self, results: list[CallResult]) -> bool:
        """Results that nobody waits for are passed over; says whether all have come."""
        for one in results:
            name = self.wanted.get(one.correlation_id)
            if name is not None:
                said = one.error.type if one.HasField("error") else one.output.value.decode()
                self.got[name] = f"!{said}" if one.HasField("error") else said
        return len(self.got) == len(self.wanted) or any(
            said.startswith("!") for said in self.got.values()
        )

    def go_on(self) -> list[Call]:
        """Run it to its next await; the calls of that.

        Raises:
            StopIteration: it has ended, with its output.
        """
        names = self.body.send(self.got) if self.wanted else next(self.body)
        self.wanted, self.got = {}, {}
        for name in names:
            self.wanted[self.next_correlation] = name
            self.next_correlation = (self.next_correlation + 1) % (1 << 64)
        return [
            Call(function=name, correlation_id=number, input=an_any(b""))
            for number, name in self.wanted.items()
        ]


class Go:
    """What both modes have in common. `functions` by name; others that are called are children
    which put their names out."""

    def __init__(self, functions: dict[str, Function], max_wait_s: int | None = MAX_WAIT_S) -> None:
        self.functions = functions
        self.max_wait_s = max_wait_s

    def check(self, run: Run) -> Http | None:
        """What its HTTP server refuses."""
        if run.headers["content-type"] != "application/proto":
            return Http(415)
        assert "accept-encoding" not in run.headers, "it would answer with gzip"
        signed = run.headers["signature-input"]
        assert 'keyid="default"' in signed, "it would panic"
        if "sha-512=:" not in run.headers["content-digest"]:
            return Http(403)
        return None

    def ended(self, output: bytes) -> RunResponse:
        """A function has returned."""
        return exits(output)

    def poll(self, coroutine: Coroutine, calls: list[Call], state: Any) -> RunResponse:
        """`min` and `max` are as many as were awaited, also when some of them have come."""
        most = len(coroutine.wanted)
        poll = Poll(typed_coroutine_state=state, min_results=most, max_results=most, calls=calls)
        if self.max_wait_s is not None:
            poll.max_wait.CopyFrom(Duration(seconds=self.max_wait_s))
        return RunResponse(status=Status.OK.value, poll=poll)


class Volatile(Go):
    """Coroutines live in the memory of the process, and a state is the number of one: an answer
    that is lost on its way cannot be given again, as its coroutine has gone on."""

    def __init__(self, functions: dict[str, Function], max_wait_s: int | None = MAX_WAIT_S) -> None:
        super().__init__(functions, max_wait_s)
        self.coroutines: dict[int, Coroutine] = {}
        self._last = 0

    def restart(self) -> None:
        """The process ends, and another one takes its place."""
        self.coroutines.clear()

    def answer(self, run: Run) -> Reply:
        """What a run comes to."""
        refused = self.check(run)
        if refused is not None:
            return refused
        request = run.request
        if request.HasField("input"):
            if request.function not in self.functions:
                return exits(request.function.encode())
            self._last += 1
            number = self._last
            # The first correlation is random: this one is the last that there is, but one.
            self.coroutines[number] = Coroutine(self.functions[request.function](), (1 << 64) - 1)
            return self._go_on(number)
        state = UInt64Value()
        request.poll_result.typed_coroutine_state.Unpack(state)
        coroutine = self.coroutines.get(state.value)
        if coroutine is None:
            return fails(7, "errorString", f"volatile coroutine {state.value} not found")
        if coroutine.take(list(request.poll_result.results)):
            return self._go_on(state.value)
        return self.poll(coroutine, [], _number(state.value))  # it waits on; its calls were told

    def _go_on(self, number: int) -> RunResponse:
        coroutine = self.coroutines[number]
        try:
            return self.poll(coroutine, coroutine.go_on(), _number(number))
        except StopIteration as end:
            del self.coroutines[number]
            return self.ended(end.value)
        except Temporary:
            del self.coroutines[number]
            return fails(6, "errorString", "not now")


class Durable(Go):
    """A state is all that a coroutine has seen, written by a build: the same resume has the same
    answer, and another build refuses it."""

    def __init__(self, functions: dict[str, Function], build: str) -> None:
        super().__init__(functions)
        self.build = build

    def answer(self, run: Run) -> Reply:
        """What a run comes to."""
        refused = self.check(run)
        if refused is not None:
            return refused
        request = run.request
        if request.HasField("input"):
            if request.function not in self.functions:
                return exits(request.function.encode())
            return self._go_on(request.function, [], [])
        build, seen = _read(request.poll_result.typed_coroutine_state)
        if build != self.build:
            return fails(8, "errorString", "build id mismatch")
        return self._go_on(request.function, seen, list(request.poll_result.results))

    def _go_on(
        self, function: str, seen: list[dict[str, str]], results: list[CallResult]
    ) -> RunResponse:
        """Run it again up to where it was, and on."""
        coroutine = Coroutine(self.functions[function](), 1)
        calls = coroutine.go_on()
        for got in seen:
            coroutine.got = got
            calls = coroutine.go_on()
        if results:
            assert coroutine.take(results), "results are of the last await"
            seen = [*seen, dict(coroutine.got)]
            try:
                calls = coroutine.go_on()
            except StopIteration as end:
                return self.ended(end.value)
        return self.poll(coroutine, calls, _written(self.build, seen))


def _number(number: int) -> Any:
    state = Any()
    state.Pack(UInt64Value(value=number))
    return state


def _written(build: str, seen: list[dict[str, str]]) -> Any:
    """About 7 kB of any bytes, with their digest."""
    text = json.dumps([build, seen]).encode()
    padding = bytes(range(256)) * 28
    digest = hashlib.sha256(padding + text).digest()
    return Any(type_url=STATE, value=padding + digest + text)


def _read(state: Any) -> tuple[str, list[dict[str, str]]]:
    """Read a state; a byte that is not as it was is a mistake of the server."""
    assert state.type_url == STATE
    padding, digest, text = state.value[:7168], state.value[7168:7200], state.value[7200:]
    assert hashlib.sha256(padding + text).digest() == digest
    build, seen = json.loads(text)
    return build, seen
