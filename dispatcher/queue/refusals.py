"""Why the queue accepts nothing, as callers are told."""

from __future__ import annotations

from dispatcher.errors import Refusal

SHUTTING_DOWN = Refusal(
    503, "shutting_down", "The dispatcher is stopping. Send the request again.", retry_after_s=2
)
BACKLOG_FULL = Refusal(
    503,
    "backlog_full",
    "More is waiting to be delivered than MAX_BACKLOG_BYTES allows. Send the request again later.",
    retry_after_s=10,
)
OVERLOADED = Refusal(
    503,
    "overloaded",
    "Requests come faster than the disk takes them. Send the request again.",
    retry_after_s=1,
)
DISK_FULL = Refusal(
    503,
    "disk_full",
    "The disk of the transaction log is full. Nothing was stored; send the request again later.",
    retry_after_s=5,
)
NOT_DURABLE_FULL = Refusal(
    503,
    "disk_full",
    "There is no space on a disk of the dispatcher to make this durable. Make space, see what "
    "became of it, and ask again.",
    retry_after_s=5,
)
NOT_DURABLE_SLOW = Refusal(
    503,
    "overloaded",
    "A disk of the dispatcher takes too long to make this durable. See what became of it, and ask "
    "again.",
    retry_after_s=5,
)
TOO_MANY_PAUSED = Refusal(
    409,
    "too_many_paused",
    "As many destinations are paused as can be. Resume one first.",
)
LOG_FAILED = Refusal(
    503,
    "log_failed",
    "The transaction log could not be written. Send the request again; it may have been stored.",
    retry_after_s=5,
)
