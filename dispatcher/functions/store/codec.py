"""Events as bytes: a code, a header, and the blobs behind it (`packing`).

The layout of an event's header is the order of the calls in its two functions in `layouts`. It
never changes once it was used: another layout, also of one more field, gets another code, and the
old one is read for ever. A program that does not know a code refuses the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

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
    Forgotten,
    Given,
    Gone,
    Noted,
    Polled,
    Restarted,
    Resuming,
    Retried,
    Sent,
    Stored,
    TailCalled,
)
from dispatcher.functions.store.layouts.answers import ANSWERS, KEEPING_ANSWERS
from dispatcher.functions.store.layouts.copies import COPIES, KEEPING_COPIES, TRACED_COPIES
from dispatcher.functions.store.layouts.lives import LIVES, TRACED_LIVES
from dispatcher.functions.store.layouts.outside import OUTSIDE
from dispatcher.functions.store.layouts.parts import Layout
from dispatcher.functions.store.packing import Reader, Writer
from dispatcher.queue.records.kinds import Kind, RecordError

_CODES: Final[Mapping[type[Event], int]] = {
    Created: 1,
    Polled: 2,
    Exited: 3,
    TailCalled: 4,
    Restarted: 5,
    Resuming: 6,
    Retried: 7,
    Ended: 8,
    CancelAsked: 9,
    Completed: 10,
    Sent: 11,
    Noted: 12,
    Forgotten: 13,
    Gone: 14,
    Copied: 15,
    Stored: 16,
    Given: 17,
    Dropped: 18,
}
"""What is written. Codes are stored: none is ever used again."""
_KEEPING_CODES: Final[Mapping[type[Event], int]] = {Polled: 19, Copied: 20}
"""What is written where the call keeps results."""
_TRACED_CODES: Final[Mapping[type[Event], int]] = {Created: 21, Copied: 22}
"""What is written where calls have a trace."""

_LAYOUTS: Final[Mapping[int, Layout]] = {
    codes[kind]: layout
    for codes, layouts in (
        (_CODES, {**ANSWERS, **LIVES, **OUTSIDE, **COPIES}),
        (_KEEPING_CODES, {**KEEPING_ANSWERS, **KEEPING_COPIES}),
        (_TRACED_CODES, {**TRACED_LIVES, **TRACED_COPIES}),
    )
    for kind, layout in layouts.items()
}


def encode(event: Event) -> tuple[int, bytes, list[bytes]]:
    """Code, header and blobs of an event."""
    code = _codes(event)[type(event)]
    writer = Writer()
    _LAYOUTS[code].write(writer, event)
    return code, bytes(writer.header), writer.blobs


def _codes(event: Event) -> Mapping[type[Event], int]:
    if _has_trace(event):
        return _TRACED_CODES
    return _KEEPING_CODES if _keeps(event) else _CODES


def _has_trace(event: Event) -> bool:
    if isinstance(event, Created):
        return bool(event.trace)
    return isinstance(event, Copied) and bool(event.call.trace)


def _keeps(event: Event) -> bool:
    """Whether it says that a call keeps results."""
    if isinstance(event, Polled):
        return bool(event.keep)
    return isinstance(event, Copied) and bool(event.call.kept)


def decode(code: int, position: int, header: bytes, offset: int) -> Event:
    """The event of the record at `position`, whose blobs begin at `offset` in its payload.

    Raises:
        LogTooNew: this version knows no event with that code.
        RecordError: it is not what its code says.
    """
    layout = _LAYOUTS.get(code)
    if layout is None:
        raise LogTooNew(Kind.CALLS)
    try:
        return layout.read(Reader(position, header, offset))
    except (IndexError, ValueError) as error:
        raise RecordError(f"event {code}: {error}") from error
