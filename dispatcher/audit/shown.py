"""What a record of the audit's log says, for people (`dispatcher log dump`)."""

from __future__ import annotations

import json

from dispatcher.audit.records import AuditKind, decode_entry
from dispatcher.core.instants import rfc3339
from dispatcher.queue.records.kinds import RecordError
from dispatcher.queue.records.shown import Shown


def is_of_audit(payload: bytes) -> bool:
    """Whether a record is of a kind that only the audit's log has."""
    return bool(payload) and payload[0] in AuditKind.__members__.values()


def show_audit_record(payload: bytes) -> Shown:
    """Return the fields of such a record. One that cannot be read says so in `unreadable`."""
    shown: Shown = {"kind": AuditKind(payload[0]).name.lower()}
    try:
        entry = decode_entry(payload)
    except RecordError as error:
        return {**shown, "unreadable": str(error)}
    shown |= {"number": entry.number, "at": rfc3339(entry.at_us), "action": entry.action}
    if entry.count is not None:
        shown["count"] = entry.count
    given = {"key": entry.key, "error": entry.error, "job": entry.job}
    shown |= {name: value for name, value in given.items() if value is not None}
    if entry.selection:
        shown["selection"] = json.dumps(dict(entry.selection), ensure_ascii=False)
    return shown
