"""The random programs find what they are for: an engine with one fault each, and a program that
shows it."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import random
from collections.abc import Callable, Sequence

import pytest

from dispatcher.sdk.replay import body, compat, evicting, tasks
from dispatcher.sdk.replay.body import Body
from dispatcher.sdk.replay.delivering import deliver
from dispatcher.sdk.replay.loop import Loop
from dispatcher.sdk.replay.model import Event
from dispatcher.testing.programs.comparing import compare
from dispatcher.testing.programs.node import Node, n
from dispatcher.testing.programs.plan import Batches, Plan
from dispatcher.testing.programs.quiet import silent

CALLS = [n("call", number) for number in range(1, 10)]
GROUP_THAT_FAILS = n("gather_all", 0, n("group", 0, n("call", 10), *CALLS))
COMPLETED = n("as_completed", 0, *CALLS)
STUBBORN = n("stubborn", 0, n("call", 1), n("nap", 1), n("nap", 2))
FIRST = n("first", 0, n("call", 1), n("sequence", 0, n("call", 2), n("call", 3)), *CALLS)

Mutant = Callable[[pytest.MonkeyPatch], None]


def hashes_that_differ(patch: pytest.MonkeyPatch) -> None:
    """As those of other objects, which are addresses."""
    drawn, known = random.Random(1), dict[object, int]()
    patch.setattr(
        tasks.Task,
        "__hash__",
        lambda self: known.setdefault(self.place, drawn.getrandbits(40)),
    )


def completed_as_in_asyncio(patch: pytest.MonkeyPatch) -> None:
    compat.install()
    patch.setattr(asyncio, "as_completed", inspect.unwrap(asyncio.as_completed))


def closed_instead_of_thrown_into(patch: pytest.MonkeyPatch) -> None:
    for module in (body, evicting):
        patch.setattr(module, "evict_coroutine", lambda coroutine: coroutine.close())


def two_events_a_drain(patch: pytest.MonkeyPatch) -> None:
    run = Loop.run

    def in_pairs(body: Body, events: Sequence[Event], now_ms: int) -> None:
        turns = itertools.count()
        with pytest.MonkeyPatch.context() as inner:
            skipped = len(events) - 1
            inner.setattr(Loop, "run", lambda it: None if next(turns) < skipped else run(it))
            deliver(body, events, now_ms)

    patch.setattr("dispatcher.sdk.replay.engine.deliver", in_pairs)


MUTANTS: list[tuple[Mutant, Node]] = [
    (hashes_that_differ, GROUP_THAT_FAILS),
    (completed_as_in_asyncio, COMPLETED),
    (closed_instead_of_thrown_into, STUBBORN),
    (two_events_a_drain, FIRST),
]


def _play(program: Node) -> None:
    with silent():
        for batches, seed in itertools.product(Batches, range(3)):
            compare([program], Plan(seed, batches))


@pytest.mark.parametrize(("mutant", "program"), MUTANTS)
def test_programs_tell_when_an_engine_has_a_fault(
    mutant: Mutant, program: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was planted is found, and nothing is where nothing was planted."""
    _play(program)
    mutant(monkeypatch)
    with pytest.raises((AssertionError, RuntimeError)):
        _play(program)
