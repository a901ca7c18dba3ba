"""What a rule says: every key of a `[[destination]]` table, as a value that was checked."""

from __future__ import annotations

from dataclasses import dataclass, field

from dispatcher.core.rate import Rate
from dispatcher.core.rules.match import Match


@dataclass(frozen=True, slots=True)
class Secret:
    """Bytes that are shown nowhere. `source` says where they came from: `env:NAME`, `file:PATH`,
    or `hidden` for what stood in the configuration file itself."""

    value: bytes = field(repr=False)
    source: str


@dataclass(frozen=True, slots=True)
class PemFile:
    """A file of certificates or a key. `content` is what it held when the rules were read: another
    content makes another rule."""

    path: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Header:
    """A header that is added on delivery, in place of the caller's of that name. `name` is as it
    was written."""

    name: str
    value: Secret


@dataclass(frozen=True, slots=True)
class Sign:
    """Requests are signed as Standard Webhooks has it. `secrets` are one key or more, the bytes
    themselves, the newest first."""

    secrets: tuple[Secret, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """One `[[destination]]` table. Of every field but `match`, None or nothing means that it was
    not given.

    `rate`            how often attempts start, to each destination on its own; with a prefix
                      those of the messages whose rule it is.
    `concurrency`     how many of these attempts run at once at most.
    `timeout_ms`      for one attempt.
    `retries`         that follow the first attempt at most.
    `retry_delay_ms`  before the first retry, doubled for each further one.
    `retry_on`        status codes that are tried again, in place of `RETRY_ON`.
    `ack`             status codes that count as delivered, besides 2xx.
    `headers`, `sign` what is added to a request.
    `ca`              certificates that are trusted, in place of the machine's.
    `cert`, `key`     the client certificate; `key` is None where its file holds both.
    """

    match: Match
    rate: Rate | None = None
    concurrency: int | None = None
    timeout_ms: int | None = None
    retries: int | None = None
    retry_delay_ms: int | None = None
    retry_on: frozenset[int] | None = None
    ack: frozenset[int] = frozenset()
    headers: tuple[Header, ...] = ()
    sign: Sign | None = None
    ca: PemFile | None = None
    cert: PemFile | None = None
    key: PemFile | None = None

    @property
    def bounds_path(self) -> bool:
        """Whether it has a rate or a concurrency for some paths of a destination."""
        return bool(self.match.prefix) and (self.rate is not None or self.concurrency is not None)
