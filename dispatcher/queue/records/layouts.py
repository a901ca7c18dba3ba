"""The terms of many messages, read at a start (`terms` has how they are stored).

Messages that follow each other mostly have terms with the same fields, of the same sizes. That is
their *layout*: it is found out once, and the terms of each are a *row* then, which is read in one
step. A layout knows where in a row that is which a start has to know.
"""

from __future__ import annotations

from struct import Struct, calcsize
from typing import Any, Final, TypeAlias

from dispatcher.queue.records.kinds import Kind
from dispatcher.queue.records.terms import (
    COPY_OF,
    DEADLINE,
    FLOW,
    FLOW_KEY,
    IDEMPOTENCY_KEY,
    KEY_PLACE,
    NOT_BEFORE,
    NUMBERS,
    ORDER_AFTER,
    ORDER_KEY,
    PREFIX_BYTES,
    REQUEST_PRINT,
    RETRY_MAX_DELAY,
    TEXTS,
)

Row: TypeAlias = tuple[Any, ...]
"""For each field its tag and size, as they are stored, and its value: a number, or text as
bytes."""
NOT_THERE: Final = -1
_MESSAGE_TERMS: Final = int(Kind.MESSAGE_TERMS)
_HEADER: Final = Struct("<BH")
_SIZE_AT: Final = 1
_SIZE_BYTES: Final = 2
_NAME_BYTES: Final = 5
_NUMBER_BYTES: Final = 8
_MOST: Final = 4096


class Layout:
    """Where the values are in a row; `NOT_THERE`, where these terms have no such field. `counts`:
    they have one of those that are named here. `size` is how far behind the beginning of a
    MESSAGE_TERMS its MESSAGE is, with these terms."""

    __slots__ = (
        "_headers",
        "_unpack_from",
        "copy_of",
        "counts",
        "deadline",
        "flow",
        "flow_key",
        "idempotency_key",
        "key_place",
        "not_before",
        "order_after",
        "order_key",
        "request_print",
        "retry_max_delay",
        "size",
    )

    def __init__(self, headers: tuple[bytes, ...]) -> None:
        form = "<"
        at: dict[int, int] = {}
        for number, header in enumerate(headers):
            tag, size = _HEADER.unpack(header)
            form += "3sQ" if tag in NUMBERS else f"3s{size}s"
            at[tag] = 2 * number + 1
        self._headers = headers
        self._unpack_from = Struct(form).unpack_from
        self.size = PREFIX_BYTES + calcsize(form)
        self.not_before = at.get(NOT_BEFORE, NOT_THERE)
        self.deadline = at.get(DEADLINE, NOT_THERE)
        self.retry_max_delay = at.get(RETRY_MAX_DELAY, NOT_THERE)
        self.idempotency_key = at.get(IDEMPOTENCY_KEY, NOT_THERE)
        self.request_print = at.get(REQUEST_PRINT, NOT_THERE)
        self.copy_of = at.get(COPY_OF, NOT_THERE)
        self.key_place = at.get(KEY_PLACE, NOT_THERE)
        self.order_key = at.get(ORDER_KEY, NOT_THERE)
        self.order_after = at.get(ORDER_AFTER, NOT_THERE)
        self.flow_key = at.get(FLOW_KEY, NOT_THERE)
        self.flow = at.get(FLOW, NOT_THERE)
        self.counts = not at.keys().isdisjoint(_COUNTING)

    def row(self, data: bytes, at: int) -> Row | None:
        """The terms whose fields begin at `at`, and which are as long as those of this layout; None
        when they have another one."""
        row = self._unpack_from(data, at)
        return row if row[::2] == self._headers else None


_COUNTING: Final = frozenset(
    {
        *(NOT_BEFORE, DEADLINE, RETRY_MAX_DELAY, IDEMPOTENCY_KEY, COPY_OF),
        *(ORDER_KEY, FLOW_KEY, ORDER_AFTER),
    }
)


class Layouts:
    """The layouts that were met. `last` is that of the row that was read last."""

    __slots__ = ("_by_headers", "_by_name", "last")

    def __init__(self) -> None:
        self.last = Layout(())
        self._by_headers: dict[tuple[bytes, ...], Layout] = {}
        self._by_name: dict[bytes, Layout] = {}

    def row(self, data: bytes, begin: int) -> Row | None:
        """The terms of the MESSAGE_TERMS payload that begins at `begin`; None when it is something
        else, or when there is something wrong with them, which `decode_terms` says."""
        if data[begin] != _MESSAGE_TERMS:
            return None
        name = data[begin + _SIZE_AT : begin + _SIZE_AT + _NAME_BYTES]
        layout = self._by_name.get(name)
        if layout is not None:
            row = layout.row(data, begin + PREFIX_BYTES)
            if row is not None:
                self.last = layout
                return row
        size = int.from_bytes(name[:_SIZE_BYTES], "little")
        headers = _headers(data, begin + PREFIX_BYTES, size)
        if headers is None:
            return None
        layout = self._by_headers.get(headers)
        if layout is None:
            if len(self._by_headers) >= _MOST:
                self.clear()
            layout = self._by_headers[headers] = Layout(headers)
        self.last = self._by_name[name] = layout
        return layout.row(data, begin + PREFIX_BYTES)

    def clear(self) -> None:
        """Give memory back."""
        self._by_headers.clear()
        self._by_name.clear()


def _headers(data: bytes, at: int, size: int) -> tuple[bytes, ...] | None:
    """The headers of the fields in so many bytes; None when these are not fields that are known
    here."""
    headers: list[bytes] = []
    end = at + size
    if end > len(data):
        return None
    while at + _HEADER.size <= end:
        header = data[at : at + _HEADER.size]
        tag, length = _HEADER.unpack(header)
        if tag not in TEXTS and (tag not in NUMBERS or length != _NUMBER_BYTES):
            return None
        headers.append(header)
        at += _HEADER.size + length
    return tuple(headers) if at == end else None
