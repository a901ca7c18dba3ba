"""The layouts of how calls begin and end otherwise than by an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dispatcher.functions.events import CancelAsked, Created, Dropped, Ended, Event, Forgotten, Gone
from dispatcher.functions.model import How
from dispatcher.functions.store.layouts.parts import (
    Layout,
    read_calls,
    read_facts,
    read_keys,
    write_calls,
    write_facts,
    write_keys,
)
from dispatcher.functions.store.packing import Reader, Writer


def _write_created(writer: Writer, event: Created) -> None:
    writer.text(event.application)
    write_calls(writer, event.calls)
    write_facts(writer, event.facts)


def _read_created(reader: Reader) -> Created:
    return Created(reader.text(), read_calls(reader), read_facts(reader))


def _write_traced(writer: Writer, event: Created) -> None:
    _write_created(writer, event)
    writer.text(event.trace)


def _read_traced(reader: Reader) -> Created:
    event = _read_created(reader)
    event.trace = reader.text()
    return event


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


def _write_cancel_asked(writer: Writer, event: CancelAsked) -> None:
    writer.number(event.key)
    writer.blob(event.error)
    writer.blob(event.result)
    writer.number(event.until_us)
    write_keys(writer, event.running)


def _read_cancel_asked(reader: Reader) -> CancelAsked:
    return CancelAsked(
        reader.number(), reader.blob(), reader.blob(), reader.number(), read_keys(reader)
    )


def _write_dropped(writer: Writer, event: Dropped) -> None:
    writer.number(event.key)
    write_keys(writer, event.children)
    writer.blob(event.error)
    writer.blob(event.result)
    writer.number(event.until_us)
    write_keys(writer, event.running)


def _read_dropped(reader: Reader) -> Dropped:
    return Dropped(
        reader.number(),
        read_keys(reader),
        reader.blob(),
        reader.blob(),
        reader.number(),
        read_keys(reader),
    )


def _write_forgotten(writer: Writer, event: Forgotten) -> None:
    write_keys(writer, event.keys)


def _read_forgotten(reader: Reader) -> Forgotten:
    return Forgotten(read_keys(reader))


def _write_gone(writer: Writer, event: Gone) -> None:
    writer.number(event.key)


def _read_gone(reader: Reader) -> Gone:
    return Gone(reader.number())


LIVES: Final[Mapping[type[Event], Layout]] = {
    Created: Layout(_write_created, _read_created),
    Ended: Layout(_write_ended, _read_ended),
    CancelAsked: Layout(_write_cancel_asked, _read_cancel_asked),
    Dropped: Layout(_write_dropped, _read_dropped),
    Forgotten: Layout(_write_forgotten, _read_forgotten),
    Gone: Layout(_write_gone, _read_gone),
}
TRACED_LIVES: Final[Mapping[type[Event], Layout]] = {
    Created: Layout(_write_traced, _read_traced),
}
"""With the trace of the calls."""
