"""How the server is, as `/readyz` says it."""

from __future__ import annotations

from dataclasses import dataclass

_MESSAGES = {
    "recovering": "The log is being read; messages are accepted when that is done.",
    "starting": "The server begins; messages are accepted in a moment.",
    "shutting_down": "The server is stopping: send no more messages here.",
    "disk_full": "There is no space for the log. Make space; accepting resumes by itself.",
    "disk_stalled": "The disk of a log does not answer. Look at it; accepting resumes by itself.",
    "log_late": "The servers of the cluster do not answer; accepting resumes by itself.",
    "moved": "No node has a partition that messages could be put in; one takes it over.",
    "backlog_full": "MAX_BACKLOG_BYTES are waiting to be delivered; accepting resumes by itself.",
    "overloaded": "Requests come faster than the disk takes them; accepting resumes by itself.",
    "log_failed": "A write to the log or a sync of it failed; the process ends.",
}


@dataclass(frozen=True, slots=True)
class Health:
    """`reason` is None when messages are accepted and the log is healthy, else a stable slug;
    `progress` says in a sentence how far that is, where it is known."""

    reason: str | None = None
    progress: str = ""

    @property
    def is_ready(self) -> bool:
        """Whether messages are accepted and the log is healthy."""
        return self.reason is None

    @property
    def is_begun(self) -> bool:
        """Whether there is anything to be asked: the log was read, and the parts are made."""
        return self.reason not in ("recovering", "starting")

    @property
    def message(self) -> str:
        """What the reason means and what to do, for people; only when there is one."""
        meaning = _MESSAGES.get(self.reason or "", "Messages are not accepted now.")
        return f"{meaning} {self.progress}" if self.progress else meaning
