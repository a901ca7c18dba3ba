"""A program: a tree of nodes, each of a kind, with a number and parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

Json: TypeAlias = "str | int | list[Json]"


@dataclass(frozen=True, slots=True)
class Node:
    """`number` is what the kind makes of it: an argument, seconds, a limit."""

    kind: str
    number: int = 0
    parts: tuple[Node, ...] = ()

    def __repr__(self) -> str:
        """As Python that makes it, to paste a failing program into a test."""
        inner = "".join(f", {part!r}" for part in self.parts)
        return f"n({self.kind!r}, {self.number}{inner})"

    def to_json(self) -> Json:
        return [self.kind, self.number, *(part.to_json() for part in self.parts)]


def n(kind: str, number: int = 0, *parts: Node) -> Node:
    return Node(kind, number, parts)


def from_json(value: object) -> Node:
    """Raises: ValueError for what `to_json` never makes."""
    match value:
        case [str(kind), int(number), *parts]:
            return Node(kind, number, tuple(from_json(part) for part in parts))
    raise ValueError(f"no program: {value!r}")


def kinds_in(nodes: Sequence[Node]) -> set[str]:
    return {node.kind for node in nodes}.union(*(kinds_in(node.parts) for node in nodes))
