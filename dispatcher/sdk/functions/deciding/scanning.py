"""Reads the bytecode of a function for what it names; each code object once.

Bytecode, not source: that may be missing, and names in it are resolved already (global, local, of a
function around it). It is read from top to bottom with a stack of what is known; where branches
join, something may be taken for unknown, never for something else that matters.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from types import CodeType
from typing import Final

from dispatcher.sdk.functions.deciding.chains import CALLED, Chain, Root, Scan


@lru_cache(4096)
def scanned(code: CodeType) -> Scan:
    """Return what a code object names."""
    reader = _Reader([each for each in dis.get_instructions(code) if each.opname not in _IGNORED])
    reader.read()
    return Scan(
        tuple(each.chain() for each in reader.nodes if not each.is_stored),
        tuple((name, node.chain()) for name, node in reader.aliases),
        frozenset(reader.words),
    )


def inner(code: CodeType) -> Iterator[CodeType]:
    """Yield the code objects inside of one: inner functions, lambdas, comprehensions."""
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield const


class _Node:
    """A chain that may still grow."""

    __slots__ = ("attributes", "is_stored", "name", "root")

    def __init__(self, root: Root, name: str, attributes: Sequence[str] = ()) -> None:
        self.root = root
        self.name = name
        self.attributes = list(attributes)
        self.is_stored = False

    def chain(self) -> Chain:
        return Chain(self.root, self.name, tuple(self.attributes))


class _Reader:
    """Follows instructions; None on its stack is a value of which nothing is known."""

    def __init__(self, instructions: Sequence[dis.Instruction]) -> None:
        self._instructions = instructions
        self._stack: list[_Node | None] = []
        self.nodes: list[_Node] = []
        self.aliases: list[tuple[str, _Node]] = []
        self.words: set[str] = set()

    def read(self) -> None:
        for index, instruction in enumerate(self._instructions):
            handler = _HANDLERS.get(instruction.opname)
            if handler is not None:
                handler(self, instruction)
            elif instruction.opname == "IMPORT_NAME":
                self._import(index)
            else:
                self._other(instruction)

    def _push(self, node: _Node | None) -> None:
        self._stack.append(node)

    def _pop(self, count: int = 1) -> list[_Node | None]:
        """The last `count` values, None for those that are not there."""
        popped = self._stack[-count:] if count else []
        del self._stack[len(self._stack) - len(popped) :]
        return [None] * (count - len(popped)) + popped

    def _begin(self, root: Root, name: str, attributes: Sequence[str] = ()) -> _Node:
        node = _Node(root, name, attributes)
        self.nodes.append(node)
        return node

    def load_global(self, instruction: dis.Instruction) -> None:
        # Until 3.12 the NULL is below the function, from 3.13 on above: then a call comes next.
        if _pushes_two(instruction):
            self._push(None)
        self._push(self._begin(Root.GLOBAL, instruction.argval))

    def load_local(self, instruction: dis.Instruction) -> None:
        for name in _names(instruction):
            self._push(self._begin(Root.LOCAL, name))

    def load_attribute(self, instruction: dis.Instruction) -> None:
        self.words.add(instruction.argval)
        [node] = self._pop()
        if node is not None:
            node.attributes.append(instruction.argval)
        self._push(node)
        if _pushes_two(instruction):
            self._push(None)

    def load_super(self, instruction: dis.Instruction) -> None:
        self.words.add(instruction.argval)
        self._pop(3)
        self._push(self._begin(Root.GLOBAL, "super", (CALLED, instruction.argval)))
        if _pushes_two(instruction):
            self._push(None)

    def import_from(self, instruction: dis.Instruction) -> None:
        [module] = self._pop()
        self._push(module)
        if module is None:
            self._push(None)
        else:
            names = (*module.attributes, instruction.argval)
            self._push(self._begin(module.root, module.name, names))

    def store(self, instruction: dis.Instruction) -> None:
        names = _names(instruction)
        loads = names[1:] if instruction.opname == "STORE_FAST_LOAD_FAST" else []
        for name in names[: len(names) - len(loads)]:
            [node] = self._pop()
            if node is not None:
                node.is_stored = True  # what the variable is used for counts
                self.aliases.append((name, node))
        for name in loads:
            self._push(self._begin(Root.LOCAL, name))

    def call(self, instruction: dis.Instruction) -> None:
        """The function is one of the two values below the arguments; beside it is the object of a
        method, or nothing."""
        popped = self._pop(2 + _arguments(instruction))
        node = popped[0] or popped[1]
        if node is not None:
            node.attributes.append(CALLED)
        self._push(node)

    def copy(self, instruction: dis.Instruction) -> None:
        depth = instruction.arg or 1
        node = self._stack[-depth] if len(self._stack) >= depth else None
        if node is not None:
            node = self._begin(node.root, node.name, node.attributes)
        self._push(node)

    def swap(self, instruction: dis.Instruction) -> None:
        depth, stack = instruction.arg or 1, self._stack
        if len(stack) >= depth:
            stack[-1], stack[-depth] = stack[-depth], stack[-1]

    def pop_top(self, _: dis.Instruction) -> None:
        self._pop()

    def _import(self, index: int) -> None:
        """`import a.b` names a, `from a.b import c` names a.b. A relative one begins with dots."""
        self._pop(2)
        name, what = self._instructions[index].argval, self._instructions[index - 1].argval
        level = self._instructions[index - 2].argval
        whole = "." * (level if isinstance(level, int) else 0) + name
        self._push(self._begin(Root.MODULE, whole if what else whole.partition(".")[0]))

    def _other(self, instruction: dis.Instruction) -> None:
        has_argument = instruction.opcode >= dis.HAVE_ARGUMENT
        argument = instruction.arg if has_argument else None
        effect = dis.stack_effect(instruction.opcode, argument, jump=False)
        if effect <= 0:
            self._pop(min(1 - effect, len(self._stack)))
            effect = 1
        for _ in range(effect):
            self._push(None)


def _names(instruction: dis.Instruction) -> list[str]:
    """The variables of an instruction; some of 3.13's have two."""
    argval = instruction.argval
    return list(argval) if isinstance(argval, tuple) else [argval]


def _pushes_two(instruction: dis.Instruction) -> bool:
    """Whether it loads what is called next, with its object or nothing beside it."""
    return instruction.opname == "LOAD_METHOD" or "NULL" in instruction.argrepr


def _arguments(instruction: dis.Instruction) -> int:
    """How many values a call takes beside the function."""
    argument = instruction.arg or 0
    if instruction.opname == "CALL_FUNCTION_EX":
        return 2 if _HAS_KEYWORDS_ALWAYS else 1 + (argument & 1)
    return argument + (instruction.opname == "CALL_KW")


_HAS_KEYWORDS_ALWAYS: Final = sys.version_info >= (3, 14)
"""Whether `f(*args)` has a value for its keywords, too: nothing."""
_IGNORED: Final = (
    "CACHE",
    "EXTENDED_ARG",
    "KW_NAMES",
    "MAKE_CELL",
    "NOP",
    "NOT_TAKEN",
    "PRECALL",
    "RESUME",
)

_Handler = Callable[[_Reader, dis.Instruction], None]
_HANDLERS: Final[dict[str, _Handler]] = {
    **dict.fromkeys(("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"), _Reader.load_global),
    **dict.fromkeys(
        (
            "LOAD_FAST",
            "LOAD_FAST_BORROW",
            "LOAD_FAST_BORROW_LOAD_FAST_BORROW",
            "LOAD_FAST_CHECK",
            "LOAD_FAST_LOAD_FAST",
            "LOAD_DEREF",
            "LOAD_CLASSDEREF",
            "LOAD_FROM_DICT_OR_DEREF",
        ),
        _Reader.load_local,
    ),
    **dict.fromkeys(("LOAD_ATTR", "LOAD_METHOD"), _Reader.load_attribute),
    "LOAD_SUPER_ATTR": _Reader.load_super,
    "IMPORT_FROM": _Reader.import_from,
    **dict.fromkeys(
        (
            "STORE_FAST",
            "STORE_DEREF",
            "STORE_NAME",
            "STORE_FAST_LOAD_FAST",
            "STORE_FAST_STORE_FAST",
        ),
        _Reader.store,
    ),
    **dict.fromkeys(("CALL", "CALL_KW", "CALL_FUNCTION_EX"), _Reader.call),
    "COPY": _Reader.copy,
    "SWAP": _Reader.swap,
    "POP_TOP": _Reader.pop_top,
}
