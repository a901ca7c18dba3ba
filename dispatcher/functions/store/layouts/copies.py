"""The layouts of what compaction writes: a whole call (`Copied`), and the bytes of a large one
(`Stored`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from dispatcher.functions.events import Blob, Copied, Event, Stored
from dispatcher.functions.model import (
    NO_KEYS,
    Call,
    How,
    Keys,
    Phase,
    Poll,
    Result,
    StateArm,
    with_keys,
)
from dispatcher.functions.spans import Span
from dispatcher.functions.store.layouts.parts import Layout, read_keys, write_keys
from dispatcher.functions.store.packing import Reader, Writer


def _write_copied(writer: Writer, event: Copied) -> None:
    _write_call(writer, event)


def _write_keeping(writer: Writer, event: Copied) -> None:
    blobs = _write_call(writer, event)
    _write_results(writer, event.call, event.call.kept, blobs)


def _write_traced(writer: Writer, event: Copied) -> None:
    _write_keeping(writer, event)
    writer.text(event.call.trace)


def _write_call(writer: Writer, event: Copied) -> Iterator[Blob]:
    """Append all but the results that it keeps; the bytes of these are left."""
    call = event.call
    assert len(event.blobs) == len(call.spans), "a blob for each span"
    writer.number(event.count)
    writer.number(event.first)
    writer.number(event.made)
    writer.number(call.key)
    for key in (call.parent, call.root):
        writer.signed(key - call.key if key else 0)
        writer.number(bool(key))
    writer.number(call.correlation)
    writer.number(call.parent_generation)
    for text in (call.endpoint, call.function, call.version, call.application):
        writer.text(text)
    writer.number(call.created_us)
    writer.signed(call.expires_us - call.created_us)
    for number in (
        call.not_before_us,
        call.depth,
        call.timeout_ms,
        call.step,
        call.generation,
        call.began_step,
        call.reached,
        call.restarts,
        call.arm,
        call.state_crc,
        call.phase,
        call.idle,
        call.cancelling,
        call.is_error,
        call.attempts,
        call.due_us,
        call.how or 0,
    ):
        writer.number(number)
    writer.signed(call.frozen)
    writer.number(call.poll is not None)
    if call.poll is not None:
        writer.number(call.poll.min_results)
        writer.number(call.poll.max_results)
        writer.number(call.poll.due_us)
    write_keys(writer, sorted(call.children), call.key)
    write_keys(writer, sorted(call.strays), call.key)
    blobs = iter(event.blobs)
    _write_place(writer, next(blobs))
    writer.number(len(call.states))
    for _ in call.states:
        _write_place(writer, next(blobs))
    _write_results(writer, call, call.results, blobs)
    for where in (call.error, call.result):
        writer.number(where is not None)
        if where is not None:
            _write_place(writer, next(blobs))
    return blobs


def _write_results(
    writer: Writer, call: Call, results: Sequence[Result], blobs: Iterator[Blob]
) -> None:
    writer.number(len(results))
    for result in results:
        writer.number(result.correlation)
        writer.signed(result.child - call.key)
        writer.number(result.is_error)
        _write_place(writer, next(blobs))


def _write_place(writer: Writer, blob: Blob) -> None:
    """Bytes that are in this record, or where they are."""
    if isinstance(blob, bytes):
        writer.number(0)
        writer.blob(blob)
    else:
        writer.number(blob)


def _read_place(reader: Reader) -> Span:
    where = reader.number()
    return Span(where) if where else reader.blob()


def _read_place_or_none(reader: Reader) -> Span | None:
    return _read_place(reader) if reader.number() else None


def _read_keys(reader: Reader, key: int) -> Keys:
    return with_keys(NO_KEYS, read_keys(reader, key))


def _read_copied(reader: Reader) -> Copied:
    count, first, made = reader.number(), reader.number(), reader.number()
    key = reader.number()
    parent, root = (_other(key, reader.signed(), reader.number()) for _ in range(2))
    correlation, parent_generation = reader.number(), reader.number()
    endpoint, function, version, application = (reader.text() for _ in range(4))
    created = reader.number()
    expires = created + reader.signed()
    not_before, depth, timeout, step, generation, began, reached, restarts = (
        reader.number() for _ in range(8)
    )
    arm, crc, phase, idle, cancelling, is_error, attempts, due, how = (
        reader.number() for _ in range(9)
    )
    frozen = reader.signed()
    poll = Poll(reader.number(), reader.number(), reader.number()) if reader.number() else None
    children = _read_keys(reader, key)
    strays = _read_keys(reader, key)
    call = Call(
        key,
        parent=parent,
        root=root,
        correlation=correlation,
        parent_generation=parent_generation,
        endpoint=endpoint,
        function=function,
        version=version,
        application=application,
        created_us=created,
        expires_us=expires,
        not_before_us=not_before,
        depth=depth,
        timeout_ms=timeout,
        input=_read_place(reader),
    )
    call.step, call.generation, call.began_step = step, generation, began
    call.reached, call.restarts = reached, restarts
    call.arm, call.state_crc, call.phase = StateArm(arm), crc, Phase(phase)
    call.idle, call.cancelling, call.is_error = idle, bool(cancelling), bool(is_error)
    call.attempts, call.due_us = attempts, due
    call.how = How(how) if how else None
    call.frozen, call.poll = frozen, poll
    call.children, call.strays = children, strays
    call.states = tuple(_read_place(reader) for _ in range(reader.number()))
    call.results = _read_results(reader, key)
    call.error = _read_place_or_none(reader)
    call.result = _read_place_or_none(reader)
    return Copied(call, (), made, count, first)


def _read_keeping(reader: Reader) -> Copied:
    event = _read_copied(reader)
    event.call.kept = _read_results(reader, event.call.key)
    return event


def _read_traced(reader: Reader) -> Copied:
    event = _read_keeping(reader)
    event.call.trace = reader.text()
    return event


def _other(key: int, distance: int, exists: int) -> int:
    return key + distance if exists else 0


def _read_results(reader: Reader, key: int) -> tuple[Result, ...]:
    return tuple(_read_result(reader, key) for _ in range(reader.number()))


def _read_result(reader: Reader, key: int) -> Result:
    correlation, child, is_error = reader.number(), key + reader.signed(), reader.number()
    where = _read_place(reader)
    return Result(correlation, child, where, bool(is_error))


def _write_stored(writer: Writer, event: Stored) -> None:
    writer.number(len(event.blobs))
    for blob in event.blobs:
        writer.blob(blob)


def _read_stored(reader: Reader) -> Stored:
    return Stored(tuple(reader.blob() for _ in range(reader.number())))


COPIES: Final[Mapping[type[Event], Layout]] = {
    Copied: Layout(_write_copied, _read_copied),
    Stored: Layout(_write_stored, _read_stored),
}
KEEPING_COPIES: Final[Mapping[type[Event], Layout]] = {
    Copied: Layout(_write_keeping, _read_keeping),
}
"""With the results that the call keeps."""
TRACED_COPIES: Final[Mapping[type[Event], Layout]] = {
    Copied: Layout(_write_traced, _read_traced),
}
"""With its trace, and the results that it keeps, if any."""
