"""What is stored of a schedule: its plan, and its mark. A version (one byte), and then

plan   the length of JSON (u32, big-endian), JSON, and the payload as it is: the input of a call,
       the body of a message
mark   JSON

Version 1 is that of calls. Version 2 has plans of messages, and marks whose last firings say how
they have ended; what version 1 can say is still written so, and older servers read it. They pass
over `earlier`, which is not there while it is empty.
"""

from __future__ import annotations

import json
from typing import Any, Final, assert_never

from dispatcher.errors import LogVersionTooNew
from dispatcher.schedules.plans import (
    CatchUp,
    Firing,
    Mark,
    Overlap,
    Plan,
    Planned,
    PlannedCall,
    PlannedMessage,
)

PLANS: Final = "schedule"
MARKS: Final = "schedule_mark"
"""Spaces of the facts."""
_FIRST: Final = b"\x01"
_MESSAGES: Final = b"\x02"
_VERSIONS: Final = (_FIRST, _MESSAGES)
_LENGTH_BYTES: Final = 4


def pack_plan(plan: Plan) -> bytes:
    """The bytes of a plan."""
    version, what, payload = _packed(plan.what)
    text = _json(
        {
            "kind": what.pop("kind"),
            "cron": plan.cron,
            "timezone": plan.timezone,
            **what,
            "overlap": plan.overlap.value,
            "catch_up": plan.catch_up.value,
            "paused": plan.paused,
        }
    )
    return version + len(text).to_bytes(_LENGTH_BYTES, "big") + text + payload


def _packed(what: Planned) -> tuple[bytes, dict[str, Any], bytes]:
    """The version, the fields and the payload of what is planned."""
    match what:
        case PlannedCall():
            fields = {"kind": "call", "endpoint": what.endpoint, "function": what.function}
            return _FIRST, fields, what.input
        case PlannedMessage():
            return (
                _MESSAGES,
                {
                    "kind": "message",
                    "destination": what.destination,
                    "method": what.method,
                    "target": what.target,
                    "headers": what.headers,
                    "options": dict(what.options),
                },
                what.body,
            )
        case _:
            assert_never(what)


def read_plan(data: bytes) -> Plan:
    """A plan from its bytes.

    Raises:
        LogVersionTooNew: a newer version wrote it.
    """
    _check_version(data)
    begin = 1 + _LENGTH_BYTES
    end = begin + int.from_bytes(data[1:begin], "big")
    found = json.loads(data[begin:end])
    return Plan(
        found["cron"],
        found["timezone"],
        _what(found, data[end:]),
        Overlap(found["overlap"]),
        CatchUp(found["catch_up"]),
        found["paused"],
    )


def _what(found: dict[str, Any], payload: bytes) -> Planned:
    match found["kind"]:
        case "call":
            return PlannedCall(found["endpoint"], found["function"], payload)
        case "message":
            return PlannedMessage(
                found["destination"],
                found["method"],
                found["target"],
                tuple((name, value) for name, value in found["headers"]),
                payload,
                tuple(found["options"].items()),
            )
        case kind:
            raise LogVersionTooNew("a schedule", f"the kind {kind!r}")


def pack_mark(mark: Mark) -> bytes:
    """The bytes of a mark."""
    firings = (mark.fired, mark.run)
    version = _MESSAGES if any(one is not None and one.outcome for one in firings) else _FIRST
    found: dict[str, Any] = {
        "since_us": mark.since_us,
        "fired": _packed_firing(mark.fired),
        "run": _packed_firing(mark.run),
        "skipped": mark.skipped,
    }
    if mark.earlier:
        found["earlier"] = [_packed_firing(one) for one in mark.earlier]
    return version + _json(found)


def read_mark(data: bytes) -> Mark:
    """A mark from its bytes.

    Raises:
        LogVersionTooNew: a newer version wrote it.
    """
    _check_version(data)
    found = json.loads(data[1:])
    return Mark(
        found["since_us"],
        _read_firing(found["fired"]),
        _read_firing(found["run"]),
        found["skipped"],
        tuple(Firing(*one) for one in found.get("earlier", ())),
    )


def _check_version(data: bytes) -> None:
    if data[:1] not in _VERSIONS:
        raise LogVersionTooNew("a schedule", f"version {data[0]} of its record")


def _packed_firing(firing: Firing | None) -> list[int | str] | None:
    if firing is None:
        return None
    packed: list[int | str] = [firing.at_us, firing.key]
    return [*packed, firing.outcome] if firing.outcome else packed


def _read_firing(found: list[Any] | None) -> Firing | None:
    return None if found is None else Firing(*found)


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")
