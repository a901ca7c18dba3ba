"""What the body of a program acts through: operations of the engine, and a list of what it saw.

The list is the body's own memory. No operation shows what is in it, so it is compared too: what a
replay remembers has to be what the first run knew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from dispatcher.sdk.replay.loop import Loop, running
from dispatcher.sdk.replay.model import Failure, Kind, Operation, Result, Value
from dispatcher.testing.programs.node import Node

Played: TypeAlias = Callable[["Stage", Node], Awaitable[int]]

INT = "google.protobuf.Int64Value"


class Failed(Exception):
    """A call or a step of the program ended with an error."""


class Stage:
    """One run of one body, from its beginning."""

    def __init__(self, kinds: Mapping[str, Played]) -> None:
        self.seen: list[object] = []
        self._kinds = kinds

    async def play(self, node: Node) -> int:
        return await self._kinds[node.kind](self, node)

    def see(self, *what: object) -> None:
        self.seen.append(what)

    async def perform(self, kind: Kind, number: int, *, function: str = "") -> int:
        """Issue an operation and wait for it. Raises: Failed."""
        return understood(await self.begin(kind, number, function=function))

    def begin(
        self, kind: Kind, number: int, *, function: str = "", group: object = None
    ) -> asyncio.Future[Result]:
        """Issue an operation."""
        return self.loop.perform(_operation(kind, number, function), group=group)

    @property
    def loop(self) -> Loop:
        loop = running()
        assert loop is not None
        return loop


def understood(result: Result) -> int:
    if isinstance(result, Failure):
        raise Failed(f"{result.type}: {result.message}")
    return int(result.data or b"0")


def value_of(number: int) -> Value:
    """Some numbers go as text, so that more than one type of value is recorded."""
    return Value(INT if number % 4 else "app.v1.Odd", str(number).encode())


def _operation(kind: Kind, number: int, function: str) -> Operation:
    name = function or f"{kind.value}{number % 3}"
    if kind is Kind.SLEEP:
        return Operation(kind, "sleep", f"p.py:{number}", duration_us=number * 500_000)
    return Operation(kind, name, f"p.py:{number}", value_of(number), carrier=number)
