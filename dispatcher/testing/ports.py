"""Ports that stay a test's own while nobody listens on them.

A port that was found free, or whose server has stopped, may be given to any connection of another
test the next moment. One that somebody has bound, without listening, is given to nobody, and who
connects to it is refused. A server that sets SO_REUSEADDR, as asyncio's do, listens there all the
same.
"""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Self


class KeptPort:
    """A port of one address, until it is let go. A context manager, which lets it go at its end."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """`port` 0: any that is free.

        Raises:
            OSError: it is taken.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((host, port))
        except OSError:
            self._socket.close()
            raise
        self.number: int = self._socket.getsockname()[1]

    def let_go(self) -> None:
        """Others may be given it from now on. Idempotent."""
        self._socket.close()

    def __del__(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.let_go()
