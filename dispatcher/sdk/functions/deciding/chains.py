"""What the bytecode of a function names."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

CALLED = "()"
"""An attribute of a chain that is none: the call of what stands before it."""


class Root(Enum):
    """Where the first name of a chain is looked up."""

    GLOBAL = "global"
    LOCAL = "local"  # also what a function around it has
    MODULE = "module"  # imported in the body


@dataclass(frozen=True, slots=True)
class Chain:
    """`svc.client.get` in the source: a name and the attributes behind it."""

    root: Root
    name: str
    attributes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scan:
    """What one code object names, without those inside of it. `aliases` are its variables that
    stand for a chain; `words` are all names of attributes in it."""

    chains: tuple[Chain, ...]
    aliases: tuple[tuple[str, Chain], ...]
    words: frozenset[str]
