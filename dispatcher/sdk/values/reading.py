"""A `MarkedValue` into plain values of Python: what needs no hint.

A number without a mark that is whole is an int, as in JSON; a float of ours that is whole has one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dispatcher.protocol.messages import MarkedList, MarkedStruct, MarkedValue
from dispatcher.sdk.values import marks, texts
from dispatcher.sdk.values.misfit import Misfit
from dispatcher.sdk.values.writing import EXACT, Record


def read(message: MarkedValue) -> object:
    """The value.

    Raises:
        Misfit: a mark does not fit what it stands at: it is damaged, or of a newer version.
    """
    kind = message.WhichOneof("kind")
    mark = message.mark
    if mark and mark not in _SAYS_NO_TYPE:
        return _marked(message, kind, mark)
    match kind:
        case "string_value":
            return message.string_value
        case "number_value":
            return number_of(message.number_value)
        case "struct_value":
            return fields_of(message.struct_value)
        case "list_value":
            return items_of(message.list_value)
        case "bool_value":
            return message.bool_value
        case _:
            return None


def number_of(double: float) -> int | float:
    """A double that says nothing of its type: an int where it is whole and exact."""
    return int(double) if -EXACT <= double <= EXACT and double.is_integer() else double


def items_of(message: MarkedList) -> list[object]:
    """The items of a list."""
    items: list[object] = []
    try:
        for item in message.values:
            items.append(read(item))
    except Misfit as misfit:
        raise misfit.at(f"[{len(items)}]") from misfit.__cause__
    return items


def fields_of(message: MarkedStruct) -> dict[str, object]:
    """The values by their keys, in their order. Of several with one key the last counts."""
    fields: dict[str, object] = {}
    key = ""
    try:
        for entry in message.fields:
            key = entry.key
            fields[key] = read(entry.value)
    except Misfit as misfit:
        raise misfit.at(f"[{key!r}]") from misfit.__cause__
    return fields


def _marked(message: MarkedValue, kind: str | None, mark: int) -> object:
    if kind == "number_value" and mark == marks.DOUBLE:
        return message.number_value
    if kind == "string_value" and mark in _OF_TEXT:
        return of_text(mark, message.string_value)
    if kind == "list_value" and mark in _OF_ITEMS:
        return _of_items(mark, items_of(message.list_value))
    if kind == "struct_value" and mark == marks.INT_KEYS:
        return _int_keys(fields_of(message.struct_value))
    if kind == "struct_value" and mark == marks.RECORD:
        return Record(message.class_name, fields_of(message.struct_value))
    raise Misfit(f"is damaged, or was written by a newer version of this SDK (mark {mark})")


def of_text(mark: int, text: str) -> object:
    """What a marked text stands for. Raises Misfit."""
    try:
        return _OF_TEXT[mark](text)
    except KeyError:
        raise Misfit(f"was written by a newer version of this SDK (mark {mark})") from None
    except ValueError as error:
        raise Misfit(f"is damaged: {text[:40]!r} with mark {mark}") from error


def _of_items(mark: int, items: list[object]) -> object:
    try:
        return _OF_ITEMS[mark](items)
    except (TypeError, ValueError) as error:
        raise Misfit(f"is damaged: mark {mark} at a list that does not fit it") from error


def _int_keys(fields: dict[str, object]) -> dict[int, object]:
    try:
        return {int(key): item for key, item in fields.items()}
    except ValueError as error:
        raise Misfit("is damaged: keys that are no integers") from error


_SAYS_NO_TYPE: Final = frozenset({marks.WHOLE, marks.KEYWORDS, marks.EXCEPTION})

_OF_TEXT: Final[dict[int, Callable[[str], object]]] = {
    marks.INTEGER: int,
    marks.BYTES: texts.bytes_of,
    marks.DATETIME: texts.instant_of,
    marks.DATE: texts.date_of,
    marks.TIME: texts.time_of,
    marks.TIMEDELTA: texts.span_of,
    marks.UUID: texts.uuid_of,
    marks.DECIMAL: texts.decimal_of,
}

_OF_ITEMS: Final[dict[int, Callable[..., object]]] = {
    marks.TUPLE: tuple,
    marks.SET: set,
    marks.FROZENSET: frozenset,
    marks.PAIRS: dict,
}
