"""The layouts of what an answer of an application leads to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dispatcher.functions.events import (
    Event,
    Exited,
    Polled,
    Restarted,
    Resuming,
    Retried,
    TailCalled,
)
from dispatcher.functions.model import How, StateArm
from dispatcher.functions.store.layouts.parts import (
    Layout,
    read_calls,
    read_keys,
    write_calls,
    write_keys,
)
from dispatcher.functions.store.packing import Reader, Writer


def _write_polled(writer: Writer, event: Polled) -> None:
    writer.number(event.key)
    writer.number(event.step)
    writer.number(event.delivered)
    writer.number(event.was_told)
    writer.number(event.arm)
    writer.blob(event.state)
    writer.number(event.state_crc)
    writer.number(event.is_appended)
    write_calls(writer, event.calls)
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
        calls=read_calls(reader),
        min_results=reader.number(),
        max_results=reader.number(),
        due_us=reader.number(),
        error=reader.blob_or_none(),
        idle=reader.number(),
    )


def _write_keeping(writer: Writer, event: Polled) -> None:
    _write_polled(writer, event)
    write_keys(writer, event.keep)


def _read_keeping(reader: Reader) -> Polled:
    event = _read_polled(reader)
    event.keep = read_keys(reader)
    return event


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


def _write_tail_called(writer: Writer, event: TailCalled) -> None:
    writer.number(event.key)
    writer.number(event.step)
    writer.text(event.endpoint)
    writer.text(event.function)
    writer.text(event.version)
    writer.blob(event.input)


def _read_tail_called(reader: Reader) -> TailCalled:
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


ANSWERS: Final[Mapping[type[Event], Layout]] = {
    Polled: Layout(_write_polled, _read_polled),
    Exited: Layout(_write_exited, _read_exited),
    TailCalled: Layout(_write_tail_called, _read_tail_called),
    Restarted: Layout(_write_restarted, _read_restarted),
    Resuming: Layout(_write_resuming, _read_resuming),
    Retried: Layout(_write_retried, _read_retried),
}
KEEPING_ANSWERS: Final[Mapping[type[Event], Layout]] = {
    Polled: Layout(_write_keeping, _read_keeping),
}
"""With the results that it keeps."""
