"""The settings: every row of the table in docs/configuration.md, with its default and its range."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from dispatcher.errors import ConfigError
from dispatcher.settings import problems, values
from dispatcher.settings.address import Address
from dispatcher.settings.sources import CONFIG_VARIABLE, Disagreement, EnvironmentSource, TomlSource

_ENVIRON = "environ"
"""The one argument of the constructor: where `load` hands the environment to the sources."""

_YEAR_MS = 365 * 24 * 3_600_000
_DAY_MS = 24 * 3_600_000


class Egress(StrEnum):
    """Which destinations may be connected to where `EGRESS_ALLOW` and `EGRESS_DENY` say nothing."""

    ANY = "any"
    PUBLIC = "public"


class LogLevel(StrEnum):
    """The least important events that are logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a line of the log is written."""

    JSON = "json"
    CONSOLE = "console"


class Tracing(StrEnum):
    """Where spans go."""

    OFF = "off"
    OTLP = "otlp"


def _format_for_stdout() -> LogFormat:
    return LogFormat.CONSOLE if sys.stdout is not None and sys.stdout.isatty() else LogFormat.JSON


Boolean = Annotated[bool, BeforeValidator(values.boolean)]
Listen = Annotated[Address, BeforeValidator(values.address)]
Keys = Annotated[tuple[bytes, ...], BeforeValidator(values.keys)]
Directory = Annotated[Path, BeforeValidator(values.directory)]


def _ms(low: int, high: int) -> BeforeValidator:
    return BeforeValidator(values.whole(low, high, "milliseconds"))


def _bytes(low: int, high: int) -> BeforeValidator:
    return BeforeValidator(values.whole(low, high, "bytes"))


class Settings(BaseSettings):
    """Everything the operator can set. Made by `load`; frozen; every value is valid.

    Each field's `validation_alias` is the setting's name in the environment and in the TOML file.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", validate_default=False, hide_input_in_errors=True
    )

    transaction_log: Directory = Field(Path("transaction.log"), validation_alias="TRANSACTION_LOG")
    dead_letter: Directory = Field(Path("deadletter.log"), validation_alias="DEAD_LETTER")
    listen: Listen = Field(Address("", 80), validation_alias="LISTEN")
    listen_keys: Keys = Field((), validation_alias="LISTEN_KEYS", repr=False)
    worker: Annotated[int, BeforeValidator(values.whole(1, 100_000))] = Field(
        10, validation_alias="WORKER"
    )
    retry_limit: Annotated[int, BeforeValidator(values.whole(0, 1000))] = Field(
        10, validation_alias="RETRYLIMIT"
    )
    default_timeout_ms: Annotated[int, _ms(1, 3_600_000)] = Field(
        10_000, validation_alias="DEFAULT_TIMEOUT"
    )
    event_sourcing: Boolean = Field(False, validation_alias="EVENT_SOURCING")
    retry_delay_ms: Annotated[int, _ms(0, _YEAR_MS)] = Field(2000, validation_alias="RETRY_DELAY")
    retry_max_delay_ms: Annotated[int, _ms(1, _YEAR_MS)] = Field(
        3_600_000, validation_alias="RETRY_MAX_DELAY"
    )
    retry_on: Annotated[frozenset[int], BeforeValidator(values.status_codes)] = Field(
        frozenset(), validation_alias="RETRY_ON"
    )
    ack_any_response: Boolean = Field(False, validation_alias="ACK_ANY_RESPONSE")
    egress: Annotated[Egress, BeforeValidator(values.choice(Egress))] = Field(
        Egress.ANY, validation_alias="EGRESS"
    )
    egress_allow: Annotated[tuple[str, ...], BeforeValidator(values.patterns)] = Field(
        (), validation_alias="EGRESS_ALLOW"
    )
    egress_deny: Annotated[tuple[str, ...], BeforeValidator(values.patterns)] = Field(
        (), validation_alias="EGRESS_DENY"
    )
    max_body_bytes: Annotated[int, _bytes(0, 2**33)] = Field(
        64 * 1024 * 1024, validation_alias="MAX_BODY"
    )
    max_backlog_bytes: Annotated[int, _bytes(0, 2**63 - 1)] = Field(
        0, validation_alias="MAX_BACKLOG_BYTES"
    )
    dead_letter_retention_ms: Annotated[int, _ms(0, 10 * _YEAR_MS)] = Field(
        30 * _DAY_MS, validation_alias="DEAD_LETTER_RETENTION"
    )
    dead_letter_max_bytes: Annotated[int, _bytes(0, 2**63 - 1)] = Field(
        2**30, validation_alias="DEAD_LETTER_MAX_BYTES"
    )
    drain_timeout_ms: Annotated[int, _ms(0, _DAY_MS)] = Field(
        10_000, validation_alias="DRAIN_TIMEOUT"
    )
    api_listen: Listen = Field(Address("127.0.0.1", 8081), validation_alias="API_LISTEN")
    api_keys: Keys = Field((), validation_alias="API_KEYS", repr=False)
    log_level: Annotated[LogLevel, BeforeValidator(values.choice(LogLevel))] = Field(
        LogLevel.INFO, validation_alias="LOG_LEVEL"
    )
    log_format: Annotated[LogFormat, BeforeValidator(values.choice(LogFormat))] = Field(
        default_factory=_format_for_stdout, validation_alias="LOG_FORMAT"
    )
    tracing: Annotated[Tracing, BeforeValidator(values.choice(Tracing))] = Field(
        Tracing.OFF, validation_alias="TRACING"
    )

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings of `environ` and of the file it names, the environment winning.

        Raises:
            ConfigError: naming every setting that is wrong, its value unless that is secret, and
            what is
                expected.
        """
        given: dict[str, Any] = {_ENVIRON: environ}
        try:
            settings = cls(**given)
        except ValidationError as error:
            found = problems.explain(error, cls)
        else:
            found = list(problems.contradictions(settings))
            if not found:
                return settings
        raise ConfigError("; ".join(found))

    def describe(self) -> dict[str, Any]:
        """Return every setting in force under its name, in plain values, secrets as a count."""
        return {
            str(field.validation_alias): _plain(getattr(self, name), secret=not field.repr)
            for name, field in type(self).model_fields.items()
        }

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Replace the standard sources by ours; earlier ones win.

        The standard ones read the environment of the process behind our back, and pass over unknown
        keys and names that disagree.
        """
        environ: Mapping[str, str] = init_settings().get(_ENVIRON, {})
        return (
            EnvironmentSource(settings_cls, environ),
            TomlSource(settings_cls, environ.get(CONFIG_VARIABLE, "").strip()),
        )

    @field_validator("*", mode="before")
    @classmethod
    def _agrees(cls, value: object) -> object:
        if isinstance(value, Disagreement):
            raise ValueError("one value")
        return value


def _plain(value: object, *, secret: bool) -> object:
    if secret:
        assert isinstance(value, tuple)  # keys are the only secrets
        return f"{len(value)} hidden" if value else []
    match value:
        case Address() | Path() | StrEnum():
            return str(value)
        case tuple() | frozenset():
            return sorted(value)
        case _:
            return value
