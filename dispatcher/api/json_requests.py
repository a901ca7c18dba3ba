"""A DispatchRequest in JSON: a small one is read here, a large one by another process
(`protocol.convert`), one at a time, so that neither the event loop nor other threads wait for it
and memory is bounded.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Final

from dispatcher.protocol import convert
from dispatcher.protocol.connect import Code, ConnectError
from dispatcher.protocol.jsonform import from_json
from dispatcher.protocol.messages import DispatchRequest

AT_ONCE_BYTES: Final = 16 * 1024
IN_A_THREAD_BYTES: Final = 64 * 1024
"""Above it another process costs less than what a thread holds up: the thread has the interpreter's
lock for milliseconds at a time."""
CPU_SECONDS: Final = 30
"""16 MB of ordinary objects take some 15."""
MEMORY_BYTES: Final = 512 * 1024 * 1024
"""Of addresses; 16 MB of ordinary objects take some 290 MiB of memory."""
_PATIENCE_SECONDS: Final = 60.0
_TURN_SECONDS: Final = 30.0


class JsonRequests:
    """Reads the requests of one server."""

    def __init__(self, *, cpu_seconds: int = CPU_SECONDS, memory_bytes: int = MEMORY_BYTES) -> None:
        self._limits = (str(cpu_seconds), str(memory_bytes))
        self._one_at_a_time = asyncio.Lock()

    async def read(self, body: bytes) -> DispatchRequest:
        """Read a request. Cancelled, it leaves nothing running.

        Raises:
            ConnectError: it is none; or takes too much time or memory, or there is none for it now.
        """
        if len(body) <= AT_ONCE_BYTES:
            return from_json(DispatchRequest, body)
        if len(body) <= IN_A_THREAD_BYTES:
            return await asyncio.to_thread(from_json, DispatchRequest, body)
        await self._take_turn()
        try:
            return DispatchRequest.FromString(await self._converted(body))
        finally:
            self._one_at_a_time.release()

    async def _take_turn(self) -> None:
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                await self._one_at_a_time.acquire()
        except TimeoutError:
            raise ConnectError(
                Code.UNAVAILABLE,
                "Other requests in JSON are being read: ask again, or send application/proto.",
            ) from None

    async def _converted(self, body: bytes) -> bytes:
        try:
            child = await asyncio.to_thread(self._start)
        except OSError as error:
            raise ConnectError(
                Code.UNAVAILABLE,
                f"No process can be started that reads JSON of this size ({error.strerror}): "
                "ask again, or send application/proto.",
            ) from error
        try:
            said, _ = await asyncio.to_thread(child.communicate, body, _PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            said, _ = await asyncio.to_thread(child.communicate)
        finally:
            child.kill()
        if child.returncode == convert.DONE:
            return said
        if child.returncode == convert.REFUSED:
            raise ConnectError(Code.INVALID_ARGUMENT, said.decode("utf-8", "replace"))
        raise ConnectError(
            Code.RESOURCE_EXHAUSTED,
            "The body takes too much memory or time to read as JSON: send it as application/proto, "
            "or in several requests.",
        )

    def _start(self) -> subprocess.Popen[bytes]:
        # -P: no module of the working directory takes the place of ours. A group of its own: a
        # Ctrl-C is the server's.
        return subprocess.Popen(
            [sys.executable, "-P", "-m", convert.__spec__.name, *self._limits],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
