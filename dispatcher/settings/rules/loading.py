"""From the tables of the file to `core.rules`, with everything that is wrong at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dispatcher.core.rules.table import Rules
from dispatcher.errors import ConfigError
from dispatcher.settings.rules.destinations import read_destination
from dispatcher.settings.rules.groups import read_group
from dispatcher.settings.rules.notify import read_notify
from dispatcher.settings.rules.reading import Mistakes
from dispatcher.settings.sources import DESTINATION, GROUP, NOTIFY, tables

_MOST: Final = 10_000
"""Tables of one kind: a destination is compared with every rule when it is new."""


def load(environ: Mapping[str, str]) -> Rules:
    """Read the rules in the file that an environment names; none where it names none.

    Files and variables that hold secrets are read too.

    Raises:
        ConfigError: naming every table and key that is wrong, the value unless it is secret, and
            what is expected.
    """
    found = tables(environ)
    mistakes = Mistakes()
    rules = [
        read_destination(table, environ, mistakes.of(DESTINATION, place, table.get("match")))
        for place, table in _tables(found, DESTINATION, mistakes)
    ]
    groups = [
        read_group(table, mistakes.of(GROUP, place, table.get("name")))
        for place, table in _tables(found, GROUP, mistakes)
    ]
    notify = [
        read_notify(table, environ, mistakes.of(NOTIFY, place))
        for place, table in _tables(found, NOTIFY, mistakes)
    ]
    names = [group.name for group in groups if group is not None]
    for name in sorted({name for name in names if names.count(name) > 1}):
        mistakes.add(f"group {name}: there are several of this name; expected one")
    if mistakes.found:
        raise ConfigError("; ".join(mistakes.found))
    return Rules(
        [rule for rule in rules if rule is not None],
        [group for group in groups if group is not None],
        [one for one in notify if one is not None],
    )


def _tables(
    found: Mapping[str, object], name: str, mistakes: Mistakes
) -> list[tuple[int, dict[str, Any]]]:
    given = found.get(name, [])
    if not isinstance(given, list) or not all(isinstance(table, dict) for table in given):
        mistakes.add(f"{name}: expected tables, each under a line [[{name}]]")
        return []
    if len(given) > _MOST:
        mistakes.add(f"{name}: expected {_MOST} tables at most")
        return []
    return list(enumerate(given, start=1))
