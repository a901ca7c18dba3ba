"""Calls as a tree, to look at and to compare."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dispatcher.protocol.statuses import Status
from dispatcher.sdk.testing.calls import Record


@dataclass(frozen=True, slots=True)
class Branch:
    """A call and what it called. `runs` is how often it began; `state` is "running", "suspended",
    "waiting" (for its time, or for somebody outside), "ok", or how it failed."""

    function: str
    state: str
    runs: int
    children: Sequence[Branch] = ()

    def __str__(self) -> str:
        return "\n".join(_lines(self, ""))


@dataclass(frozen=True, slots=True)
class Tree:
    """Calls at the top, in the order in which they were made."""

    roots: tuple[Branch, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, self.roots))


def tree(calls: Iterable[Record]) -> Tree:
    """Return all calls as a tree."""
    return Tree(tuple(branch(call) for call in calls if call.parent is None))


def branch(call: Record) -> Branch:
    """Return the tree below a call."""
    shown = call.endpoint if call.endpoint.startswith(("promise:", "channel:")) else call.function
    return Branch(shown, _state(call), call.runs, tuple(map(branch, call.children)))


def _state(call: Record) -> str:
    if call.result is not None:
        if call.result.HasField("error"):
            return call.result.error.type or call.status.name.lower()
        return "ok" if call.status is Status.OK else call.status.name.lower()
    if call.wait is not None:
        return "suspended"
    return "waiting" if call.due_us is not None or call.runs == 0 else "running"


def _lines(tree: Branch, indent: str) -> Iterator[str]:
    often = f", {tree.runs} runs" if tree.runs > 1 else ""
    yield f"{indent}{tree.function}: {tree.state}{often}"
    for child in tree.children:
        yield from _lines(child, indent + "  ")
