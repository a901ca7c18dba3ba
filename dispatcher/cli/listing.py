"""Lists of the API, page after page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Final

import typer

from dispatcher.cli import output
from dispatcher.cli.client import Api, Json
from dispatcher.cli.errors import CommandError

_PAGE: Final = 1000

Limit = Annotated[int, typer.Option(min=0, help="How many at most; 0: all of them.")]


def items_of(page: Json, where: str) -> list[Json]:
    """The items of a page that was got from somewhere.

    Raises:
        CommandError: it has none: a dispatcher did not answer.
    """
    items = page.get("items")
    if not isinstance(items, list):
        raise CommandError(
            f"{where}: expected a list, with `items`: not a dispatcher's API, or an older version "
            "of it; see --url"
        )
    return items


def note_missing(answer: Json) -> None:
    """Tell the person what is not in an answer, where that is so."""
    missing = answer.get("incomplete")
    if missing:
        numbers = ", ".join(map(str, missing))
        output.print_note(
            f"Without what is in partition {numbers}: the process that has it is being started "
            "again, or does not answer."
        )


class Listed:
    """Items of a list, up to a limit (0: all of them). `has_more` is right once they are read, and
    `last` the last page. That partitions are missing is told once."""

    def __init__(self, api: Api, path: str, query: Mapping[str, object], limit: int) -> None:
        self._api = api
        self._path = path
        self._query = query
        self._limit = limit
        self.has_more = False
        self.last: Json = {}

    def __iter__(self) -> Iterator[Json]:
        cursor: str | None = None
        left = self._limit
        while True:
            size = min(_PAGE, left) if self._limit else _PAGE
            page = self._api.get(self._path, {**self._query, "limit": size, "cursor": cursor})
            if not self.last.get("incomplete"):
                note_missing(page)
            self.last = page
            items = items_of(page, f"{self._api.server}{self._path}")
            yield from items
            cursor = page.get("next")
            left -= len(items)
            if cursor is None or (self._limit and left <= 0):
                self.has_more = cursor is not None
                return

    def note_more(self) -> None:
        """Tell the person that there are more, once all are read."""
        if self.has_more:
            output.print_note(f"There are more than {self._limit}: --limit 0 shows all of them.")
