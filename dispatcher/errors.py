"""The one tree of exceptions, and the refusals that callers see.

Every error has a stable `slug` that is used in HTTP answers, log lines and the documentation, and a
message that says what is wrong and what to do about it. `exit_code` is what the process ends with
when the error ends it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class DispatcherError(Exception):
    """Base of everything this package raises on purpose."""

    slug: ClassVar[str] = "internal_error"
    exit_code: ClassVar[int] = 1


class ConfigError(DispatcherError):
    """A setting cannot be read, is out of range, or contradicts another one."""

    slug = "config_invalid"
    exit_code = 2


class PortTaken(DispatcherError):
    """An address to listen on is in use, or may not be bound."""

    slug = "port_taken"
    exit_code = 3


class LogError(DispatcherError):
    """Base of everything a transaction log raises."""

    slug = "log_error"


class LogLocked(LogError):
    """Another process has the log open."""

    slug = "log_locked"
    exit_code = 4


class LogCorrupt(LogError):
    """The log is damaged somewhere else than at its torn tail. Nothing was changed."""

    slug = "log_damaged"
    exit_code = 5

    def __init__(self, path: str, offset: int, reason: str) -> None:
        super().__init__(
            f"{path}: damaged at offset {offset}: {reason}. Nothing was changed. "
            "`dispatcher log verify` lists what is damaged, `dispatcher log repair` what would be "
            "lost."
        )
        self.path = path
        self.offset = offset
        self.reason = reason


class LogUnavailable(LogError):
    """The batch is certainly not stored; the same call may work later (no space left)."""

    slug = "disk_full"


class LogUnknown(LogError):
    """The batch may or may not be stored. The log is closed and has to be opened again."""

    slug = "log_failed"


class LogFenced(LogError):
    """A newer owner has opened the log; this one never writes again."""

    slug = "log_fenced"


class LogTrimmed(LogError):
    """The position was trimmed away."""

    slug = "log_trimmed"


class LogTooNew(LogError):
    """The log holds records of a kind that this version does not know. Nothing was changed."""

    slug = "log_too_new"

    def __init__(self, kind: int) -> None:
        super().__init__(
            f"the log holds records of kind {kind}, which this version does not know: a newer "
            "version wrote them. Start that version; nothing was changed."
        )


class BatchTooLarge(LogError):
    """The batch is larger than `max_batch_bytes`; nothing was stored."""

    slug = "batch_too_large"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not accepted, as the caller is told.

    `status` is the HTTP status, `slug` the stable name (also the `reason` label in the metrics),
    `message` what is wrong and what to do, `retry_after_s` the value of `Retry-After` in seconds or
    None.
    """

    status: int
    slug: str
    message: str
    retry_after_s: int | None = None


class Refused(DispatcherError):
    """What was asked for can't be done now, and nothing has changed."""

    slug = "refused"

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
