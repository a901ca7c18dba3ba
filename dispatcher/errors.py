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


class KeyNotDurable(DispatcherError):
    """The disk did not take the file of the signing key. No setting is wrong, and no sync is
    repeated: another start may find the disk well."""

    slug = "key_not_durable"


class PortTaken(DispatcherError):
    """An address to listen on is in use, or may not be bound."""

    slug = "port_taken"
    exit_code = 3


class LogError(DispatcherError):
    """Base of everything a transaction log raises.

    `ends_process` says what a partition that can't go on after this error takes with it: True, the
    whole process (its disk, or what is on it, can't be trusted any more); False, nothing but
    itself (another node has its log now, or nobody can reach it).
    """

    slug = "log_error"
    ends_process: ClassVar[bool] = False


class LogLocked(LogError):
    """Another process has the log open."""

    slug = "log_locked"
    exit_code = 4


class LogCorrupt(LogError):
    """The log is damaged somewhere else than at its torn tail. Nothing was changed."""

    slug = "log_damaged"
    exit_code = 5
    ends_process = True

    def __init__(self, path: str, offset: int, reason: str) -> None:
        super().__init__(
            f"{path}: damaged at offset {offset}: {reason}. Nothing was changed. "
            "`dispatcher log verify` lists what is damaged, `dispatcher log repair` what would be "
            "lost."
        )
        self.path = path
        self.offset = offset
        self.reason = reason


class StreamCorrupt(LogCorrupt):
    """The same of a log on other machines: the partition ends here, and nothing of this machine is
    in doubt."""

    ends_process = False

    def __init__(self, path: str, offset: int, reason: str) -> None:
        super().__init__(path, offset, reason)
        self.args = (f"{path}: damaged at message {offset}: {reason}. Nothing was changed.",)


class LogUnavailable(LogError):
    """The batch is certainly not stored; the same call may work later (no space left)."""

    slug = "disk_full"


class LogBusy(LogUnavailable):
    """Nothing was done and nothing is wrong with the log: descriptors or memory are lacking for the
    moment. Ask again."""

    slug = "log_busy"


class LogUnknown(LogError):
    """The batch may or may not be stored. The log is closed and has to be opened again."""

    slug = "log_failed"


class LogFailed(LogUnknown):
    """A write or a sync of this machine's disk failed: what is stored is known only to the process
    that opens the log next. No sync is repeated, so this process has to end."""

    ends_process = True


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


class LogVersionTooNew(LogError):
    """The log has a format that this version does not know. Nothing was changed."""

    slug = "log_too_new"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"{path}: {reason}: a newer version wrote it. Start that version; nothing was changed."
        )


class BatchTooLarge(LogError):
    """The batch is larger than `max_batch_bytes`; nothing was stored."""

    slug = "batch_too_large"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not accepted, as the caller is told.

    `status` is the HTTP status, `slug` the stable name (also the `reason` label in the metrics),
    `message` what is wrong and what to do, `retry_after_s` the value of `Retry-After` in seconds or
    None. `phrase` stands beside the status in place of the usual one, for clients that show nobody
    the body. With `is_silent` the caller gets no answer at all: its connection is cut, which says
    what nobody can say better, that the request may have been carried out or not.
    """

    status: int
    slug: str
    message: str
    retry_after_s: int | None = None
    phrase: str = ""
    is_silent: bool = False


class Refused(DispatcherError):
    """What was asked for can't be done now. It may be done all the same, or in part, where it was
    begun already: look at what became of it, then ask again."""

    slug = "refused"

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
