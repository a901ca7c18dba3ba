"""What the engine asks of a connection to NATS: the seam that tests put a troubled one behind.

`client.NatsLink` is the real one. Every wait is bounded, and a connection that is gone or comes
back is the link's own business: what is asked meanwhile is `Silence`, and asked again by the
caller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol


class Silence(Exception):
    """No answer came in time: nobody was there, or the connection is gone. What was asked for may
    have been done, or may yet be."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A message that came back."""

    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


Heard = Callable[[str, bytes], object]
"""Is told what was published: subject and bytes."""


class Link(Protocol):
    """A connection. Used on one event loop."""

    async def request(
        self,
        subject: str,
        data: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float,
    ) -> Answer:
        """Return the answer to a request. Raises Silence."""

    async def gather(self, subject: str, data: bytes, *, timeout_s: float) -> list[Answer]:
        """Return the answers to a request that has many, in order; the last one is that which has
        a status and ends them. Raises Silence when nothing comes for so long."""

    async def listen(self, subject: str, heard: Heard) -> Stop:
        """Call `heard` with what is published there from now on, its subject first. Some may be
        missed. Raises Silence."""


class Stop(Protocol):
    """Ends listening."""

    async def __call__(self) -> None:
        """Listen no more. Raises nothing."""
