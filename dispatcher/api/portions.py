"""Long answers, put together a portion at a time.

JSON of thousands of lanes or of a body of megabytes takes tens of milliseconds in one call that
nothing interrupts: a thread does not help, as the call keeps the interpreter's lock. Every message
would wait for it. So a document is made with nothing in the place of what is long, and cut there;
that place is filled bit by bit, with a rest whenever a slice is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter

from dispatcher.api.json_line import json_line
from dispatcher.queue.admin.pace import Pace

AT_ONCE: Final = 10
"""Values that are written before it is asked whether the slice is over: less than a tenth of a
millisecond."""


def cut(document: BaseModel, mark: str) -> tuple[bytes, bytes]:
    """Write a document as JSON, and return what is up to the end of `mark`, and the rest.

    `mark` is a field's name and how its value begins, such as `"items":[`: with its quotes it can't
    be a part of a string, where every quote is escaped.

    Raises:
        ValueError: the mark is not in it.
    """
    before, found, after = json_line(document).partition(mark.encode("utf-8"))
    if not found:
        raise ValueError(f"there is no {mark} in a {type(document).__name__}")
    return before + found, after


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
        if pace.is_over:
            await pace.rest()
        portion = rows.validate_python(values[start : start + AT_ONCE])
        pieces.append(rows.dump_json(portion)[1:-1])
    pieces.append(after)
    return pieces
