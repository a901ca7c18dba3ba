"""What serving needs of an application. `Dispatch` is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from dispatcher.sdk.config import Config


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one request. Content-Length is not among the headers."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class Handler(Protocol):
    """Answers requests."""

    async def handle(
        self, method: str, path: str, headers: Sequence[tuple[str, str]], body: bytes
    ) -> Answer:
        """Answer one. `path` is path and query as they stand in the request line, which is what is
        signed; of headers, those of one name may stand several times, in any case."""
        ...


class Application(Handler, Protocol):
    """An application that can be served."""

    @property
    def config(self) -> Config: ...

    def describe(self) -> Sequence[str]:
        """Return a line for each function: its name, whether it is plain or durable, and why."""
        ...
