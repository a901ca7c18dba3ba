"""One `[[group]]` table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from dispatcher.core.destination import Origin
from dispatcher.core.rules.table import MOST_MEMBERS, Group
from dispatcher.settings.rules.reading import Mistakes, Table

KEYS: Final = ("name", "members")
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


def read_group(given: Mapping[str, Any], mistakes: Mistakes) -> Group | None:
    """Read a table; None where something is wrong, which is noted."""
    table = Table(given, KEYS, mistakes)
    for key in KEYS:
        if key not in given:
            mistakes.add(f"{key} is missing")
    name = table.read("name", _name)
    members = table.read("members", _members)
    return Group(name, members) if name is not None and members is not None else None


def _name(raw: object) -> str:
    if not isinstance(raw, str) or not _NAME.fullmatch(raw):
        raise ValueError("1 to 64 letters, digits, dots, dashes and underscores")
    if raw.isdigit():
        raise ValueError(f"a letter in it: group:{raw} is a port of the host group")
    return raw


def _members(raw: object) -> tuple[Origin, ...]:
    if not isinstance(raw, list) or not 1 <= len(raw) <= MOST_MEMBERS:
        raise ValueError(f'a list of 1 to {MOST_MEMBERS} places such as ["http://a.example/base"]')
    found = tuple(_member(item) for item in raw)
    if len(set(found)) < len(found):
        raise ValueError("each place once")
    return found


def _member(item: object) -> Origin:
    if not isinstance(item, str):
        raise ValueError("places such as http://a.example/base")
    try:
        return Origin.parse(item.strip().encode("utf-8", "surrogatepass"))
    except ValueError as error:
        raise ValueError(
            f"places such as http://a.example/base, of {item[:80]!a} {error}"
        ) from None
