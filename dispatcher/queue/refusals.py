"""Why the queue accepts nothing, as callers are told."""

from __future__ import annotations

from typing import Final

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
LETTERS_FULL = Refusal(
    503,
    "disk_full",
    "The disk of the dead-letter log is full. This letter was not stored; make space, and send it "
    "again.",
    retry_after_s=5,
)
LETTERS_STALLED = Refusal(
    503,
    "disk_stalled",
    "The disk of the dead-letter log does not answer. This letter was not stored; send it again "
    "later.",
    retry_after_s=5,
)
DISK_STALLED = Refusal(
    503,
    "disk_stalled",
    "The disk of the transaction log does not answer. Nothing of this was stored; send the request "
    "again later.",
    retry_after_s=5,
)
LOG_LATE = Refusal(
    503,
    "log_late",
    "The servers of the cluster do not answer. Nothing of this was stored; send the request again.",
    retry_after_s=1,
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
TOO_MANY_HELD = Refusal(
    409,
    "too_many_held",
    "As many destinations are held as can be. Resume one first.",
)
IDEMPOTENCY_CONFLICT = Refusal(
    409,
    "idempotency_conflict",
    "This X-Dispatcher-Idempotency-Key was sent to this destination with another method, target or "
    "body. Nothing was stored; send another request with another key.",
)
LOG_BUSY = Refusal(
    503,
    "log_busy",
    "The dispatcher lacks descriptors or memory to write its log. Nothing was stored; send the "
    "request again later.",
    retry_after_s=5,
)
LOG_FAILED = Refusal(
    503,
    "log_failed",
    "The transaction log could not be written. Send the request again; it may have been stored.",
    retry_after_s=5,
)
MOVED = Refusal(
    503,
    "moved",
    "What this request is for is not here now: another process takes it over, or is being started "
    "again. Nothing was stored; send the request again.",
    retry_after_s=1,
)
UNANSWERED = Refusal(
    503,
    "no_answer",
    "The process that has this did not answer in time. Nobody knows whether it was done; see what "
    "became of it, and ask again.",
    retry_after_s=1,
)
NO_VERDICT = Refusal(
    503,
    "no_verdict",
    "The log gave no answer in time. Nobody knows whether this was stored; look for it, or send it "
    "again.",
    retry_after_s=1,
    is_silent=True,
)
GONE: Final = (LOG_FAILED, MOVED, NO_VERDICT)
"""After these the log that was asked stores nothing more."""
CALL_NOT_REVIVED = Refusal(
    503,
    "redrive_failed",
    "The function service did not bring this call back; the log of the server says why, unless it "
    "is stopping. It stays a dead letter.",
    retry_after_s=5,
)
GROUP_TOO_LARGE = Refusal(
    413,
    "group_too_large",
    "The messages for the members of this group are stored in one piece, and their heads together "
    "are more than that can hold. Nothing was stored; send fewer or shorter headers, or divide the "
    "group.",
)
RECORD_TOO_LARGE = Refusal(
    413,
    "record_too_large",
    "This is more than one record of the log can hold. Nothing was stored; please report it.",
)
