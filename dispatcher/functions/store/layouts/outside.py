"""The layouts of what is not of a call: promises, channels, facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dispatcher.functions.events import Completed, Event, Given, Noted, Sent
from dispatcher.functions.spans import Span
from dispatcher.functions.store.layouts.parts import (
    Layout,
    read_facts,
    read_keys,
    write_facts,
    write_keys,
)
from dispatcher.functions.store.packing import Reader, Writer


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


def _write_given(writer: Writer, event: Given) -> None:
    writer.text(event.application)
    writer.text(event.endpoint)
    writer.number(event.number)
    write_keys(writer, event.keys)
    writer.number(event.where)
    writer.number(event.is_error)


def _read_given(reader: Reader) -> Given:
    return Given(
        reader.text(),
        reader.text(),
        reader.number(),
        read_keys(reader),
        Span(reader.number()),
        bool(reader.number()),
    )


def _write_noted(writer: Writer, event: Noted) -> None:
    write_facts(writer, event.facts)


def _read_noted(reader: Reader) -> Noted:
    return Noted(read_facts(reader))


OUTSIDE: Final[Mapping[type[Event], Layout]] = {
    Completed: Layout(_write_completed, _read_completed),
    Sent: Layout(_write_sent, _read_sent),
    Given: Layout(_write_given, _read_given),
    Noted: Layout(_write_noted, _read_noted),
}
