"""Events as bytes: a code, a header, and the blobs behind it (`packing`).

The layout of an event's header is the order of the calls in its two functions here. It never
changes once it was used: another layout, also of one more field, gets another code, and the old one
is read for ever. A program that does not know a code refuses the log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from dispatcher.errors import LogTooNew
from dispatcher.functions.events import (
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
from dispatcher.functions.model import How, StateArm
from dispatcher.functions.spans import Span
from dispatcher.functions.store.packing import Reader, Writer
from dispatcher.functions.store.whole import read_copied, write_copied
from dispatcher.queue.records.kinds import Kind, RecordError


def encode(event: Event) -> tuple[int, bytes, list[bytes]]:
    """Code, header and blobs of an event."""
    code, write, _ = _BY_CLASS[type(event)]
    writer = Writer()
    write(writer, event)
    return code, bytes(writer.header), writer.blobs


def decode(code: int, position: int, header: bytes, offset: int) -> Event:
    """The event of the record at `position`, whose blobs begin at `offset` in its payload.

    Raises:
        LogTooNew: this version knows no event with that code.
        RecordError: it is not what its code says.
    """
    known = _BY_CODE.get(code)
    if known is None:
        raise LogTooNew(Kind.CALLS)
    try:
        event: Event = known(Reader(position, header, offset))
    except (IndexError, ValueError) as error:
        raise RecordError(f"event {code}: {error}") from error
    return event


def name_of(code: int) -> str:
    """What people call the event with this code; its number, where it is not known."""
    for kind, (known, _, _) in _BY_CLASS.items():
        if known == code:
            return kind.__name__.lower()
    return str(code)


def _write_calls(writer: Writer, calls: tuple[NewCall, ...]) -> None:
    writer.number(len(calls))
    key = created = 0
    for call in calls:
        writer.signed(call.key - key)
        writer.number(call.correlation)
        writer.text(call.endpoint)
        writer.text(call.function)
        writer.text(call.version)
        writer.signed(call.created_us - created)
        writer.signed(call.expires_us - call.created_us)
        writer.number(call.not_before_us)
        writer.number(call.timeout_ms)
        writer.blob(call.input)
        key, created = call.key, call.created_us


def _read_calls(reader: Reader) -> tuple[NewCall, ...]:
    calls: list[NewCall] = []
    key = created = 0
    for _ in range(reader.number()):
        key += reader.signed()
        correlation = reader.number()
        endpoint, function, version = reader.text(), reader.text(), reader.text()
        created += reader.signed()
        expires = created + reader.signed()
        not_before, timeout = reader.number(), reader.number()
        calls.append(
            NewCall(
                key,
                correlation,
                endpoint,
                function,
                version,
                created,
                expires,
                reader.blob(),
                not_before,
                timeout,
            )
        )
    return tuple(calls)


def _write_facts(writer: Writer, facts: tuple[Fact, ...]) -> None:
    writer.number(len(facts))
    for fact in facts:
        writer.text(fact.space)
        writer.text(fact.name)
        writer.blob_or_none(fact.value)
        writer.number(fact.expires_us)


def _read_facts(reader: Reader) -> tuple[Fact, ...]:
    return tuple(
        Fact(reader.text(), reader.text(), reader.blob_or_none(), reader.number())
        for _ in range(reader.number())
    )


def _write_created(writer: Writer, event: Created) -> None:
    writer.text(event.application)
    _write_calls(writer, event.calls)
    _write_facts(writer, event.facts)


def _read_created(reader: Reader) -> Created:
    return Created(reader.text(), _read_calls(reader), _read_facts(reader))


def _write_polled(writer: Writer, event: Polled) -> None:
    writer.number(event.key)
    writer.number(event.step)
    writer.number(event.delivered)
    writer.number(event.was_told)
    writer.number(event.arm)
    writer.blob(event.state)
    writer.number(event.state_crc)
    writer.number(event.is_appended)
    _write_calls(writer, event.calls)
    writer.number(event.min_results)
    writer.number(event.max_results)
    writer.number(event.due_us)
    writer.blob_or_none(event.error)
    writer.number(event.idle)


def _read_polled(reader: Reader) -> Polled:
    return Polled(
        key=reader.number(),
        step=reader.number(),
        delivered=reader.number(),
        was_told=bool(reader.number()),
        arm=StateArm(reader.number()),
        state=reader.blob(),
        state_crc=reader.number(),
        is_appended=bool(reader.number()),
        calls=_read_calls(reader),
        min_results=reader.number(),
        max_results=reader.number(),
        due_us=reader.number(),
        error=reader.blob_or_none(),
        idle=reader.number(),
    )


def _write_exited(writer: Writer, event: Exited) -> None:
    writer.number(event.key)
    writer.number(event.step)
    writer.number(event.how)
    writer.blob(event.result)
    writer.number(event.is_error)
    writer.number(event.at_us)


def _read_exited(reader: Reader) -> Exited:
    return Exited(
        reader.number(),
        reader.number(),
        How(reader.number()),
        reader.blob(),
        bool(reader.number()),
        reader.number(),
    )


def _write_tail(writer: Writer, event: TailCalled) -> None:
    writer.number(event.key)
    writer.number(event.step)
    writer.text(event.endpoint)
    writer.text(event.function)
    writer.text(event.version)
    writer.blob(event.input)


def _read_tail(reader: Reader) -> TailCalled:
    return TailCalled(
        reader.number(),
        reader.number(),
        reader.text(),
        reader.text(),
        reader.text(),
        reader.blob(),
    )


def _write_restarted(writer: Writer, event: Restarted) -> None:
    writer.number(event.key)
    writer.number(event.step)


def _read_restarted(reader: Reader) -> Restarted:
    return Restarted(reader.number(), reader.number())


def _write_resuming(writer: Writer, event: Resuming) -> None:
    writer.number(event.key)
    writer.number(event.step)
    writer.number(event.count)


def _read_resuming(reader: Reader) -> Resuming:
    return Resuming(reader.number(), reader.number(), reader.number())


def _write_retried(writer: Writer, event: Retried) -> None:
    writer.number(event.key)
    writer.number(event.step)
    writer.number(event.attempts)
    writer.number(event.due_us)


def _read_retried(reader: Reader) -> Retried:
    return Retried(reader.number(), reader.number(), reader.number(), reader.number())


def _write_ended(writer: Writer, event: Ended) -> None:
    writer.number(event.key)
    writer.number(event.how)
    writer.blob(event.result)
    writer.number(event.at_us)
    writer.number(event.with_children)


def _read_ended(reader: Reader) -> Ended:
    return Ended(
        reader.number(),
        How(reader.number()),
        reader.blob(),
        reader.number(),
        bool(reader.number()),
    )


def _write_cancel(writer: Writer, event: CancelAsked) -> None:
    writer.number(event.key)
    writer.blob(event.error)
    writer.blob(event.result)
    writer.number(event.until_us)
    _write_keys(writer, event.running)


def _read_cancel(reader: Reader) -> CancelAsked:
    return CancelAsked(
        reader.number(), reader.blob(), reader.blob(), reader.number(), _read_keys(reader)
    )


def _write_dropped(writer: Writer, event: Dropped) -> None:
    writer.number(event.key)
    _write_keys(writer, event.children)
    writer.blob(event.error)
    writer.blob(event.result)
    writer.number(event.until_us)
    _write_keys(writer, event.running)


def _read_dropped(reader: Reader) -> Dropped:
    return Dropped(
        reader.number(),
        _read_keys(reader),
        reader.blob(),
        reader.blob(),
        reader.number(),
        _read_keys(reader),
    )


def _write_completed(writer: Writer, event: Completed) -> None:
    writer.text(event.application)
    writer.text(event.name)
    writer.blob(event.result)
    writer.number(event.is_error)
    writer.number(event.at_us)
    writer.number(event.expires_us)
    writer.number(event.is_copy)


def _read_completed(reader: Reader) -> Completed:
    return Completed(
        reader.text(),
        reader.text(),
        reader.blob(),
        bool(reader.number()),
        reader.number(),
        reader.number(),
        bool(reader.number()),
    )


def _write_sent(writer: Writer, event: Sent) -> None:
    writer.text(event.application)
    writer.text(event.name)
    writer.blob(event.result)
    writer.number(event.is_error)
    writer.number(event.expires_us)
    writer.number(event.number)


def _read_sent(reader: Reader) -> Sent:
    return Sent(
        reader.text(),
        reader.text(),
        reader.blob(),
        bool(reader.number()),
        reader.number(),
        reader.number(),
    )


def _write_noted(writer: Writer, event: Noted) -> None:
    _write_facts(writer, event.facts)


def _read_noted(reader: Reader) -> Noted:
    return Noted(_read_facts(reader))


def _write_keys(writer: Writer, keys: tuple[int, ...]) -> None:
    writer.number(len(keys))
    before = 0
    for key in keys:
        writer.signed(key - before)
        before = key


def _read_keys(reader: Reader) -> tuple[int, ...]:
    keys = []
    key = 0
    for _ in range(reader.number()):
        key += reader.signed()
        keys.append(key)
    return tuple(keys)


def _write_forgotten(writer: Writer, event: Forgotten) -> None:
    _write_keys(writer, event.keys)


def _read_forgotten(reader: Reader) -> Forgotten:
    return Forgotten(_read_keys(reader))


def _write_given(writer: Writer, event: Given) -> None:
    writer.text(event.application)
    writer.text(event.endpoint)
    writer.number(event.number)
    _write_keys(writer, event.keys)
    writer.number(event.where)
    writer.number(event.is_error)


def _read_given(reader: Reader) -> Given:
    return Given(
        reader.text(),
        reader.text(),
        reader.number(),
        _read_keys(reader),
        Span(reader.number()),
        bool(reader.number()),
    )


def _write_gone(writer: Writer, event: Gone) -> None:
    writer.number(event.key)


def _read_gone(reader: Reader) -> Gone:
    return Gone(reader.number())


def _write_bytes(writer: Writer, event: Stored) -> None:
    writer.number(len(event.blobs))
    for blob in event.blobs:
        writer.blob(blob)


def _read_bytes(reader: Reader) -> Stored:
    return Stored(tuple(reader.blob() for _ in range(reader.number())))


_Write = Callable[[Writer, Any], None]
_Read = Callable[[Reader], Event]

_BY_CLASS: Final[dict[type[Event], tuple[int, _Write, _Read]]] = {
    Created: (1, _write_created, _read_created),
    Polled: (2, _write_polled, _read_polled),
    Exited: (3, _write_exited, _read_exited),
    TailCalled: (4, _write_tail, _read_tail),
    Restarted: (5, _write_restarted, _read_restarted),
    Resuming: (6, _write_resuming, _read_resuming),
    Retried: (7, _write_retried, _read_retried),
    Ended: (8, _write_ended, _read_ended),
    CancelAsked: (9, _write_cancel, _read_cancel),
    Completed: (10, _write_completed, _read_completed),
    Sent: (11, _write_sent, _read_sent),
    Noted: (12, _write_noted, _read_noted),
    Forgotten: (13, _write_forgotten, _read_forgotten),
    Gone: (14, _write_gone, _read_gone),
    Copied: (15, write_copied, read_copied),
    Given: (17, _write_given, _read_given),
    Stored: (16, _write_bytes, _read_bytes),
    Dropped: (18, _write_dropped, _read_dropped),
}
"""Codes of events, and how they are written and read. Codes are stored, and never used again."""

_BY_CODE: Final[dict[int, _Read]] = {code: read for code, _, read in _BY_CLASS.values()}
