"""One run of the engine and what a driver does with it: it carries out one step at a time, once
what was decided before is stored, and answers after each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from dispatcher.sdk.replay.engine import Run
from dispatcher.sdk.replay.model import (
    Became,
    Contradicted,
    Ended,
    Event,
    Faulted,
    Operation,
    Outcome,
    Raised,
    Result,
    Returned,
    Suspended,
    Told,
)
from dispatcher.testing.programs import operations, sharing, tasks
from dispatcher.testing.programs.node import Node
from dispatcher.testing.programs.operations import shown
from dispatcher.testing.programs.plan import result_of
from dispatcher.testing.programs.stage import Stage

KINDS = {**operations.KINDS, **tasks.KINDS, **sharing.KINDS}

Command: TypeAlias = tuple[str, str, str, str, bytes]


class Wrong(AssertionError):
    """The engine did what it must not."""


@dataclass(slots=True)
class Answer:
    """What one activation comes to, and what the body has seen so far. All of it is compared but
    `steps`: the ids of those that ran, which is more where one ran again.

    `end` is what the body returned or raised, as text, None while it waits. `is_torn`: it had made
    calls before, which had to be answered first.
    """

    calls: dict[int, Command] = field(default_factory=dict)
    cancelled: set[int] = field(default_factory=set)
    wake_us: int | None = None
    outstanding: int = 0
    missing: int = 0
    is_flush: bool = False
    end: str | None = None
    seen: Sequence[object] = ()
    is_torn: bool = field(default=False, compare=False)
    steps: list[int] = field(default_factory=list, compare=False)
    operations: dict[int, Operation] = field(default_factory=dict, compare=False)


class Player:
    """A body, its `Run`, and the steps it waits for."""

    def __init__(
        self,
        node: Node,
        told: Told,
        state: bytes | None,
        *,
        kept: Mapping[str, Result] | None = None,
    ) -> None:
        self.steps: dict[int, Operation] = {}
        self._node = node
        self._stage = Stage(KINDS)
        self.run = Run(self._body, told, state, kept=kept)

    def advance(self, events: Sequence[Event], now_us: int, *, singly: bool = False) -> Answer:
        """`singly`: each event in an advance of its own, as if they had come one by one."""
        answer = Answer()
        for some in [[event] for event in events] if singly and events else [events]:
            if answer.end is None:
                self._take(answer, self.run.advance(some, now_us))
        if self.steps and answer.end is None and not (answer.calls or answer.cancelled):
            self._carry_out(answer, now_us)
        is_over = answer.wake_us is not None and answer.wake_us <= now_us
        answer.is_flush = answer.end is None and bool(self.steps or answer.steps or is_over)
        answer.seen = tuple(self._stage.seen)
        return answer

    async def _body(self) -> object:
        return await self._stage.play(self._node)

    def _carry_out(self, answer: Answer, now_us: int) -> None:
        id = min(self.steps)
        answer.steps.append(id)
        result = result_of(self.steps.pop(id))
        self._take(answer, self.run.advance([Ended(id, result)], now_us))

    def _take(self, answer: Answer, outcome: Outcome) -> None:
        match outcome:
            case Suspended():
                self._take_suspended(answer, outcome)
            case Returned(value, cancelled):
                self._take_end(answer, f"returned {value}", cancelled)
            case Raised(error, cancelled):
                self._take_end(answer, f"raised {shown(error)}", cancelled)
            case Became(operation, cancelled):
                self._take_end(answer, f"became {operation.function}", cancelled)
            case Contradicted(message) | Faulted(message):
                raise Wrong(f"{type(outcome).__name__}: {message}")

    def _take_suspended(self, answer: Answer, outcome: Suspended) -> None:
        for made in outcome.calls:
            answer.calls[made.id] = _command(made.operation)
            answer.operations[made.id] = made.operation
        self.steps.update((made.id, made.operation) for made in outcome.steps)
        self._take_cancelled(answer, outcome.cancelled)
        answer.wake_us, answer.missing = outcome.wake_us, outcome.missing
        answer.outstanding = outcome.outstanding

    def _take_end(self, answer: Answer, end: str, cancelled: Sequence[int]) -> None:
        self._take_cancelled(answer, cancelled)
        answer.wake_us, answer.outstanding, answer.missing = None, 0, 0
        answer.end = end
        answer.is_torn, answer.calls = bool(answer.calls), {}  # an exit makes no calls

    def _take_cancelled(self, answer: Answer, cancelled: Sequence[int]) -> None:
        for id in cancelled:
            if self.steps.pop(id, None) is None and answer.calls.pop(id, None) is None:
                answer.cancelled.add(id)


def _command(operation: Operation) -> Command:
    value = operation.input
    return operation.kind.value, operation.function, operation.endpoint, value.type, value.data
