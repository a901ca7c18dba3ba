"""What can happen in a run: what its threads put into the queue that one of them reads."""

from __future__ import annotations

from dataclasses import dataclass
from queue import SimpleQueue

from dispatcher.cli.client import Json


@dataclass(frozen=True, slots=True)
class Printed:
    """The command of a group has printed a line, without its end."""

    group: int
    line: bytes
    is_error: bool


@dataclass(frozen=True, slots=True)
class CommandEnded:
    """The command of a group has ended; what is left of the group still runs. `code` is negative
    for a signal."""

    group: int
    code: int


@dataclass(frozen=True, slots=True)
class OutputEnded:
    """Nobody of a group is left who could print anything."""

    group: int


@dataclass(frozen=True, slots=True)
class ServerReady:
    """The server accepts calls at `api`, as `host:port`."""

    api: str


@dataclass(frozen=True, slots=True)
class ServerSaid:
    """The server has something to say to a person."""

    text: str


@dataclass(frozen=True, slots=True)
class ServerEnded:
    """The server has ended. `code` is negative for a signal."""

    code: int


@dataclass(frozen=True, slots=True)
class CallMoved:
    """Something happened to a call: an event of the API, `kind` without `call.`."""

    kind: str
    fields: Json


@dataclass(frozen=True, slots=True)
class CallsMissed:
    """So many events were not told; None: nobody knows how many."""

    count: int | None


@dataclass(frozen=True, slots=True)
class Watching:
    """From now on every event of calls is told."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A signal asks the run to end."""

    signal: int


@dataclass(frozen=True, slots=True)
class Changed:
    """A file of the application has changed."""

    path: str


Happening = (
    Printed
    | CommandEnded
    | OutputEnded
    | ServerReady
    | ServerSaid
    | ServerEnded
    | CallMoved
    | CallsMissed
    | Watching
    | Asked
    | Changed
)

Happenings = SimpleQueue[Happening]
"""Signal handlers put into it too: its `put` may be interrupted by another."""
