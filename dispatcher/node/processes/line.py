"""What is said between a parent and a child, over a socket of their own.

A line of JSON each, `{"said": …}` with its fields:

    child to parent    alive                    twice a second, by its event loop
                       well                     no log keeps it waiting; for systemd's watchdog
                       ready      pending, took_ms
                       reloaded                 what SIGHUP asked for is over
                       taken                    what it found then is in force: with a descriptor,
                                                of a file as `plan.write_taken` makes it
                       refused    code, reason  it cannot start
                       stopped    pending       its last line
    parent to child    restarts   count         of all children, since the start

What is not known is passed over. When one end is closed the other reads its end: for the child that
means that its parent is gone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

ALIVE: Final = "alive"
WELL: Final = "well"
READY: Final = "ready"
RELOADED: Final = "reloaded"
TAKEN: Final = "taken"
REFUSED: Final = "refused"
STOPPED: Final = "stopped"
RESTARTS: Final = "restarts"

_SAID: Final = "said"
_LONGEST: Final = 1 << 20
"""Bytes without an end of a line; the rest of such a line is not kept either."""


def said(what: str, /, **fields: object) -> bytes:
    """Write a line."""
    return json.dumps({_SAID: what, **fields}).encode() + b"\n"


class Heard:
    """Puts together what was read of the other end."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield what is whole by now: what was said, and the fields."""
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest if len(rest) <= _LONGEST else b""
        for line in lines:
            try:
                fields = json.loads(line)
                yield fields.pop(_SAID), fields
            except (ValueError, KeyError, AttributeError, TypeError):
                continue  # of another version, or the rest of a line that was too long
