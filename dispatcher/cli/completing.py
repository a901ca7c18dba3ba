"""What a shell completes besides commands and options: what the server knows of.

Tab must not make anybody wait, nor say anything: the API is asked with a short deadline, in a
thread that is left alone when that has passed, and where no answer comes there are no completions.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Final

from dispatcher.cli import where
from dispatcher.cli.causes import cause
from dispatcher.cli.client import Api, Json
from dispatcher.errors import DispatcherError

_DEADLINE_SECONDS: Final = 1.0
_MOST: Final = 100
"""Of those that a shell lists. A person narrows them down by typing on."""

Found = list[tuple[str, str]]
"""Values, each with what is said beside it in shells that do."""


def destinations(ctx: Any, incomplete: str) -> Found:
    """Destinations with messages, calls, a hold or dead letters."""

    def find(api: Api) -> Iterator[tuple[str, str]]:
        query = {"lanes_destination": incomplete or None, "lanes_limit": _MOST}
        for lane in api.get("/v1/stats", query).get("lanes") or ():
            yield lane["destination"], f"{lane['ready']} ready"
        for group in api.get("/v1/dead-letters/groups").get("items") or ():
            yield group["destination"], "dead letters"

    return _fitting(_asked(ctx, find), incomplete)


def errors(ctx: Any, incomplete: str) -> Found:
    """Last errors of dead letters."""

    def find(api: Api) -> Iterator[tuple[str, str]]:
        for group in api.get("/v1/dead-letters/groups").get("items") or ():
            found = cause(group["status"], group["error"])
            if found is not None:
                yield found, f"{group['count']} dead letters"

    return _fitting(_asked(ctx, find), incomplete)


def labels(ctx: Any, incomplete: str) -> Found:
    """Labels of the oldest messages that wait, and of the oldest dead letters."""

    def find(api: Api) -> Iterator[tuple[str, str]]:
        for path in ("/v1/messages", "/v1/dead-letters"):
            for one in api.get(path, {"limit": _MOST}).get("items") or ():
                if one.get("label"):
                    yield one["label"], ""

    return _fitting(_asked(ctx, find), incomplete)


def functions(ctx: Any, incomplete: str) -> Found:
    """Functions that were called lately."""
    found = _listed(ctx, "/v1/calls", lambda one: (one.get("function") or "", ""))
    return _fitting(found, incomplete)


def letters(ctx: Any, incomplete: str) -> Found:
    """Ids of the oldest dead letters."""

    def shown(one: Json) -> tuple[str, str]:
        error = cause(one.get("last_status"), one.get("last_error"))
        return one["id"], f"{one['destination']} {error}"

    return _fitting(_listed(ctx, "/v1/dead-letters", shown), incomplete)


def messages(ctx: Any, incomplete: str) -> Found:
    """Ids of the oldest messages that wait."""

    def shown(one: Json) -> tuple[str, str]:
        return one["id"], f"{one['destination']} {one['state']}"

    return _fitting(_listed(ctx, "/v1/messages", shown), incomplete)


def messages_and_calls(ctx: Any, incomplete: str) -> Found:
    """Ids of the oldest messages that wait, and of the newest calls."""
    return messages(ctx, incomplete) + calls(ctx, incomplete)


def calls(ctx: Any, incomplete: str) -> Found:
    """Ids of the newest calls."""
    found = _listed(ctx, "/v1/calls", lambda one: (one["id"], f"{one['function']} {one['state']}"))
    return _fitting(found, incomplete)


def jobs(ctx: Any, incomplete: str) -> Found:
    """Ids of jobs."""
    found = _listed(ctx, "/v1/jobs", lambda one: (one["id"], f"{one['kind']} {one['state']}"))
    return _fitting(found, incomplete)


def schedules(ctx: Any, incomplete: str) -> Found:
    """Names of schedules."""
    found = _listed(ctx, "/v1/schedules", lambda one: (one["name"], one.get("cron") or ""))
    return _fitting(found, incomplete)


def kinds(ctx: Any, incomplete: str) -> Found:
    """Kinds of dead letters."""
    return _fitting([("message", ""), ("call", "")], incomplete)


def _listed(ctx: Any, path: str, shown: Callable[[Json], tuple[str, str]]) -> Found:
    return _asked(ctx, lambda api: map(shown, api.get(path, {"limit": _MOST}).get("items") or ()))


def _asked(ctx: Any, find: Callable[[Api], Iterable[tuple[str, str]]]) -> Found:
    """What was found in time; nothing where that failed."""
    found: Found = []

    def ask() -> None:
        # Whatever is wrong is said by the command itself, once it is run.
        with suppress(DispatcherError, KeyError, TypeError):
            options = ctx.params
            found.extend(find(where.api(options.get("url"), options.get("key_file"))))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_DEADLINE_SECONDS)
    return list(found)


def _fitting(found: Found, incomplete: str) -> Found:
    """Those that begin with what was typed, each once, and none that a terminal would obey."""
    return [
        (value, said if said.isprintable() else "")
        for value, said in dict(found).items()
        if value and value.isprintable() and value.startswith(incomplete)
    ]
