"""Ports that stay a test's own while nobody listens on them.

A port that was found free, or whose server has stopped, may be given to any connection of another
test the next moment. One that somebody has bound, without listening, is given to nobody, and who
connects to it is refused. A server that sets SO_REUSEADDR, as asyncio's do, listens there all the
same.

One that was found free is found once: what a server remembers of a destination that was there
earlier, a hold or a breaker, would be taken for one of the next.
"""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Final, Self

_FOUND: Final[set[int]] = set()
_TRIES: Final = 100


class KeptPort:
    """A port of one address, until it is let go. A context manager, which lets it go at its end."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """`port` 0: any that is free.

        Raises:
            OSError: it is taken.
        """
        self._socket = _bound(host, port)
        self.number: int = self._socket.getsockname()[1]
        for _ in range(_TRIES if port == 0 else 0):
            if self.number not in _FOUND:
                break
            with self._socket:  # until there is another one, or that would be the same again
                self._socket = _bound(host, port)
            self.number = self._socket.getsockname()[1]
        _FOUND.add(self.number)

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


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound
