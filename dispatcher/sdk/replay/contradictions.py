"""What is said where a body does not do what is on record: both places, and what to do about it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from dispatcher.sdk.replay import where
from dispatcher.sdk.replay.model import Cancelled, Failure, Kind, Operation, Told
from dispatcher.sdk.replay.record import Entry, Record
from dispatcher.sdk.replay.writing import fingerprint, slept_ms

SHOWN_BEFORE = 5
"""How many of the operations before it a message names."""


def other_operation(told: Told, record: Record, entry: Entry, *, now: Operation, index: int) -> str:
    """The body came by `now`, the operation number `index` (from 0) of its task, where `entry` is
    on record."""
    said = f"await {index + 1}: {named(now)}, called at {now.site}"
    if entry.kind == now.kind.value and named(now) == _shown(entry):
        said = f"await {index + 1}: {named(now)} with another input, called at {now.site}"
    before = _before(record, entry)
    sites = [each.site for each in before[-1:]] + [entry.site, now.site]
    return _message(told, record, entry, [said], before, look=where.lines(sites))


def never_reached(told: Told, record: Record, entry: Entry, *, now: Sequence[str]) -> str:
    """The body went another way: `now` says where its tasks stand, a line each."""
    before = _before(record, entry)
    sites = [each.site for each in before[-1:]] + [entry.site]
    return _message(told, record, entry, now, before, look=where.lines(sites))


def other_timer(told: Told, record: Record, path: str, *, now: Sequence[str]) -> str:
    """A timer of asyncio ended that the body did not set, or set for later."""
    whose = f"task {path}" if path else "the body"
    lines = [
        _head(told, record),
        f"  recorded   a timer of {whose} ended: of asyncio.sleep, timeout or wait_for",
        *_under("now", now),
        f"{_EDITED} Not edited: look for sets, globals, time, random or I/O before it.",
    ]
    return "\n".join(lines + _other_python(record))


def named(operation: Operation) -> str:
    """What messages call an operation: "transform", "sleep 60 s"."""
    return _words(
        operation.kind.value, operation.function, operation.endpoint, fingerprint(operation)
    )


def ended_before(told: Told, record: Record, reason: str, *, now: Sequence[str]) -> str:
    """The body ends before it is cancelled as it was."""
    lines = [
        _head(told, record),
        f"  recorded   the call was cancelled: {reason}",
        *_under("now", now),
        f"{_EDITED} Not edited: look for sets, globals, time, random or I/O before it ends.",
    ]
    return "\n".join(lines + _other_python(record))


_EDITED = 'Edited before the place where it waits? Guard it with dispatch.patched("…").'


def _message(
    told: Told,
    record: Record,
    entry: Entry,
    now: Sequence[str],
    before: Sequence[Entry],
    *,
    look: str,
) -> str:
    whose = f" of task {entry.path}" if entry.path else ""
    index = record.of_task(entry.path).index(entry.id) + 1
    lines = [
        _head(told, record),
        f"  recorded   await {index}{whose}: {_shown(entry)}, called at {entry.site}",
        *_under("now", now),
    ]
    if before:
        lines.append("  before it  " + _listed(record, before, index - 1))
    lines.append(f"{_EDITED} Not edited: look for sets, globals, time, random or I/O at {look}.")
    return "\n".join(lines + _other_python(record))


def _head(told: Told, record: Record) -> str:
    return (
        f"{told.function} (call {told.id}, {ordinal(record.columns.outcomes)} resume) "
        "no longer fits its record."
    )


def without_edits(message: str) -> str:
    """Return what a message says where nobody can have edited the code: not whose it is, which is
    its first line."""
    return message.partition("\n")[2].replace(f"{_EDITED} Not edited: look", "Look")


def _under(word: str, lines: Sequence[str]) -> list[str]:
    return [f"  {word if not n else '':<9}  {line}" for n, line in enumerate(lines)]


def _other_python(record: Record) -> list[str]:
    if record.columns.python == sys.version_info.minor:
        return []
    return [
        f"It began on Python 3.{record.columns.python}, and this is 3.{sys.version_info.minor}."
    ]


def _before(record: Record, entry: Entry) -> list[Entry]:
    ids = record.of_task(entry.path)
    at = ids.index(entry.id)
    return [record.entry(id) for id in ids[max(at - SHOWN_BEFORE, 0) : at]]


def _listed(record: Record, entries: Sequence[Entry], end: int) -> str:
    first = end - len(entries) + 1
    said = [
        f"{first + n} {_shown(entry)}{_ended(record, entry)}" for n, entry in enumerate(entries)
    ]
    return ("… · " if first > 1 else "") + " · ".join(said)


def _ended(record: Record, entry: Entry) -> str:
    columns = record.columns
    if entry.id not in columns.event_of:
        return " not ended"
    result = columns.results[columns.event_of.index(entry.id)]
    if entry.kind == Kind.SLEEP.value or isinstance(result, Cancelled):
        return ""
    return f" failed: {result.type}" if isinstance(result, Failure) else " ok"


def _shown(entry: Entry) -> str:
    return _words(entry.kind, entry.function, entry.endpoint, entry.number)


def _words(kind: str, function: str, endpoint: str, number: int) -> str:
    if kind == Kind.SLEEP.value:
        seconds, ms = divmod(slept_ms(number), 1000)
        return f"sleep {seconds}{f'.{ms:03}'.rstrip('0') if ms else ''} s"
    if kind == Kind.STEP.value:
        return f"step {function}"
    if endpoint.startswith(("promise:", "channel:")):
        return endpoint.replace(":", " ", 1)
    return f"{function} of {endpoint}" if endpoint else function


def ordinal(number: int) -> str:
    """Return "1st", "2nd", "3rd", "4th" …"""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number % 100 in (11, 12, 13) else ending}"
