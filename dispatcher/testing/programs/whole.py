"""Programs as functions of the SDK: their calls, steps and sleeps are what a user writes."""

from __future__ import annotations

import json

import dispatcher.sdk as dispatch
from dispatcher.sdk.replay.model import Kind
from dispatcher.testing.programs.node import Node, from_json
from dispatcher.testing.programs.operations import fold, shown
from dispatcher.testing.programs.player import KINDS
from dispatcher.testing.programs.stage import Failed, Played, Stage
from dispatcher.testing.programs.tasks import begun


@dispatch.function
async def plain(number: int) -> int:
    return _came("plain", number)


@dispatch.function
def threaded(number: int) -> int:
    return _came("threaded", number)


@dispatch.function
async def nested(number: int) -> int:
    """A durable one, with a step of its own."""
    await dispatch.sleep(number % 3)
    return await dispatch.step(_step, number) + await plain(10 * number + 1)


FUNCTIONS = (plain, threaded, nested)


@dispatch.function(durable=True)
async def program(text: str) -> str:
    """Play a program; returns what came of it and what the body saw."""
    stage = SdkStage()
    try:
        value: object = await stage.play(from_json(json.loads(text)))
    except (Failed, TimeoutError, ExceptionGroup) as error:
        value = shown(error)
    return f"{value} {stage.seen}"


class SdkStage(Stage):
    """A stage whose operations are the SDK's."""

    def __init__(self) -> None:
        super().__init__({**KINDS, **_KINDS})

    async def perform(self, kind: Kind, number: int, *, function: str = "") -> int:
        if kind is Kind.STEP:
            return await dispatch.step(_step, number)
        function_ = FUNCTIONS[number % 3].with_options(delay=number % 5)
        return await function_(number)


async def _sleep(stage: Stage, node: Node) -> int:
    await dispatch.sleep(node.number % 7 / 2)
    return node.number


async def _patch(stage: Stage, node: Node) -> int:
    stage.see("patched", dispatch.patched(f"change{node.number % 2}"))
    return node.number


async def _clock(stage: Stage, node: Node) -> int:
    stage.see("clock", dispatch.now(), dispatch.random(), dispatch.uuid4())
    return await stage.perform(Kind.CALL, 10 * int(dispatch.random() * 100) + 1)


async def _together(stage: Stage, node: Node) -> int:
    limit = node.number % 3 or None
    return fold(await plain.gather(range(node.number, node.number + 3), limit=limit))


async def _forgotten(stage: Stage, node: Node) -> int:
    """Dispatched, and not waited for."""
    await plain.dispatch(node.number)
    return node.number


async def _withdrawn(stage: Stage, node: Node) -> int:
    """The loser of a race is given up."""
    number = node.number
    return await dispatch.race(plain(10 * number + 1), threaded.with_options(delay=1)(number))


async def _gather(stage: Stage, node: Node) -> int:
    return fold(list(await dispatch.gather(*begun(stage, node))))


async def _first(stage: Stage, node: Node) -> int:
    """The first that ends, or that succeeds."""
    if node.number % 2:
        return await dispatch.race(*begun(stage, node))
    return await dispatch.any(*begun(stage, node))


_KINDS: dict[str, Played] = {
    "sleep": _sleep,
    "patch": _patch,
    "clock": _clock,
    "together": _together,
    "forgotten": _forgotten,
    "withdrawn": _withdrawn,
    "gather": _gather,
    "first": _first,
}


def _step(number: int) -> int:
    return _came("step", number)


def _came(what: str, number: int) -> int:
    if number % 10 == 0:
        raise Failed(f"{what} of {number}")
    return number * 7
