"""Long answers, put together a portion at a time.

JSON of thousands of lanes or of a body of megabytes takes tens of milliseconds in one call that
nothing interrupts: a thread does not help, as the call keeps the interpreter's lock. Every message
would wait for it. So a document is made with nothing in the place of what is long, and cut there;
that place is filled with portions of a fraction of a millisecond, with a rest after each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter

from dispatcher.queue.admin.pace import Pace

AT_ONCE: Final = 100
"""Values that take a fraction of a millisecond."""


def cut(document: BaseModel, mark: str) -> tuple[bytes, bytes]:
    """Write a document as JSON, and return what is up to the end of `mark`, and the rest.

    `mark` is a field's name and how its value begins, such as `"items":[`: with its quotes it can't
    be a part of a string, where every quote is escaped.

    Raises:
        ValueError: the mark is not in it.
    """
    before, found, after = document.model_dump_json().partition(mark)
    if not found:
        raise ValueError(f"there is no {mark} in a {type(document).__name__}")
    return (before + found).encode("utf-8"), after.encode("utf-8")


async def filled(
    document: BaseModel,
    mark: str,
    values: Sequence[object],
    rows: TypeAdapter[list[Any]],
    *,
    pace: Pace,
) -> list[bytes]:
    """Write a document of which one field is a long list; returns its pieces.

    Args:
        document: with nothing in that list.
        mark: where the list begins, as of `cut`.
        values: what the elements of the list are made of.
        rows: a list of their model.
        pace: who says when a portion may be made.
    """
    before, after = cut(document, mark)
    pieces = [before]
    for start in range(0, len(values), AT_ONCE):
        if start:
            pieces.append(b",")
            await pace.rest()
        portion = rows.validate_python(values[start : start + AT_ONCE])
        pieces.append(rows.dump_json(portion)[1:-1])
    pieces.append(after)
    return pieces
