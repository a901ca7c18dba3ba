"""Server-sent events: from lines to events, and an endless stream of them over broken connections.

The format: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream.
Of its fields only `event` and `data` are used by the API.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from dispatcher.cli.client import Api, Json
from dispatcher.cli.errors import RefusedNow, Unreachable

SILENCE_SECONDS: Final = 45.0
"""Three heartbeats of the server: then the connection is dead, although nobody told us."""
_FIRST_WAIT_SECONDS: Final = 0.5
_LONGEST_WAIT_SECONDS: Final = 10.0
_DROPPED: Final = re.compile(rb":\s*dropped\s+([0-9]+)\s*")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: its kind and its fields."""

    kind: str
    fields: Json


@dataclass(frozen=True, slots=True)
class Dropped:
    """So many events were not sent."""

    count: int


@dataclass(frozen=True, slots=True)
class Broken:
    """The connection is gone; it is made again after a while. What happens meanwhile is missed."""

    reason: str


def parse(lines: Iterable[bytes]) -> Iterator[Event | Dropped]:
    """Turn lines into events. An event that is cut off, or no JSON object, is left out."""
    kind = ""
    data: list[bytes] = []
    for line in lines:
        name, _, value = line.partition(b":")
        match name:
            case b"" if dropped := _DROPPED.fullmatch(line):
                yield Dropped(int(dropped[1]))
            case b"" if not line:
                if (fields := _fields(data)) is not None:
                    yield Event(kind, fields)
                kind, data = "", []
            case b"event":
                kind = value.removeprefix(b" ").decode("utf-8", "replace")
            case b"data":
                data.append(value.removeprefix(b" "))
            case _:
                pass


def follow(
    api: Api, path: str, *, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Event | Dropped | Broken]:
    """Yield what a stream tells, and connect again whenever it breaks.

    Raises:
        CommandError: it could not be opened the first time, or the key is refused.
    """
    opened = False
    wait_s = _FIRST_WAIT_SECONDS
    while True:
        reason = "the server closed the connection"
        try:
            with api.stream(path, silence_s=SILENCE_SECONDS) as lines:
                opened = True
                for event in parse(lines):
                    wait_s = _FIRST_WAIT_SECONDS
                    yield event
        except (Unreachable, RefusedNow) as error:
            if not opened:
                raise
            reason = str(error)
        yield Broken(reason)
        sleep(wait_s)
        wait_s = min(2 * wait_s, _LONGEST_WAIT_SECONDS)


def _fields(data: list[bytes]) -> Json | None:
    try:
        found = json.loads(b"\n".join(data))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
