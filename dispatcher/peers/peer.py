"""Another process, as other parts of this one have it: connected or not, asked over its link.

Who asks it need not know how it is connected, nor over which of the links that it had one after the
other: `links` gives it each one that is made, and takes it away again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from dispatcher.errors import DispatcherError
from dispatcher.peers.errors import Broken, NotConnected
from dispatcher.peers.hello import Hello
from dispatcher.peers.link import Link, Waiter
from dispatcher.peers.streams import Stream

ASK_TIMEOUT_S: Final = 10.0


class Peer:
    """Another process of the server. `incarnation` is another one after each of its starts; None
    before it was connected at all. Who `has_left` is never connected again."""

    def __init__(self, process: int) -> None:
        self.process = process
        self.incarnation: int | None = None
        self.has_left = False
        self._link: Link | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._changed: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return f"<Peer {self.process}: {'connected' if self.is_connected else 'away'}>"

    @property
    def is_connected(self) -> bool:
        """Whether it can be asked now."""
        return self._link is not None

    def on_change(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call this each time that it was connected or lost. Returns what ends that."""
        self._changed.append(changed)
        return partial(self._changed.remove, changed)

    def begin(self, kind: int, payload: bytes, waiter: Waiter) -> None:
        """Ask something; `waiter` hears the answer, however long that takes while it is connected.

        Raises:
            NotConnected: it can't be asked now, and `waiter` hears nothing.
            ValueError: the payload is larger than a frame may be.
        """
        self._connected().ask(kind, payload, waiter)

    async def ask(
        self, kind: int, payload: bytes = b"", *, timeout_s: float = ASK_TIMEOUT_S
    ) -> bytes:
        """Ask something, and return its answer. A caller that is cancelled waits no more, and what
        was asked may be done.

        Raises:
            NotConnected: it can't be asked now.
            Broken: its answer will never come, or did not in time: it may have been done.
            Failed: it says that it failed.
            Refused: it says that it can't be done now, and why.
            ValueError: the payload is larger than a frame may be.
        """
        link = self._connected()
        answer = _Answer()
        number = link.ask(kind, payload, answer)
        try:
            async with asyncio.timeout(timeout_s):
                return await answer.future
        except TimeoutError:
            raise Broken(f"The other process did not answer within {timeout_s:g} s.") from None
        finally:
            link.cancel(number)

    def tell(self, kind: int, payload: bytes) -> None:
        """Say something that nobody answers.

        Raises:
            NotConnected, ValueError: as `ask`.
        """
        self._connected().tell(kind, payload)

    def open(self, kind: int, payload: bytes = b"") -> Stream:
        """Begin a stream; it breaks when the link is lost.

        Raises:
            NotConnected, ValueError: as `ask`.
        """
        return self._connected().open(kind, payload)

    async def connected(self, within_s: float) -> None:
        """Wait until it can be asked.

        Raises:
            NotConnected: it could not be in this time.
        """
        if self._link is not None:
            return
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            async with asyncio.timeout(within_s):
                await waiting
        except TimeoutError:
            raise NotConnected(
                f"Process {self.process} was not connected within {within_s:g} s."
            ) from None
        finally:
            self._waiting.remove(waiting)

    def _connected(self) -> Link:
        if self._link is None:
            raise NotConnected(f"Process {self.process} is not connected.")
        return self._link

    # As `Links` has it.

    def take(self, link: Link, hello: Hello) -> Link | None:
        """This is its link from now on; return the former one."""
        former, self._link = self._link, link
        self.incarnation = hello.incarnation
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        self._tell_change()
        return former

    def close(self, reason: str) -> None:
        """Close its link, if there is one."""
        if self._link is not None:
            self._link.close(reason)

    def drop(self, link: Link) -> bool:
        """This link is lost; return whether it was the one in use."""
        if link is not self._link:
            return False
        self._link = None
        self._tell_change()
        return True

    def _tell_change(self) -> None:
        for changed in tuple(self._changed):
            changed()


class _Answer:
    """The future of one answer (`Waiter`)."""

    __slots__ = ("future",)

    def __init__(self) -> None:
        self.future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def answered(self, payload: bytes) -> None:
        """See `Waiter`."""
        if not self.future.done():
            self.future.set_result(payload)

    def failed(self, error: DispatcherError) -> None:
        """See `Waiter`."""
        if not self.future.done():
            self.future.set_exception(error)
