"""A simulated loop on which several processes live, each of which can be stopped for a while.

A process is what runs in a context where `PROCESS` names it: the tasks it started, their timers and
whatever wakes them. While it is frozen nothing of it runs, and time passes for the others; when it
thaws, everything that was due comes at once, as after SIGCONT. One that never thaws was killed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from typing import Any, NamedTuple, TypeVarTuple

from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import SimulatedLoop

Ts = TypeVarTuple("Ts")

PROCESS: ContextVar[str] = ContextVar("PROCESS", default="")
"""Which process code belongs to; empty: to the world, which never stops."""


class _Held(NamedTuple):
    process: str
    handle: asyncio.Handle
    callback: Callable[..., object]
    args: tuple[Any, ...]
    context: Context


class FreezingLoop(SimulatedLoop):
    """See the module. `is_frozen` says whether a process is."""

    def __init__(self, clock: SimulatedClock) -> None:
        super().__init__(clock)
        self._frozen: set[str] = set()
        self._held: list[_Held] = []

    def is_frozen(self, process: str) -> bool:
        """Whether nothing of it runs."""
        return process in self._frozen

    def freeze(self, process: str) -> None:
        """Let nothing of it run from now on."""
        self._frozen.add(process)

    def thaw(self, process: str) -> None:
        """Let it run, first what was due."""
        self._frozen.discard(process)
        held, self._held = self._held, []
        for one in held:
            if one.process == process:
                self.call_soon(self._resume, one, context=one.context)
            else:
                self._held.append(one)

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """See asyncio."""
        context = copy_context() if context is None else context
        box: list[asyncio.Handle] = []
        handle = super().call_soon(self._run, box, callback, args, context, context=context)
        box.append(handle)
        return handle

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """See asyncio."""
        context = copy_context() if context is None else context
        box: list[asyncio.Handle] = []
        handle = super().call_at(when, self._run, box, callback, args, context, context=context)
        box.append(handle)
        return handle

    def _run(
        self,
        box: list[asyncio.Handle],
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: Context,
    ) -> None:
        process = context.get(PROCESS, "")
        if process in self._frozen:
            self._held.append(_Held(process, box[0], callback, args, context))
        else:
            callback(*args)

    def _resume(self, held: _Held) -> None:
        if not held.handle.cancelled():
            held.callback(*held.args)


def run_in(process: str, work: Callable[[], Any]) -> asyncio.Task[Any]:
    """Start `work()`, a coroutine, as this process."""
    context = copy_context()
    context.run(PROCESS.set, process)
    return asyncio.get_running_loop().create_task(work(), name=process, context=context)
