"""How the server is, as `/readyz` says it."""

from __future__ import annotations

from dataclasses import dataclass

_MESSAGES = {
    "starting": "The log is being read; messages are accepted when that is done.",
    "shutting_down": "The server is stopping and accepts nothing any more.",
    "disk_full": "There is no space for the log. Make space; accepting resumes by itself.",
    "backlog_full": "MAX_BACKLOG_BYTES are waiting to be delivered; accepting resumes by itself.",
    "overloaded": "Requests come faster than the disk takes them; accepting resumes by itself.",
    "log_failed": "A write to the log or a sync of it failed; the process ends.",
}


@dataclass(frozen=True, slots=True)
class Health:
    """`reason` is None when messages are accepted and the log is healthy, else a stable slug."""

    reason: str | None = None

    @property
    def is_ready(self) -> bool:
        """Whether messages are accepted and the log is healthy."""
        return self.reason is None

    @property
    def message(self) -> str:
        """What the reason means and what to do, for people; only when there is one."""
        return _MESSAGES.get(self.reason or "", "Messages are not accepted now.")
