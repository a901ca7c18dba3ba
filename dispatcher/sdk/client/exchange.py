"""One exchange with the server as values, and the steps of which a conversation with it is made.

A conversation is a generator: it yields what is to be done (`Send`, `Pause`), is sent what came of
it, and returns a value or raises. It does no I/O and reads no clock of its own, so that `Client`
and `SyncClient` hold the same ones.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from dispatcher.protocol.statuses import Status

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """What the server is asked. `target` is path and query under its address, percent-encoded.

    `is_repeatable`: to ask twice is to ask once, so that it may be sent again when an answer was
    lost. `within_s` is how long one try may take.
    """

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_repeatable: bool = True
    within_s: float = 10.0
    is_waiting: bool = False
    """It is answered when something has happened, not at once."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server answered. Names of headers are in lower case. `is_of_retry`: an earlier try
    may have done what was asked."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_of_retry: bool = False


@dataclass(frozen=True, slots=True)
class Lost:
    """There was no whole answer. `was_sent`: the request may have been received. `is_final`: it
    would be the same another time."""

    reason: str
    was_sent: bool
    status: Status = Status.TCP_ERROR
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request, and give it so long. What comes is a `Reply` or `Lost`."""

    request: Request
    within_s: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for so long. What comes is None."""

    seconds: float


Step: TypeAlias = Send | Pause
Came: TypeAlias = Reply | Lost | None
Conversation: TypeAlias = Generator[Step, Came, T]
