"""Where settings come from: the environment first, then the TOML file named by `DISPATCHER_CONFIG`.

Both give values under the names of docs/configuration.md; a second name of a setting is turned
into the first, and the name of a file with a secret (`API_KEYS_FILE`) into what is in that file.
What a source cannot make sense of is passed on as it is, so that everything that is wrong is named
at once: an unknown key under its own name, two values of one setting as a `Disagreement`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from dispatcher.errors import ConfigError
from dispatcher.settings import values

CONFIG_VARIABLE = "DISPATCHER_CONFIG"
FILE = "_FILE"
"""The end of the name under which a secret is given as a file."""
SECOND_NAMES = {"RETRY_LIMIT": "RETRYLIMIT"}
DESTINATION = "destination"
GROUP = "group"
NOTIFY = "notify"
TABLES = frozenset((DESTINATION, GROUP, NOTIFY))
"""What the file has besides settings: tables of rules, which `settings.rules` reads."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One setting was given twice, with different values."""

    given: tuple[tuple[str, object], ...]


@dataclass(frozen=True, slots=True)
class Names:
    """The first name of every setting, and of those that are secret."""

    all: frozenset[str]
    secret: frozenset[str]

    @staticmethod
    def of(model: type[BaseModel]) -> Names:
        """Take the names from a model: aliases; what is not in its `repr` is secret."""
        fields = model.model_fields.values()
        return Names(
            frozenset(str(field.validation_alias) for field in fields),
            frozenset(str(field.validation_alias) for field in fields if not field.repr),
        )

    @property
    def files(self) -> frozenset[str]:
        """The names under which secrets are given as files."""
        return frozenset(name + FILE for name in self.secret)

    @property
    def every(self) -> frozenset[str]:
        """Every name that means something, in the environment."""
        return self.all | self.files | SECOND_NAMES.keys() | {CONFIG_VARIABLE}

    def first(self, name: str) -> str:
        """Return the first name of a setting, and a name that is none as it is.

        Names are in capitals or in small letters.
        """
        upper = name.upper() if name.islower() else name
        upper = SECOND_NAMES.get(upper, upper)
        if upper in self.files:
            upper = upper.removesuffix(FILE)
        return upper if upper in self.all else name


def of_environment(environ: Mapping[str, str], names: Names) -> dict[str, Any]:
    """Return the settings in an environment. An empty variable is not set; unknown ones are not
    ours.

    Raises:
        ConfigError: a file with a secret cannot be read.
    """
    ours = names.every - {CONFIG_VARIABLE}
    given = ((name, value) for name, value in environ.items() if value.strip() and name in ours)
    return _merged(given, names)


def of_file(environ: Mapping[str, str], names: Names) -> dict[str, Any]:
    """Return the settings in the TOML file that an environment names; none where it names none.

    Raises:
        ConfigError: the file, or a file with a secret, cannot be read, or is not what it should be.
    """
    found = _read_file(environ).items()
    return _merged([item for item in found if item[0] not in TABLES], names)


def tables(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return what that file has under the names of `TABLES`, as it stands there.

    Raises:
        ConfigError: the file cannot be read, or is not TOML.
    """
    return {name: value for name, value in _read_file(environ).items() if name in TABLES}


def _read_file(environ: Mapping[str, str]) -> dict[str, Any]:
    path = environ.get(CONFIG_VARIABLE, "").strip()
    return _read_toml(path) if path else {}


def _merged(given: Iterable[tuple[str, object]], names: Names) -> dict[str, Any]:
    """Gather values under each setting's first name; where they differ, as a `Disagreement`."""
    by_name: dict[str, list[tuple[str, object]]] = {}
    for name, value in given:
        first = names.first(name)
        if name.upper() in names.files and first in names.secret:
            value = _secret_of(name, value)
        by_name.setdefault(first, []).append((name, value))
    return {name: _one(found) for name, found in by_name.items()}


def _one(given: list[tuple[str, object]]) -> object:
    first = given[0][1]
    if all(str(value).strip() == str(first).strip() for _, value in given):
        return first
    return Disagreement(tuple(given))


def _secret_of(name: str, value: object) -> str:
    """Read a file of secrets, one a line or with commas between them, as the list they are."""
    path = _path(name, value, "the path of a file with one key a line")
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise ConfigError(
            f"{name}={path}: {reason}; expected a readable file with one key a line"
        ) from None
    found = ",".join(line for line in lines if line)
    if not found:
        raise ConfigError(f"{name}={path}: the file is empty; expected one key a line")
    return found


def _path(name: str, value: object, expected: str) -> str:
    try:
        return str(values.path(expected)(value))
    except ValueError as error:
        shown = ascii(value)[1:-1] if isinstance(value, str) else str(value)
        raise ConfigError(f"{name}={shown}: expected {error}") from None


def _read_toml(given: str) -> dict[str, Any]:
    path = _path(CONFIG_VARIABLE, given, "the path of a TOML file")
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(
            f"{CONFIG_VARIABLE}={path}: {reason}; expected the path of a readable TOML file"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{CONFIG_VARIABLE}={path}: expected TOML: {error}") from None
