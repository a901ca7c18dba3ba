"""`dispatcher export` and `dispatcher import`: messages and dead letters to a file, and back."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated, Any, Final

import typer

from dispatcher.cli import output, where
from dispatcher.cli.carrying.lines import Line, open_source, read_file
from dispatcher.cli.carrying.target import written
from dispatcher.cli.client import Api
from dispatcher.cli.errors import BadUsage, CommandError, NotConnected, RefusedNow, Unreachable
from dispatcher.cli.filtering import letter_filters, taking
from dispatcher.cli.options import AsJson, KeyFile, Url
from dispatcher.cli.selection import STDIN, Filters

_TOGETHER: Final = 1000
_TOGETHER_BYTES: Final = 4 * 1024 * 1024
_SHOWN: Final = 10
_INCOMPLETE: Final = b', "incomplete": true}\n'
"""The end of a line that is not whole; within a text its quotes would be escaped."""


class State(StrEnum):
    """What is exported."""

    DEAD = "dead"
    WAITING = "waiting"
    ALL = "all"


Target = Annotated[
    Path, typer.Argument(metavar="FILE", help="Where to; - is standard output.", show_default=False)
]
Origin = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="An export, or a log of the first Dispatcher; - is standard input.",
        show_default=False,
    ),
]
Which = Annotated[State, typer.Option("--state", help="Dead letters, what waits, or both.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that is there.")]
FromLine = Annotated[
    int, typer.Option("--from-line", min=1, metavar="N", help="Leave out the lines before.")
]


@taking(letter_filters)
def export(
    file: Target,
    filters: Filters,
    state: Which = State.ALL,
    force: Force = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Write messages and dead letters to a file, a line of JSON each.

    They stay where they are. What waits may be delivered meanwhile.
    """
    if state is not State.DEAD and filters.given().keys() - {"destination", "label"}:
        raise BadUsage(
            "filters but --destination and --label are about dead letters alone: add --state dead"
        )
    api = where.api(url, key_file)
    query = {**filters.given(), "state": state.value}
    count = incomplete = 0
    end = b""
    with written(file, is_replaced=force) as sink, api.download("/v1/export", query) as pieces:
        for piece in pieces:
            sink.write(piece)
            count += piece.count(b"\n")
            incomplete += (end + piece).count(_INCOMPLETE)
            end = (end + piece)[1 - len(_INCOMPLETE) :]
    count -= incomplete
    if as_json and str(file) != STDIN:
        output.print_json({"exported": count, "incomplete": incomplete})
    else:
        output.print_note(f"{output.plural(count, 'message')} exported.")
    if incomplete:
        output.print_note(
            f"{output.plural(incomplete, 'line')} with `incomplete`: a message ended meanwhile, or "
            "could not be read. No import takes them."
        )


@dataclass(slots=True)
class _Tally:
    """What came of an import so far. `reached` is the last line whose outcome is known; those after
    it up to `unanswered` were sent, and no answer came."""

    imported: int = 0
    duplicates: int = 0
    reached: int = 0
    unanswered: int = 0
    refused_count: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)

    def so_far(self) -> str:
        """How to go on where it could not be ended."""
        text = f"Imported so far: {self.imported}. Go on with --from-line {self.reached + 1}."
        if self.unanswered:
            text += f" Some lines up to {self.unanswered} may be imported already: no answer came."
        return text


def import_(
    file: Origin,
    from_line: FromLine = 1,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Store the messages and dead letters of a file, under new ids.

    What waits is delivered, with attempts from 1; dead letters stay dead. What is reported is on
    disk. Importing a file again makes no second copy within IDEMPOTENCY_WINDOW.
    """
    api = where.api(url, key_file)
    tally = _Tally(reached=from_line - 1)
    with _opened(file) as data:
        source = open_source(data, str(file), from_line=from_line)
        if source.note:
            output.print_note(source.note)
        try:
            for numbers, lines in _together(_readable(source.lines, tally)):
                _send(api, numbers, lines, tally)
        except KeyboardInterrupt:
            output.print_note(tally.so_far())
            raise
        except CommandError as error:
            raise type(error)(f"{error} {tally.so_far()}") from error
    _report(tally, as_json=as_json)


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    if str(file) == STDIN:
        yield sys.stdin.buffer
        return
    with read_file(file) as data:
        yield data


def _readable(lines: Iterator[Line], tally: _Tally) -> Iterator[tuple[int, bytes]]:
    """Lines that can be sent; the others are counted."""
    for line in lines:
        if line.problem is None:
            yield line.number, line.data
        else:
            tally.refused.append((line.number, line.problem))
            tally.refused_count += 1


def _together(
    lines: Iterator[tuple[int, bytes]],
) -> Iterator[tuple[list[int], list[bytes]]]:
    """Lines for one request each: what is durable is known after each."""
    numbers: list[int] = []
    portion: list[bytes] = []
    size_bytes = 0
    for number, line in lines:
        if not line.strip():
            continue
        if portion and (len(portion) == _TOGETHER or size_bytes + len(line) > _TOGETHER_BYTES):
            yield numbers, portion
            numbers, portion, size_bytes = [], [], 0
        numbers.append(number)
        portion.append(line)
        size_bytes += len(line)
    if portion:
        yield numbers, portion


def _send(api: Api, numbers: list[int], lines: list[bytes], tally: _Tally) -> None:
    tally.unanswered = numbers[-1]
    try:
        answer: dict[str, Any] = api.post_lines("/v1/import", b"\n".join(lines))
    except CommandError as error:
        if not isinstance(error, Unreachable) or isinstance(error, NotConnected):
            tally.unanswered = 0
        raise
    tally.unanswered = 0
    tally.imported += answer["imported"]
    tally.duplicates += answer.get("duplicates", 0)
    tally.refused_count += answer["refused_count"]
    for one in answer["refused"]:
        tally.refused.append((numbers[one["line"] - 1], one["message"]))
    if answer["stopped_at"] is not None:
        before = answer["stopped_at"] - 1
        tally.reached = numbers[before - 1] if before else numbers[0] - 1
        raise RefusedNow(f"{answer['message']} ({answer['error']})")
    tally.reached = numbers[-1]


def _report(tally: _Tally, *, as_json: bool) -> None:
    if as_json:
        output.print_json(
            {
                "imported": tally.imported,
                "duplicates": tally.duplicates,
                "refused": [{"line": line, "message": text} for line, text in tally.refused],
                "refused_count": tally.refused_count,
            }
        )
    else:
        print(f"{output.plural(tally.imported, 'message')} imported.")
        if tally.duplicates:
            print(f"{output.plural(tally.duplicates, 'message')} there already.")
    for line, text in tally.refused[:_SHOWN]:
        output.print_note(f"Line {line} is not imported: {text}")
    if tally.refused_count:
        raise CommandError(f"{output.plural(tally.refused_count, 'line')} not imported.")
