"""The terms of a message as they are stored (`core.terms`), in front of a MESSAGE.

MESSAGE_TERMS is its kind, the size of the terms in bytes (u16), the terms, and a whole MESSAGE.
The terms are fields, each a tag (u8), the size of its value (u16) and the value; a field that was
not given is not there. Numbers are unsigned and take 8 bytes, text is ASCII.

    tag  value                             tag  value
    1    not_before_us                     4    retry_delay_ms
    2    deadline_us                       5    retry_max_delay_ms
    3    retries                           6    label
    7    idempotency_key                   8    request_print
    9    copy_of                           10   order_key
    11   callback                          12   failure_callback
    14   flow_key                          15   flow, as `core.flow` writes it
    16   order_after
    20   key_place

To add a term: a tag at the end, which is never used for anything else; its place in `NUMBERS` or
`TEXTS`, in `encode_terms` and in `decode_terms`; where it counts while a message waits, in
`layouts` and `recovery.noted` too. A program that does not know a tag refuses the
log: it would pass over what the caller asked for.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from dispatcher.core.flow import parse_flow
from dispatcher.core.terms import Terms
from dispatcher.errors import LogTooNew
from dispatcher.queue.records.kinds import Kind, RecordError

_PREFIX: Final = Struct("<BH")
_FIELD: Final = Struct("<BH")
_NUMBER: Final = Struct("<Q")
PREFIX_BYTES: Final = _PREFIX.size

NOT_BEFORE: Final = 1
DEADLINE: Final = 2
RETRIES: Final = 3
RETRY_DELAY: Final = 4
RETRY_MAX_DELAY: Final = 5
LABEL: Final = 6
IDEMPOTENCY_KEY: Final = 7
REQUEST_PRINT: Final = 8
COPY_OF: Final = 9
ORDER_KEY: Final = 10
CALLBACK: Final = 11
FAILURE_CALLBACK: Final = 12
FLOW_KEY: Final = 14
FLOW: Final = 15
ORDER_AFTER: Final = 16
KEY_PLACE: Final = 20
NUMBERS: Final = frozenset({*range(NOT_BEFORE, LABEL), REQUEST_PRINT, ORDER_AFTER})
TEXTS: Final = frozenset(
    {
        *(LABEL, IDEMPOTENCY_KEY, COPY_OF, ORDER_KEY, FLOW_KEY, FLOW),
        *(CALLBACK, FAILURE_CALLBACK, KEY_PLACE),
    }
)


def encode_terms(terms: Terms) -> bytes:
    """What stands in front of the MESSAGE, kind and size included."""
    fields = bytearray()
    if terms.not_before_us:
        _add_number(fields, NOT_BEFORE, terms.not_before_us)
    if terms.deadline_us:
        _add_number(fields, DEADLINE, terms.deadline_us)
    if terms.retries is not None:
        _add_number(fields, RETRIES, terms.retries)
    if terms.retry_delay_ms is not None:
        _add_number(fields, RETRY_DELAY, terms.retry_delay_ms)
    if terms.retry_max_delay_ms is not None:
        _add_number(fields, RETRY_MAX_DELAY, terms.retry_max_delay_ms)
    _add_text(fields, LABEL, terms.label)
    _add_text(fields, IDEMPOTENCY_KEY, terms.idempotency_key)
    _add_text(fields, COPY_OF, terms.copy_of)
    if terms.stands_for_one:
        _add_number(fields, REQUEST_PRINT, terms.request_print)
    _add_text(fields, CALLBACK, terms.callback)
    _add_text(fields, FAILURE_CALLBACK, terms.failure_callback)
    _add_text(fields, ORDER_KEY, terms.order_key)
    _add_text(fields, FLOW_KEY, terms.flow_key)
    if terms.flow is not None:
        _add(fields, FLOW, str(terms.flow).encode("ascii"))
    if terms.order_after:
        _add_number(fields, ORDER_AFTER, terms.order_after)
    _add_text(fields, KEY_PLACE, terms.key_place)
    return _PREFIX.pack(Kind.MESSAGE_TERMS, len(fields)) + bytes(fields)


def message_at(payload: bytes, start: int) -> int:
    """Where the MESSAGE begins of what begins at `start`: there, or behind its terms."""
    if payload[start] != Kind.MESSAGE_TERMS:
        return start
    _, size = _PREFIX.unpack_from(payload, start)
    return start + PREFIX_BYTES + int(size)


def decode_terms(payload: bytes, start: int) -> Terms | None:
    """The terms of the message that begins at `start`; None: it has none.

    Raises:
        LogTooNew: a later version has written a term that this one does not know.
        RecordError: they are not as they should be.
    """
    if payload[start] != Kind.MESSAGE_TERMS:
        return None
    end = message_at(payload, start)
    if end > len(payload):
        raise RecordError("the terms of a message are longer than its record")
    at = start + PREFIX_BYTES
    numbers: dict[int, int] = {}
    texts: dict[int, str] = {}
    while at < end:
        tag, size = _FIELD.unpack_from(payload, at)
        at += _FIELD.size
        value = payload[at : at + size]
        at += size
        if tag in NUMBERS:
            numbers[tag] = int(_NUMBER.unpack(value)[0])
        elif tag in TEXTS:
            texts[tag] = value.decode("ascii")
        else:
            raise LogTooNew(Kind.MESSAGE_TERMS)
    if at != end:
        raise RecordError("the terms of a message have another size than its record says")
    return Terms(
        not_before_us=numbers.get(NOT_BEFORE, 0),
        deadline_us=numbers.get(DEADLINE, 0),
        retries=numbers.get(RETRIES),
        retry_delay_ms=numbers.get(RETRY_DELAY),
        retry_max_delay_ms=numbers.get(RETRY_MAX_DELAY),
        label=texts.get(LABEL, ""),
        idempotency_key=texts.get(IDEMPOTENCY_KEY, ""),
        request_print=numbers.get(REQUEST_PRINT, 0),
        copy_of=texts.get(COPY_OF, ""),
        callback=texts.get(CALLBACK, ""),
        failure_callback=texts.get(FAILURE_CALLBACK, ""),
        order_key=texts.get(ORDER_KEY, ""),
        flow_key=texts.get(FLOW_KEY, ""),
        flow=parse_flow(texts[FLOW]) if FLOW in texts else None,
        order_after=numbers.get(ORDER_AFTER, 0),
        key_place=texts.get(KEY_PLACE, ""),
    )


def _add_number(fields: bytearray, tag: int, value: int) -> None:
    _add(fields, tag, _NUMBER.pack(value))


def _add_text(fields: bytearray, tag: int, value: str) -> None:
    """Add a field of text where there is any."""
    if value:
        _add(fields, tag, value.encode("ascii"))


def _add(fields: bytearray, tag: int, value: bytes) -> None:
    fields += _FIELD.pack(tag, len(value))
    fields += value
