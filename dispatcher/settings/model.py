"""The settings: every row of the table in docs/configuration.md, with its default and its range."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)

from dispatcher.core.keys import Key
from dispatcher.errors import ConfigError
from dispatcher.settings import cluster as of_cluster
from dispatcher.settings import problems, values
from dispatcher.settings.address import Address, UnixAddress
from dispatcher.settings.cluster import NatsServer
from dispatcher.settings.cores import cores
from dispatcher.settings.descriptors import attainable
from dispatcher.settings.sources import Disagreement, Names, of_environment, of_file

_MOST_SLOW = 10_000
"""Slow attempts at once unless told otherwise: each holds a socket, and some memory."""
MOST_PROCESSES = 64
MOST_PARTITIONS = 256
"""Pages of lists that several processes have parts of keep a byte for the partition."""
_YEAR_MS = 365 * 24 * 3_600_000
_DAY_MS = 24 * 3_600_000
_TRANSACTION_LOG = Path("transaction.log")


class Egress(StrEnum):
    """Which destinations may be connected to where `EGRESS_ALLOW` and `EGRESS_DENY` say nothing."""

    ANY = "any"
    PUBLIC = "public"


class OrderOnDead(StrEnum):
    """What becomes of an order key when one of its messages is given up."""

    CONTINUE = "continue"
    HOLD = "hold"


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


def _half_of_the_descriptors() -> int:
    return min(attainable() // 2, _MOST_SLOW)


def _beside_the_log(given: dict[str, Any]) -> Path:
    """Beside the transaction log: it is backed up with it, and never deleted with it."""
    log: Path = given.get("transaction_log", _TRANSACTION_LOG)  # left out where it is wrong
    return log.parent / "signing.pem"


Boolean = Annotated[bool, BeforeValidator(values.boolean)]
Listen = Annotated[Address | UnixAddress, BeforeValidator(values.listen)]
Keys = Annotated[tuple[Key, ...], BeforeValidator(values.keys)]
Directory = Annotated[Path, BeforeValidator(values.path("the path of a directory"))]
File = Annotated[Path, BeforeValidator(values.path("the path of a file"))]
FileOrNone = Annotated[Path | None, BeforeValidator(values.path_or_none("the path of a file"))]
PemFile = Annotated[Path | None, BeforeValidator(values.path_or_none("the path of a PEM file"))]


def _ms(low: int, high: int) -> BeforeValidator:
    return BeforeValidator(values.milliseconds(low, high))


def _bytes(low: int, high: int) -> BeforeValidator:
    return BeforeValidator(values.size(low, high))


class Settings(BaseModel):
    """Everything the operator can set. Made by `load`; frozen; every value is valid.

    Each field's `validation_alias` is the setting's name in the environment and in the TOML file.
    A field without a `repr` is secret.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=False, hide_input_in_errors=True
    )

    transaction_log: Directory = Field(_TRANSACTION_LOG, validation_alias="TRANSACTION_LOG")
    dead_letter: Directory = Field(Path("deadletter.log"), validation_alias="DEAD_LETTER")
    listen: Listen = Field(Address("", 80), validation_alias="LISTEN")
    proxy_listen: Annotated[Address | None, BeforeValidator(values.address_or_none)] = Field(
        None, validation_alias="PROXY_LISTEN"
    )
    listen_keys: Keys = Field((), validation_alias="LISTEN_KEYS", repr=False)
    listen_tls_cert: PemFile = Field(None, validation_alias="LISTEN_TLS_CERT")
    listen_tls_key: PemFile = Field(None, validation_alias="LISTEN_TLS_KEY")
    processes: Annotated[int, BeforeValidator(values.whole(0, MOST_PROCESSES))] = Field(
        1, validation_alias="PROCESSES"
    )
    worker: Annotated[int, BeforeValidator(values.whole(1, 100_000))] = Field(
        10, validation_alias="WORKER"
    )
    worker_slow: Annotated[int, BeforeValidator(values.whole(1, 100_000))] = Field(
        default_factory=_half_of_the_descriptors, validation_alias="WORKER_SLOW"
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
    max_age_ms: Annotated[int, _ms(0, 10 * _YEAR_MS)] = Field(0, validation_alias="MAX_AGE")
    idempotency_window_ms: Annotated[int, _ms(1, _YEAR_MS)] = Field(
        86_400_000, validation_alias="IDEMPOTENCY_WINDOW"
    )
    order_on_dead: Annotated[OrderOnDead, BeforeValidator(values.choice(OrderOnDead))] = Field(
        OrderOnDead.CONTINUE, validation_alias="ORDER_ON_DEAD"
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
    idle_timeout_ms: Annotated[int, _ms(1, _DAY_MS)] = Field(
        75_000, validation_alias="IDLE_TIMEOUT"
    )
    drain_notice_ms: Annotated[int, _ms(0, _DAY_MS)] = Field(0, validation_alias="DRAIN_NOTICE")
    drain_timeout_ms: Annotated[int, _ms(0, _DAY_MS)] = Field(
        10_000, validation_alias="DRAIN_TIMEOUT"
    )
    call_worker: Annotated[int, BeforeValidator(values.whole(1, 100_000))] = Field(
        200, validation_alias="CALL_WORKER"
    )
    call_timeout_ms: Annotated[int, _ms(1, _DAY_MS)] = Field(
        60_000, validation_alias="CALL_TIMEOUT"
    )
    call_retry_delay_ms: Annotated[int, _ms(1, _YEAR_MS)] = Field(
        500, validation_alias="CALL_RETRY_DELAY"
    )
    call_retry_max_delay_ms: Annotated[int, _ms(1, _YEAR_MS)] = Field(
        60_000, validation_alias="CALL_RETRY_MAX_DELAY"
    )
    call_default_expiration_ms: Annotated[int, _ms(1, 10 * _YEAR_MS)] = Field(
        _DAY_MS, validation_alias="CALL_DEFAULT_EXPIRATION"
    )
    call_max_expiration_ms: Annotated[int, _ms(1, 10 * _YEAR_MS)] = Field(
        _YEAR_MS, validation_alias="CALL_MAX_EXPIRATION"
    )
    call_start_delay_ms: Annotated[int, _ms(0, 60_000)] = Field(
        20, validation_alias="CALL_START_DELAY"
    )
    call_state_suspect_after_ms: Annotated[int, _ms(0, _YEAR_MS)] = Field(
        600_000, validation_alias="CALL_STATE_SUSPECT_AFTER"
    )
    call_tree_max: Annotated[int, BeforeValidator(values.whole(1, 1_000_000_000))] = Field(
        1_000_000, validation_alias="CALL_TREE_MAX"
    )
    result_retention_ms: Annotated[int, _ms(1, 10 * _YEAR_MS)] = Field(
        _DAY_MS, validation_alias="RESULT_RETENTION"
    )
    result_max_bytes: Annotated[int, _bytes(0, 2**63 - 1)] = Field(
        2**30, validation_alias="RESULT_MAX_BYTES"
    )
    signing_key: File = Field(default_factory=_beside_the_log, validation_alias="SIGNING_KEY")
    api_listen: Listen = Field(Address("127.0.0.1", 8081), validation_alias="API_LISTEN")
    api_keys: Keys = Field((), validation_alias="API_KEYS", repr=False)
    audit_max_bytes: Annotated[int, _bytes(4 * 2**20, 2**40)] = Field(
        16 * 2**20, validation_alias="AUDIT_MAX_BYTES"
    )
    mask_headers: Annotated[tuple[str, ...], BeforeValidator(values.header_names)] = Field(
        (), validation_alias="MASK_HEADERS"
    )
    api_tls_cert: PemFile = Field(None, validation_alias="API_TLS_CERT")
    api_tls_key: PemFile = Field(None, validation_alias="API_TLS_KEY")
    socket_mode: Annotated[str, BeforeValidator(values.mode)] = Field(
        "0660", validation_alias="SOCKET_MODE"
    )
    log_level: Annotated[LogLevel, BeforeValidator(values.choice(LogLevel))] = Field(
        LogLevel.INFO, validation_alias="LOG_LEVEL"
    )
    log_format: Annotated[LogFormat, BeforeValidator(values.choice(LogFormat))] = Field(
        default_factory=_format_for_stdout, validation_alias="LOG_FORMAT"
    )
    tracing: Annotated[Tracing, BeforeValidator(values.choice(Tracing))] = Field(
        Tracing.OFF, validation_alias="TRACING"
    )
    cluster: Annotated[tuple[NatsServer, ...], BeforeValidator(of_cluster.nats_servers)] = Field(
        (), validation_alias="CLUSTER"
    )
    cluster_credentials: FileOrNone = Field(None, validation_alias="CLUSTER_CREDENTIALS")
    cluster_monitoring: Annotated[tuple[str, ...], BeforeValidator(of_cluster.monitoring)] = Field(
        (), validation_alias="CLUSTER_MONITORING"
    )
    partitions: Annotated[int, BeforeValidator(values.whole(1, MOST_PARTITIONS))] = Field(
        16, validation_alias="PARTITIONS"
    )
    node: Annotated[str, BeforeValidator(of_cluster.node_name)] = Field("", validation_alias="NODE")
    cluster_listen: Annotated[Address, BeforeValidator(values.address)] = Field(
        Address("", 8082), validation_alias="CLUSTER_LISTEN"
    )
    cluster_advertise: Annotated[Address | None, BeforeValidator(of_cluster.reached)] = Field(
        None, validation_alias="CLUSTER_ADVERTISE"
    )
    cluster_key: Annotated[bytes, BeforeValidator(of_cluster.shared_key)] = Field(
        b"", validation_alias="CLUSTER_KEY", repr=False
    )
    cluster_quota_bytes: Annotated[int, _bytes(2**24, 2**50)] = Field(
        2**30, validation_alias="CLUSTER_QUOTA"
    )
    cluster_tls_ca: PemFile = Field(None, validation_alias="CLUSTER_TLS_CA")
    cluster_tls_cert: PemFile = Field(None, validation_alias="CLUSTER_TLS_CERT")
    cluster_tls_key: PemFile = Field(None, validation_alias="CLUSTER_TLS_KEY")

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings of `environ` and of the file it names, the environment winning.

        Raises:
            ConfigError: naming every setting that is wrong, its value unless that is secret, and
                what is expected.
        """
        names = Names.of(cls)
        given = of_file(environ, names) | of_environment(environ, names)
        try:
            settings = cls.model_validate(given)
        except ValidationError as error:
            found = problems.explain(error, names)
        else:
            found = list(settings._contradictions())
            if not found:
                return settings
        raise ConfigError("; ".join(found))

    @property
    def process_count(self) -> int:
        """How many processes the server has: of `PROCESSES=0` one for each core, but no more than
        can each make a delivery."""
        return self.processes or min(cores(), self.worker, MOST_PROCESSES)

    def _contradictions(self) -> Iterator[str]:
        """Yield one sentence for each pair of valid settings that cannot both be."""
        if self.worker < self.processes:
            yield (
                f"WORKER={self.worker}: expected at least PROCESSES={self.processes}, as every "
                "process delivers; raise it, or start fewer"
            )
        if not self.api_keys and not self.api_listen.is_loopback:
            yield (
                f"API_LISTEN={self.api_listen}: expected a loopback address such as "
                "127.0.0.1:8081, or keys in API_KEYS: without keys everybody who can connect is "
                "let in"
            )
        for name, cert, key in (
            ("LISTEN", self.listen_tls_cert, self.listen_tls_key),
            ("API", self.api_tls_cert, self.api_tls_key),
        ):
            if (cert is None) is not (key is None):
                given, missing = ("CERT", "KEY") if key is None else ("KEY", "CERT")
                yield (
                    f"{name}_TLS_{given}={cert or key}: expected {name}_TLS_{missing} too: TLS "
                    "needs the certificate and its key"
                )
        for name, address, cert in (
            ("LISTEN", self.listen, self.listen_tls_cert),
            ("API", self.api_listen, self.api_tls_cert),
        ):
            if cert is not None and isinstance(address, UnixAddress):
                yield (
                    f"{name}_TLS_CERT={cert}: expected none, as a unix socket ({address}) has no "
                    "TLS: it does not leave this machine"
                )
        if isinstance(self.listen, UnixAddress) and self.listen == self.api_listen:
            yield f"API_LISTEN={self.api_listen}: expected another path than LISTEN"
        if self.proxy_listen is not None and self.proxy_listen.port:
            for name, address in (("LISTEN", self.listen), ("API_LISTEN", self.api_listen)):
                if address == self.proxy_listen:
                    yield f"PROXY_LISTEN={self.proxy_listen}: expected another address than {name}"
        if self.transaction_log.absolute() == self.dead_letter.absolute():
            yield (
                f"DEAD_LETTER={self.dead_letter}: expected another directory than TRANSACTION_LOG's"
            )

        yield from self._contradictions_of_cluster()

    def _contradictions_of_cluster(self) -> Iterator[str]:
        if not self.cluster:
            for name, field in type(self).model_fields.items():
                is_of_one = name.startswith("cluster_") or name == "partitions"
                if is_of_one and getattr(self, name) != field.get_default():
                    yield (
                        f"{field.validation_alias}: expected CLUSTER too, the addresses of NATS "
                        "servers; without it the logs are files of this machine"
                    )
            return
        if self.processes != 1:
            yield (
                f"PROCESSES={self.processes}: expected 1, as a node of a CLUSTER is one process; "
                "for more cores start more nodes, each with its own NODE and directories"
            )
        if self.event_sourcing:
            yield "EVENT_SOURCING=true: expected false, as streams of a CLUSTER keep no history"
        if not self.cluster_key:
            yield "CLUSTER_KEY: expected a secret, the same on all nodes of the CLUSTER"
        given = [
            name
            for name in ("cluster_tls_ca", "cluster_tls_cert", "cluster_tls_key")
            if getattr(self, name) is not None
        ]
        if given and len(given) < 3:
            yield (
                f"{given[0].upper()}={getattr(self, given[0])}: expected CLUSTER_TLS_CA, "
                "CLUSTER_TLS_CERT and CLUSTER_TLS_KEY, all three or none"
            )
        for name, address in (
            ("LISTEN", self.listen),
            ("API_LISTEN", self.api_listen),
            ("PROXY_LISTEN", self.proxy_listen),
        ):
            if address == self.cluster_listen and self.cluster_listen.port:
                yield f"CLUSTER_LISTEN={address}: expected another address than {name}"
        if not self.cluster_listen.port and self.cluster_advertise is None:
            yield (
                f"CLUSTER_LISTEN={self.cluster_listen}: expected a port, or CLUSTER_ADVERTISE: "
                "other nodes have to be told where this one is"
            )

    def describe(self) -> dict[str, Any]:
        """Return every setting in force under its name, in plain values, secrets as a count."""
        return {
            str(field.validation_alias): _plain(getattr(self, name), secret=not field.repr)
            for name, field in type(self).model_fields.items()
        }

    def changed(self) -> dict[str, Any]:
        """Return those settings of `describe` that are not at their default."""
        described = self.describe()
        return {
            str(field.validation_alias): described[str(field.validation_alias)]
            for name, field in type(self).model_fields.items()
            if getattr(self, name)
            != field.get_default(call_default_factory=True, validated_data=self.__dict__)
        }

    @field_validator("*", mode="before")
    @classmethod
    def _agrees(cls, value: object) -> object:
        if isinstance(value, Disagreement):
            raise ValueError("one value")
        return value


def _plain(value: object, *, secret: bool) -> object:
    if secret:
        if isinstance(value, bytes):
            return "hidden" if value else ""
        assert isinstance(value, tuple)
        return f"{len(value)} hidden" if value else []
    match value:
        case None:
            return ""
        case Address() | UnixAddress() | Path() | StrEnum():
            return str(value)
        case tuple() if any(isinstance(one, NatsServer) for one in value):
            return [str(one) for one in value]  # the first one is the nearest
        case tuple() | frozenset():
            return sorted(value)
        case _:
            return value
