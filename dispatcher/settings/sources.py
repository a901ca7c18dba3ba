"""Where settings come from: the environment first, then the TOML file named by `DISPATCHER_CONFIG`.

Both give values under the names of the contract, in capitals; a second name of a setting is turned
into the first. What a source cannot make sense of is passed on as it is, so that everything that is
wrong is named at once: an unknown key under its own name, two values of one setting as a
`Disagreement`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from dispatcher.errors import ConfigError

CONFIG_VARIABLE = "DISPATCHER_CONFIG"
SECOND_NAMES = {"RETRY_LIMIT": "RETRYLIMIT"}


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One setting was given twice, with different values."""

    given: tuple[tuple[str, object], ...]


class EnvironmentSource(PydanticBaseSettingsSource):
    """Settings of the environment. An empty variable is not set; unknown ones are not ours."""

    def __init__(self, settings_cls: type[BaseSettings], environ: Mapping[str, str]) -> None:
        super().__init__(settings_cls)
        known = setting_names(settings_cls)
        ours = (
            (name, value)
            for name, value in environ.items()
            if value.strip() and SECOND_NAMES.get(name, name) in known
        )
        self._values = merge(ours, known)

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the raw value of one field."""
        name = str(field.validation_alias)
        return self._values.get(name), name, False

    def __call__(self) -> dict[str, Any]:
        return self._values


class TomlSource(PydanticBaseSettingsSource):
    """Settings of the TOML file. Keys are in capitals or in small letters; others are errors.

    Raises:
        ConfigError: the file cannot be read, or is not TOML.
    """

    def __init__(self, settings_cls: type[BaseSettings], path: str | None) -> None:
        super().__init__(settings_cls)
        self._values = merge(_read_toml(path).items(), setting_names(settings_cls)) if path else {}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the raw value of one field."""
        name = str(field.validation_alias)
        return self._values.get(name), name, False

    def __call__(self) -> dict[str, Any]:
        return self._values


def setting_names(settings_cls: type[BaseSettings]) -> frozenset[str]:
    """Return the first name of every setting."""
    return frozenset(str(field.validation_alias) for field in settings_cls.model_fields.values())


def merge(given: Iterable[tuple[str, object]], known: frozenset[str]) -> dict[str, Any]:
    """Gather values under each setting's first name; where they differ, as a `Disagreement`."""
    by_name: dict[str, list[tuple[str, object]]] = {}
    for name, value in given:
        by_name.setdefault(_first_name(name, known), []).append((name, value))
    return {name: _one(values) for name, values in by_name.items()}


def _first_name(name: str, known: frozenset[str]) -> str:
    upper = name.upper() if name.islower() else name
    first = SECOND_NAMES.get(upper, upper)
    return first if first in known else name


def _one(given: list[tuple[str, object]]) -> object:
    first = given[0][1]
    if all(str(value).strip() == str(first).strip() for _, value in given):
        return first
    return Disagreement(tuple(given))


def _read_toml(path: str) -> dict[str, Any]:
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
