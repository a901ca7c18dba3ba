"""The server of a program: it keeps state and results, repeats what got lost, and kills hosts."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from dispatcher.sdk.replay.model import Cancelled, Ended, Event, Failure, PollRefused, Result, Told
from dispatcher.testing.programs.host import Host, Reply, Request
from dispatcher.testing.programs.node import Node
from dispatcher.testing.programs.plan import Due, Plan
from dispatcher.testing.programs.player import Answer, Wrong

START_US = 1_700_000_000_000_000
MOST_ACTIVATIONS = 600


@dataclass(frozen=True, slots=True)
class Regime:
    """What goes wrong: how often a host dies before it has answered, and the rest from 0 to 1.
    `warm` is how many bodies a host keeps. `append`: states are sent in pieces. `keep`: the server
    keeps results, and states hold where they are. `clocks`: by how many microseconds the clock of
    the host may be ahead at an activation, each time another one."""

    name: str
    warm: int = 1_000
    hosts: int = 1
    crash: float = 0
    lost: float = 0
    repeated: float = 0
    append: bool = False
    keep: bool = False
    clocks: Sequence[int] = (0,)


@dataclass(frozen=True, slots=True)
class Activation:
    """One that counted: what it was asked and what it answered."""

    request: Request
    reply: Reply


@dataclass(slots=True)
class Life:
    """A call, from its first run to its end."""

    node: Node
    told: Told
    plan: Plan
    now_us: int = START_US
    ahead_us: int = 0
    state: bytes | None = None
    nonce: int = 0
    answer: Answer = field(default_factory=Answer)
    outstanding: dict[int, Due] = field(default_factory=dict)
    delivered: list[Ended] = field(default_factory=list)
    kept: dict[str, Result] = field(default_factory=dict)
    stored_steps: set[int] = field(default_factory=set)
    past: list[Activation] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        return self.answer.end is not None


Watch: TypeAlias = Callable[[Life, Activation], None]


class Server:
    """`watch` sees each activation that counts, before the server takes it in."""

    def __init__(self, regime: Regime, seed: int, watch: Watch = lambda *_: None) -> None:
        self._regime = regime
        self._watch = watch
        self._drawn = random.Random(seed)
        self._hosts = [Host(warm=regime.warm) for _ in range(regime.hosts)]

    def play(self, lives: Sequence[Life]) -> None:
        """Run all calls to their ends, one activation of each in turn."""
        try:
            while any(not life.is_over for life in lives):
                for life in lives:
                    if not life.is_over:
                        self._activate(life)
        finally:
            for host in self._hosts:
                host.die()

    def _activate(self, life: Life) -> None:
        if len(life.past) > MOST_ACTIVATIONS:
            raise Wrong(f"does not end: {life.answer}")
        request = self._request(life)
        reply = self._answered(life, request)
        self._watch(life, Activation(request, reply))
        _accept(life, request, reply)

    def _request(self, life: Life) -> Request:
        delivered = tuple(life.delivered)
        now_us, events = _next(life)
        if self._regime.keep:
            events = [_kept(life, event) for event in events]
        if self._chance(self._regime.repeated) and delivered:
            late = self._drawn.choice(delivered)
            again = [event for event in events[-1:] if isinstance(event, Ended)]
            events = [late, *events] if self._chance(0.5) else [*events, *again, late]
        state, nonce = life.state, life.nonce
        append = self._regime.append
        kept = {id: value for id, value in life.kept.items() if state is not None}
        # Of the plan and not of the regime: whatever goes wrong, the clocks are the same.
        drawn = random.Random(life.plan.seed * 1_000_003 + len(life.past))
        ahead_us = drawn.choice(self._regime.clocks)
        at_us = now_us + ahead_us
        return Request(life.node, life.told, state, nonce, events, at_us, append, kept, ahead_us)

    def _answered(self, life: Life, request: Request) -> Reply:
        """The answer that arrives. Those that get lost have to be the same."""
        while True:
            host = self._drawn.choice(self._hosts)
            if self._chance(self._regime.lost):
                continue
            reply = host.run(request)
            _check_steps(life, reply)
            if self._chance(self._regime.crash):
                host.die()
                if self._regime.crash == 1:
                    reply = host.run(request)
                    host.die()
                    return reply
                continue
            if not self._chance(self._regime.lost):
                return reply

    def _chance(self, of: float) -> bool:
        return self._drawn.random() < of


def _next(life: Life) -> tuple[int, list[Event]]:
    """The next activation: when, and what it is told."""
    number = len(life.past)
    if number == 0:
        return life.now_us, []
    if _is_refused(life):
        life.plan.refuse_at = None
        for id in life.answer.calls:
            del life.outstanding[id]
        return life.now_us, [PollRefused(Failure("Refused", "too many calls"))]
    events: list[Event] = []
    if life.plan.cancel_at is not None and life.plan.cancel_at <= number:
        life.plan.cancel_at = None
        return life.now_us, [Cancelled("asked to")]
    waiting = sorted(life.outstanding.values(), key=lambda due: (due.at_us, due.id))
    answer = life.answer
    if not (waiting or answer.is_flush or answer.wake_us is not None):
        raise Wrong(f"waits for nothing: {answer}")
    wake_us = None if answer.wake_us is None else answer.wake_us - life.ahead_us
    turn = life.plan.turn(life.now_us, wake_us, waiting, is_flush=answer.is_flush)
    for due in turn.due:
        del life.outstanding[due.id]
        ended = Ended(due.id, due.result, f"call-{due.id}")
        life.delivered.append(ended)
        events.append(ended)
    return turn.now_us, events


def _kept(life: Life, event: Event) -> Event:
    """The same event, with a value that the server keeps."""
    if not isinstance(event, Ended) or isinstance(event.result, Failure):
        return event
    life.kept[event.dispatch_id] = event.result
    return dataclasses.replace(event, is_kept=True)


def _is_refused(life: Life) -> bool:
    at = life.plan.refuse_at
    return at is not None and at <= len(life.past) and bool(life.answer.calls)


def _accept(life: Life, request: Request, reply: Reply) -> None:
    answer, now_us = reply.answer, request.now_us - request.ahead_us
    for id in answer.cancelled - _ended_in(life, request):
        if (due := life.outstanding.pop(id, None)) is None:
            raise Wrong(f"cancels {id}, which is not outstanding")
        life.delivered.append(Ended(id, due.result))  # it may have ended before it heard of it
    for id, operation in answer.operations.items():
        if id in answer.calls:
            life.outstanding[id] = life.plan.due(id, operation, now_us=now_us)
    # One that is resumed at once may be over already, and has not looked at all results.
    is_resumed = answer.end is not None or (answer.wake_us or request.now_us + 1) <= request.now_us
    if answer.outstanding != len(life.outstanding) and not is_resumed:
        raise Wrong(f"waits for {answer.outstanding} calls, not for {sorted(life.outstanding)}")
    life.state = reply.state if reply.extends is None else (life.state or b"") + reply.state
    life.nonce, life.answer = reply.nonce, answer
    life.now_us, life.ahead_us = now_us, request.ahead_us
    life.stored_steps.update(answer.steps)
    life.past.append(Activation(request, reply))


def _ended_in(life: Life, request: Request) -> set[int]:
    """The calls that this request says have ended, or were never made."""
    is_refused = any(isinstance(event, PollRefused) for event in request.events)
    refused = life.answer.calls if is_refused else ()
    return {event.id for event in request.events if isinstance(event, Ended)}.union(refused)


def _check_steps(life: Life, reply: Reply) -> None:
    again = life.stored_steps.intersection(reply.answer.steps)
    if again:
        raise Wrong(f"the steps {sorted(again)} ran again, though their results were stored")
