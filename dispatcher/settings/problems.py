"""What is wrong with settings, in words: its name, its value unless secret, what is expected."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from dispatcher.settings.sources import FILE, SECOND_NAMES, TABLES, Disagreement, Names

_LONGEST_SHOWN = 200
_USER = re.compile(r"//[^/@,]*@")
"""The user and the password of a URL."""
_NOT_MADE = "default_factory_not_called"
"""A default that follows from another setting, where some setting is wrong: no mistake itself."""


def explain(error: ValidationError, names: Names) -> list[str]:
    """Return one sentence for each value that was refused."""
    return [
        _sentence(detail, names)
        for detail in error.errors(include_url=False)
        if detail["type"] != _NOT_MADE
    ]


def _sentence(detail: Mapping[str, Any], names: Names) -> str:
    name = str(detail["loc"][0]) if detail["loc"] else "settings"
    if detail["type"] == "extra_forbidden":
        return f"{name}: no such setting in the TOML file{_meant(name, names)}"
    value = detail["input"]
    secret = name in names.secret
    expected = detail.get("ctx", {}).get("error", detail["msg"])
    if isinstance(value, Disagreement):
        shown = " and ".join(_assignment(key, item, secret=secret) for key, item in value.given)
        return f"{shown} disagree: they are two names of one setting, expected {expected}"
    return f"{_assignment(name, value, secret=secret)}{_also(name, names)}: expected {expected}"


def _assignment(name: str, value: object, *, secret: bool) -> str:
    if secret:
        return f"{name} (value hidden)"
    text = _USER.sub("//***@", str(value)).encode("unicode_escape").decode("ascii")
    return f"{name}={text[:_LONGEST_SHOWN]}{'…' if len(text) > _LONGEST_SHOWN else ''}"


def _also(name: str, names: Names) -> str:
    others = [second for second, first in SECOND_NAMES.items() if first == name]
    others += [name + FILE] if name in names.secret else []
    return f" (also {', '.join(others)})" if others else ""


def _meant(name: str, names: Names) -> str:
    tables = {table.upper(): f"[[{table}]]" for table in TABLES}
    close = difflib.get_close_matches(name.upper(), sorted(names.every | tables.keys()), n=1)
    if not close:
        return "; docs/configuration.md lists them all"
    return f"; did you mean {tables.get(close[0], close[0])}?"
