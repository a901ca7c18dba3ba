"""What a layout is, and what the layouts of several events have: new calls, facts, keys."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from dispatcher.functions.events import Event, Fact, NewCall
from dispatcher.functions.store.packing import Reader, Writer


class Layout(NamedTuple):
    """How an event is written, and read back: both name the same fields in the same order."""

    write: Callable[[Writer, Any], None]
    read: Callable[[Reader], Event]


def write_calls(writer: Writer, calls: tuple[NewCall, ...]) -> None:
    """Append new calls. Keys and instants of creation are distances from those of the call before,
    an expiration is the distance from the creation."""
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


def read_calls(reader: Reader) -> tuple[NewCall, ...]:
    """See `write_calls`."""
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


def write_facts(writer: Writer, facts: tuple[Fact, ...]) -> None:
    """Append facts."""
    writer.number(len(facts))
    for fact in facts:
        writer.text(fact.space)
        writer.text(fact.name)
        writer.blob_or_none(fact.value)
        writer.number(fact.expires_us)


def read_facts(reader: Reader) -> tuple[Fact, ...]:
    """See `write_facts`."""
    return tuple(
        Fact(reader.text(), reader.text(), reader.blob_or_none(), reader.number())
        for _ in range(reader.number())
    )


def write_keys(writer: Writer, keys: Collection[int], before: int = 0) -> None:
    """Append keys, each as the distance from the one before it; `before` is that of the first."""
    writer.number(len(keys))
    for key in keys:
        writer.signed(key - before)
        before = key


def read_keys(reader: Reader, before: int = 0) -> tuple[int, ...]:
    """See `write_keys`."""
    keys = []
    for _ in range(reader.number()):
        before += reader.signed()
        keys.append(before)
    return tuple(keys)
