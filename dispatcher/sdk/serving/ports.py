"""What serving needs of an application. `Dispatch` is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from dispatcher.sdk.config import Config
from dispatcher.sdk.endpoint import Answer


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
        """Return for each function its name, whether it is plain or durable, and why."""
        ...
