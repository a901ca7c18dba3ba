"""What a record of calls says, for people (`dispatcher log dump`): who, what, how much; never the
bytes of an input, a state or a result."""

from __future__ import annotations

import re
from collections.abc import Iterable
from struct import error as StructError  # noqa: N812  # as other exceptions are spelled
from typing import Final, assert_never

from dispatcher.core.instants import rfc3339
from dispatcher.errors import LogTooNew
from dispatcher.functions.events import (
    Blob,
    CancelAsked,
    Completed,
    Copied,
    Created,
    Dropped,
    Ended,
    Event,
    Exited,
    Fact,
    Forgotten,
    Given,
    Gone,
    NewCall,
    Noted,
    Polled,
    Restarted,
    Resuming,
    Retried,
    Sent,
    Stored,
    TailCalled,
)
from dispatcher.functions.ids import call_id
from dispatcher.functions.model import NONE
from dispatcher.functions.spans import length_of
from dispatcher.functions.store.records import chunks_of, decoded
from dispatcher.queue.records.kinds import GUESTS, Kind, RecordError
from dispatcher.queue.records.shown import Shown

_HUMP: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


def is_of_calls(payload: bytes) -> bool:
    """Whether a record of the transaction log says what happened to calls."""
    return bool(payload) and payload[0] in GUESTS


def show_call_record(position: int, payload: bytes, *, partition: int = 0) -> Shown:
    """Return the fields of the record at `position`. One that cannot be read says so in
    `unreadable`. `chunks` are the positions of the records that hold its bytes, where those have
    records of their own."""
    shown: Shown = {"kind": Kind(payload[0]).name.lower()}
    try:
        event = decoded(position, payload)
        shown |= {"event": _HUMP.sub("_", type(event).__name__).lower()}
        shown |= _Showing(partition).fields(event)
        chunks = chunks_of(payload)
    except LogTooNew:
        return {**shown, "unreadable": "not known to this version"}
    except (RecordError, StructError, ValueError, IndexError) as error:
        return {**shown, "unreadable": str(error)}
    return shown | ({"chunks": [f"{one:#x}" for one in chunks]} if chunks else {})


class _Showing:
    """Fields of events. `partition` is in the ids of calls."""

    def __init__(self, partition: int) -> None:
        self._partition = partition

    def fields(self, event: Event) -> Shown:
        """All that is shown of an event but its name."""
        match event:
            case Created():
                application: Shown = {"application": event.application}
                return application | self._new(event.calls) | _facts(event.facts)
            case Noted():
                return _facts(event.facts)
            case Forgotten():
                return {"ids": self._ids(event.keys)}
            case Completed():
                return self._outside(event)
            case Sent():
                return {**self._outside(event), "number": self._id(event.number)}
            case Given():
                return {
                    "application": event.application,
                    "endpoint": event.endpoint,
                    "ids": self._ids(event.keys),
                }
            case Copied():
                return self._copied(event)
            case Stored():
                return {"bytes": sum(map(_size, event.blobs))}
            case _:
                return {"id": self._id(event.key), **self._of_call(event)}

    def _of_call(
        self,
        event: Polled
        | Exited
        | TailCalled
        | Restarted
        | Resuming
        | Retried
        | Ended
        | CancelAsked
        | Dropped
        | Gone,
    ) -> Shown:
        match event:
            case Polled():
                return self._polled(event)
            case Exited():
                return {"step": event.step, **_ended(event)}
            case TailCalled():
                return {
                    "step": event.step,
                    "function": event.function,
                    "endpoint": event.endpoint,
                    "input_bytes": _size(event.input),
                }
            case Restarted():
                return {"step": event.step}
            case Resuming():
                return {"step": event.step, "results": event.count}
            case Retried():
                due_at = rfc3339(event.due_us)
                return {"step": event.step, "attempts": event.attempts, "due_at": due_at}
            case Ended():
                return {**_ended(event), "with_children": int(event.with_children)}
            case CancelAsked():
                return {"until": rfc3339(event.until_us)}
            case Dropped():
                return {"ids": self._ids(event.children), "until": rfc3339(event.until_us)}
            case Gone():
                return {}
            case _:
                assert_never(event)

    def _polled(self, event: Polled) -> Shown:
        shown: Shown = {
            "step": event.step,
            "delivered": event.delivered,
            "state_bytes": _size(event.state),
            "appended": int(event.is_appended),
            "min_results": event.min_results,
            "max_results": event.max_results,
        }
        if event.due_us:
            shown["due_at"] = rfc3339(event.due_us)
        return shown | (self._new(event.calls) if event.calls else {})

    def _new(self, calls: Iterable[NewCall]) -> Shown:
        """Calls that begin: their ids, and what they are of, each word once."""
        calls = tuple(calls)
        return {
            "ids": self._ids(call.key for call in calls),
            "functions": _once(call.function for call in calls),
            "endpoints": _once(call.endpoint for call in calls),
            "input_bytes": sum(_size(call.input) for call in calls),
        }

    def _copied(self, event: Copied) -> Shown:
        call = event.call
        shown: Shown = {
            "id": self._id(call.key),
            "function": call.function,
            "endpoint": call.endpoint,
            "application": call.application,
        }
        if call.parent != NONE:
            shown["parent"] = self._id(call.parent)
            shown["root"] = self._id(call.root)
        shown |= {"phase": call.phase.name.lower(), "step": call.step}
        shown |= {"children": len(call.children), "results": len(call.results)}
        shown["bytes"] = sum(map(length_of, call.spans))
        return shown | ({"copies": event.count} if event.count else {})

    def _outside(self, event: Completed | Sent) -> Shown:
        return {
            "application": event.application,
            "name": event.name,
            "result_bytes": _size(event.result),
            "expires_at": rfc3339(event.expires_us),
        }

    def _ids(self, keys: Iterable[int]) -> list[str]:
        return [self._id(key) for key in keys]

    def _id(self, key: int) -> str:
        return call_id(self._partition, key)


def _ended(event: Exited | Ended) -> Shown:
    return {
        "how": event.how.name.lower(),
        "result_bytes": _size(event.result),
        "ended_at": rfc3339(event.at_us),
    }


def _facts(facts: Iterable[Fact]) -> Shown:
    """What is noted: of what kind, how much. Names may be callers' keys."""
    facts = tuple(facts)
    if not facts:
        return {}
    size_bytes = sum(0 if fact.value is None else _size(fact.value) for fact in facts)
    return {"facts": _once(fact.space for fact in facts), "fact_bytes": size_bytes}


def _once(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))


def _size(blob: Blob) -> int:
    return len(blob) if isinstance(blob, bytes) else length_of(blob)
