"""What is stored of a schedule: its plan, and its mark. A version (one byte), and then

plan   the length of JSON (u32, big-endian), JSON, and the input as it is
mark   JSON
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from dispatcher.errors import LogVersionTooNew

PLANS: Final = "schedule"
MARKS: Final = "schedule_mark"
"""Spaces of the facts."""
_VERSION: Final = b"\x01"
_CALL: Final = "call"
_LENGTH_BYTES: Final = 4


class Overlap(Enum):
    """What is done while the call of the firing before has not ended; the value is the API's word.

    QUEUE  the firing waits until it has.
    SKIP   the firing is left out.
    """

    QUEUE = "queue"
    SKIP = "skip"


class CatchUp(Enum):
    """Which firings are made up for that came while the server was down; the value is the API's
    word."""

    NONE = "none"
    LAST = "last"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done when. `input` is a serialized Any, or b"" for no input."""

    cron: str
    timezone: str
    endpoint: str
    function: str
    input: bytes = b""
    overlap: Overlap = Overlap.QUEUE
    catch_up: CatchUp = CatchUp.LAST
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Firing:
    """A call that was made: for which time (µs since the epoch), and its key."""

    at_us: int
    key: int


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a schedule has come: firings until `since_us` are dealt with.

    `fired` is the last one that made a call, `run` the last one that somebody asked for, `skipped`
    how many were left out since the schedule began.
    """

    since_us: int
    fired: Firing | None = None
    run: Firing | None = None
    skipped: int = 0


def pack_plan(plan: Plan) -> bytes:
    """The bytes of a plan."""
    text = _json(
        {
            "kind": _CALL,
            "cron": plan.cron,
            "timezone": plan.timezone,
            "endpoint": plan.endpoint,
            "function": plan.function,
            "overlap": plan.overlap.value,
            "catch_up": plan.catch_up.value,
            "paused": plan.paused,
        }
    )
    return _VERSION + len(text).to_bytes(_LENGTH_BYTES, "big") + text + plan.input


def read_plan(data: bytes) -> Plan:
    """A plan from its bytes.

    Raises:
        LogVersionTooNew: a newer version wrote it.
    """
    _check_version(data)
    begin = len(_VERSION) + _LENGTH_BYTES
    end = begin + int.from_bytes(data[len(_VERSION) : begin], "big")
    found = json.loads(data[begin:end])
    if found["kind"] != _CALL:
        raise LogVersionTooNew("a schedule", f"the kind {found['kind']!r}")
    return Plan(
        found["cron"],
        found["timezone"],
        found["endpoint"],
        found["function"],
        data[end:],
        Overlap(found["overlap"]),
        CatchUp(found["catch_up"]),
        found["paused"],
    )


def pack_mark(mark: Mark) -> bytes:
    """The bytes of a mark."""
    return _VERSION + _json(
        {
            "since_us": mark.since_us,
            "fired": _packed_firing(mark.fired),
            "run": _packed_firing(mark.run),
            "skipped": mark.skipped,
        }
    )


def read_mark(data: bytes) -> Mark:
    """A mark from its bytes.

    Raises:
        LogVersionTooNew: a newer version wrote it.
    """
    _check_version(data)
    found = json.loads(data[len(_VERSION) :])
    return Mark(
        found["since_us"],
        _read_firing(found["fired"]),
        _read_firing(found["run"]),
        found["skipped"],
    )


def _check_version(data: bytes) -> None:
    if data[: len(_VERSION)] != _VERSION:
        raise LogVersionTooNew("a schedule", f"version {data[0]} of its record")


def _packed_firing(firing: Firing | None) -> list[int] | None:
    return None if firing is None else [firing.at_us, firing.key]


def _read_firing(found: list[int] | None) -> Firing | None:
    return None if found is None else Firing(*found)


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")
