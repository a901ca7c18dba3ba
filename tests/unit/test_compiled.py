"""What has to hold so that a wheel, in which the hot path is compiled, does what the sources do."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

import dispatcher

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HOOK = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]
OF_MESSAGES: list[str] = HOOK["modules"]
EVERYTHING: list[str] = [*OF_MESSAGES, *HOOK["modules-of-calls"]]


def compiled(pattern: str, name: str) -> bool:
    """Whether a module is one of those that a pattern of pyproject.toml names."""
    path = _path(name)
    found = re.search(r"\{(.*)\}", pattern)
    names = found[1].split(",") if found else [""]
    before, after = pattern.split(found[0]) if found else (pattern, "")
    return any(fnmatch(path, before + one + after) for one in names)


def is_compiled(name: str, patterns: list[str]) -> bool:
    """Whether a module, or the one that a class is of, is compiled in a wheel."""
    return any(compiled(pattern, name) for pattern in patterns)


def classes() -> Iterator[type]:
    """All classes of the package."""
    for module in pkgutil.walk_packages(dispatcher.__path__, "dispatcher."):
        if module.name.endswith("__main__"):
            continue
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and value.__module__ == module.name:
                yield value


@pytest.mark.parametrize("patterns", [OF_MESSAGES, EVERYTHING], ids=["messages", "everything"])
def test_no_class_derives_from_a_compiled_one_without_being_compiled_itself(
    patterns: list[str],
) -> None:
    """Such a class can't have objects in a wheel: `interpreted classes cannot inherit from
    compiled`."""
    assert is_compiled("dispatcher.core.message", patterns)
    assert not is_compiled("dispatcher.errors", patterns)
    wrong = [
        f"{one.__module__}.{one.__qualname__} derives from {base.__module__}.{base.__qualname__}"
        for one in classes()
        for base in one.__bases__
        if is_compiled(base.__module__, patterns)
        and not is_compiled(one.__module__, patterns)
        and not getattr(base, "_is_protocol", False)
    ]
    assert not wrong


def waits_and_raises_again(code: ast.AST) -> bool:
    """Whether a handler of exceptions awaits something, and then has a `raise` with nothing."""
    return any(
        isinstance(one, ast.ExceptHandler)
        and any(isinstance(within, ast.Await) for within in ast.walk(one))
        and any(isinstance(within, ast.Raise) and within.exc is None for within in ast.walk(one))
        for one in ast.walk(code)
    )


def test_nothing_that_is_compiled_raises_again_what_it_caught_after_it_has_awaited() -> None:
    """mypyc forgets meanwhile what that was: the process crashes, or goes on in a wrong state."""
    assert waits_and_raises_again(
        ast.parse("async def f():\n try: g()\n except OSError:\n  await h()\n  raise")
    )
    wrong = [
        module.name
        for module in pkgutil.walk_packages(dispatcher.__path__, "dispatcher.")
        if is_compiled(module.name, EVERYTHING)
        and waits_and_raises_again(ast.parse((ROOT / _path(module.name)).read_text("utf-8")))
    ]
    assert not wrong


def _path(name: str) -> str:
    return name.replace(".", "/") + ".py"
