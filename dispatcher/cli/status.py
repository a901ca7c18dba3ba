"""`dispatcher status`: what is wrong, the worst first, and how the server stands, on one screen.

The exit code is for scripts: 1 where something of it is an error.
"""

from __future__ import annotations

import sys
import textwrap
from typing import Final

import typer

from dispatcher.cli import output, where
from dispatcher.cli.client import Json
from dispatcher.cli.moments import Moment, short_span
from dispatcher.cli.options import AsJson, KeyFile, Url
from dispatcher.cli.styles import style_of, styled
from dispatcher.cli.watching import watched

OVERVIEW: Final = "/v1/overview"
_ERROR: Final = "error"
_WELL: Final = "ok"
_INDENT: Final = 9
"""As wide as the longest severity, and a gap."""


@watched
def status(url: Url = None, key_file: KeyFile = None, as_json: AsJson = False) -> None:
    """Say what is wrong, the worst first, and how the server stands.

    The exit code is 0 when nothing of it is an error, else 1.
    """
    found = where.api(url, key_file).get(OVERVIEW)
    problems: list[Json] = found.get("problems") or []
    if as_json:
        output.print_json(found)
    else:
        _print_problems(problems)
        print()
        output.print_record(facts(found))
    if any(one.get("severity") == _ERROR for one in problems):
        raise typer.Exit(1)


def facts(found: Json) -> dict[str, object]:
    """Return an overview for people, a line for each fact."""
    waiting, dead = found.get("waiting") or {}, found.get("dead") or {}
    lanes, disk = found.get("lanes") or {}, found.get("disk") or {}
    return {
        "server": f"dispatcher {found.get('version')} on {found.get('instance')}",
        "started": Moment(found.get("started_at")),
        "waiting": _with_oldest(waiting),
        "dead letters": dead.get("count"),
        "destinations": f"{lanes.get('total')}, {lanes.get('failing')} failing, "
        f"{lanes.get('held')} held",
        "log": f"{output.size(disk.get('log_bytes') or 0)}, "
        f"{output.size(disk.get('live_bytes') or 0)} of it needed",
        "disk": _disk(disk),
    }


def _with_oldest(waiting: Json) -> str:
    oldest = waiting.get("oldest_at")
    if not oldest:
        return f"{waiting.get('count')}"
    moment = Moment(oldest)
    shown = f"for {moment.age()}" if output.is_terminal(sys.stdout) else f"since {moment.whole()}"
    return f"{waiting.get('count')}, the oldest {shown}"


def _disk(disk: Json) -> str:
    free, total = disk.get("free_bytes"), disk.get("total_bytes")
    if free is None or total is None:
        return output.NOTHING
    full_in_s = disk.get("full_in_s")
    forecast = "" if full_in_s is None else f", full in {short_span(int(full_in_s))} at this rate"
    return f"{output.size(free)} free of {output.size(total)}{forecast}"


def _print_problems(problems: list[Json]) -> None:
    if not problems:
        print(_beginning(_WELL) + "Nothing is wrong.")
    for problem in problems:
        first, *others = _wrapped(output.clean(problem.get("message")))
        print(_beginning(output.clean(problem.get("severity"))) + first)
        for line in others:
            print(" " * _INDENT + line)


def _beginning(word: str) -> str:
    """How bad it is, as wide as the longest word for that, and coloured on a terminal."""
    shown = styled(word, style_of(word)) if output.is_terminal(sys.stdout) else word
    return shown + " " * (_INDENT - len(word))


def _wrapped(sentence: str) -> list[str]:
    """A sentence in lines; whole where no person looks."""
    if not output.is_terminal(sys.stdout):
        return [sentence]
    room = max(output.width() - _INDENT, 20)
    return textwrap.wrap(sentence, room, break_on_hyphens=False) or [""]
