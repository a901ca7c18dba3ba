"""What `*items` and `**options` of a function take: several values with one hint."""

from __future__ import annotations

from dispatcher.sdk.values.codec import Change, misfit
from dispatcher.sdk.values.misfit import Misfit


def several(value: object, change: Change) -> list[object]:
    if not isinstance(value, list | tuple):
        raise misfit("a list", value)
    items: list[object] = []
    try:
        for item in value:
            items.append(change(item))
    except Misfit as found:
        raise found.at(f"[{len(items)}]") from found.__cause__
    return items


def named(value: object, change: Change) -> dict[str, object]:
    if not isinstance(value, dict):
        raise misfit("a dict", value)
    fields: dict[str, object] = {}
    name = ""
    try:
        for name, item in value.items():
            fields[name] = change(item)
    except Misfit as found:
        raise found.at(f"[{name!r}]") from found.__cause__
    return fields
