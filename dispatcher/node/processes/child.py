"""A child: the process of a server, with a parent in place of systemd.

`python -m dispatcher.node.processes.child` with the arguments that `start` lists.

When the parent is gone it stops accepting, finishes what is in flight and ends: nobody would start
it again, and the next server needs its logs.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final, NoReturn

from structlog.typing import FilteringBoundLogger

from dispatcher import __version__
from dispatcher.core.rules.table import Rules
from dispatcher.errors import DispatcherError, LogLocked
from dispatcher.listening.given import GivenSockets
from dispatcher.node.assignment import Assignment
from dispatcher.node.layout import Layout
from dispatcher.node.opening import open_log_of, open_output
from dispatcher.node.processes import handing, line, plan, shares
from dispatcher.node.processes.start import Start
from dispatcher.settings import Settings
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.output import FileTurns

_SIGN_S: Final = 0.5
"""Between two signs of life: the parent waits for many times as long."""
_LOCK_S: Final = 5.0
_LOOK_S: Final = 0.05
_NOBODY: Final = "none"


class ToParent:
    """A child's end of the line: the `Manager` of its process.

    `restarts` is how many children were started again since the parent began. `watchdog_s` is how
    long systemd waits, which the parent tells that no log keeps the server waiting.
    """

    def __init__(self, own_end: socket.socket) -> None:
        self.watchdog_s: float | None = None
        own_end.setblocking(False)
        self._line = own_end
        self._heard = line.Heard()
        self.restarts = 0

    @property
    def is_listening(self) -> bool:
        """It hears that the event loop turns from here; more only for systemd."""
        return self.watchdog_s is not None

    def start(self, gone: Callable[[], None], every: Iterable[Callable[[], object]] = ()) -> None:
        """Give signs of life from now on, and listen. `gone` is called when the parent is gone,
        `every` with each sign."""
        loop = asyncio.get_running_loop()
        self._gone = gone
        self._every = tuple(every)
        loop.add_reader(self._line.fileno(), self._hear)
        self._give_sign()

    def tell(self, what: str, **fields: object) -> None:
        """Say something. When the parent is gone, to nobody."""
        with suppress(OSError):
            self._line.send(line.said(what, **fields))

    def keep(self, settings: Settings, rules: Rules) -> None:
        """Have the parent give this to those that it starts from now on. When it does not hear,
        they have what is older, and read the settings again as this one did."""
        file = plan.write_taken(handing.encode((settings, rules)))
        try:
            with suppress(OSError):
                socket.send_fds(self._line, [line.said(line.TAKEN)], [file])
        finally:
            os.close(file)

    def ready(self) -> None:
        """It is told with what is waiting, by `ChildEvents`."""

    def reloading(self) -> None:
        """It knows, as it asked for it."""

    def reloaded(self) -> None:
        """What SIGHUP asked for is over."""
        self.tell(line.RELOADED)

    def alive(self) -> None:
        """All is as it should be."""
        self.tell(line.WELL)

    def stopping(self) -> None:
        """It knows."""

    def status(self, text: str) -> None:
        """The parent has one of its own."""

    def _give_sign(self) -> None:
        self.tell(line.ALIVE)
        for one in self._every:
            one()
        asyncio.get_running_loop().call_later(_SIGN_S, self._give_sign)

    def _hear(self) -> None:
        try:
            data = self._line.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._line.fileno())
            self._gone()
            return
        for said, fields in self._heard.feed(data):
            if said == line.RESTARTS:
                self.restarts = int(fields.get("count", 0))


class ChildEvents(Events):
    """Events of a process that is one of several: what a server says of its life is of one process
    here, and the parent says it of all."""

    __slots__ = ("_parent",)

    def __init__(self, log: FilteringBoundLogger, parent: ToParent) -> None:
        super().__init__(log)
        self._parent = parent

    def server_ready(self, *, pending: int, took_ms: int, **_: object) -> None:
        """The parent logs it once, with where it listens."""
        self.process_ready(pending=pending, took_ms=took_ms)
        self._parent.tell(line.READY, pending=pending, took_ms=took_ms)

    def server_stopping(self, *, signal: str, in_flight: int | None) -> None:
        """As `process.stopping`."""
        self.process_stopping(signal=signal, in_flight=in_flight)

    def server_stopped(self, *, exit_code: int, pending: int | None) -> None:
        """As `process.stopped`."""
        self.process_stopped(exit_code=exit_code, pending=pending)
        self._parent.tell(line.STOPPED, pending=pending)


class Child:
    """What one child was given, and what it serves with.

    `start` is what its parent said, `settings` are its own part of the node's, `whole` the node's.
    """

    def __init__(
        self, arguments: Sequence[str], environ: Mapping[str, str], parent: ToParent
    ) -> None:
        """Read it. `arguments` are those of the command without the last.

        Raises:
            DispatcherError: the program is another one by now.
        """
        self.parent = parent
        self.environ = environ
        self.start = start = Start.read(arguments)
        self.plan, common = plan.read(start.plan_file)
        self._check_version()
        parent.watchdog_s = self.plan.watchdog_s
        self.whole: Settings
        self.rules: Rules
        self.layout: Layout
        self._every: tuple[int, ...]
        self.whole, self.rules, self.layout, self._every = handing.decode(common)
        if start.taken is not None:
            self.whole, self.rules = handing.decode(plan.read_taken(start.taken))
            os.close(start.taken)
        self.settings = shares.of_child(self.whole, self.number, self.plan.processes)
        self.given = _given(self.plan)
        self.output = open_output(FileTurns(start.plan_file))
        self.events = ChildEvents(
            open_log_of(self.settings, self.output, process=self.number), parent
        )

    def _check_version(self) -> None:
        if self.plan.version != __version__:
            raise DispatcherError(
                f"the program is version {__version__} by now, and the server was started as "
                f"{self.plan.version}: restart it, for the sake of one version in all processes"
            )

    @property
    def number(self) -> int:
        """Which of the children it is."""
        return self.start.number

    @property
    def assignment(self) -> Assignment:
        """Its part of the node."""
        return self.layout.assignment(self.number, self._every)

    async def wait_for_locks(self, check_free: Callable[[], None]) -> None:
        """Wait until nobody has the logs that `check_free` looks at: the child before this one may
        still have them. At the very first start there was none, and it is somebody else.

        Raises:
            LogLocked: they were not let go of in time.
        """
        deadline_s = time.monotonic() + (_LOCK_S if self.start.is_again else 0)
        while True:
            try:
                check_free()
                return
            except LogLocked:
                if time.monotonic() >= deadline_s:
                    raise
            await asyncio.sleep(_LOOK_S)

    def leave(self, code: int) -> NoReturn:
        """End with this code, while there are handlers for signals: they go with the event loop,
        and a SIGTERM that comes after one to all of us (a terminal's ^C) would be what we died
        of."""
        self.output.close()
        os._exit(code)


def _given(the_plan: plan.Plan) -> GivenSockets:
    """The sockets that the parent bound. This process closes them when it stops accepting, which
    leaves those of the others open; files of unix sockets are the parent's to remove."""
    of = {
        setting: [socket.socket(fileno=number) for number in numbers]
        for setting, numbers in the_plan.sockets.items()
    }
    return GivenSockets(
        listen=of.get(plan.LISTEN, ()),
        proxy=of.get(plan.PROXY_LISTEN, ()),
        api=of.get(plan.API_LISTEN, ()),
    )


def main(arguments: Sequence[str], serve: Callable[[Child], int]) -> int:
    """Run a child. Returns the exit code.

    What keeps it from starting is said to the parent, which says it once, or logs it.
    """
    if sys.stderr is not None:
        faulthandler.enable(sys.stderr, all_threads=True)  # SIGABRT: the parent found us hung
    *others, own_end = arguments
    parent = ToParent(socket.socket(fileno=int(own_end)))
    try:
        return serve(Child(others, os.environ, parent))
    except DispatcherError as error:
        parent.tell(line.REFUSED, code=error.exit_code, reason=str(error))
        return error.exit_code


def serve(child: Child) -> int:
    """Serve with the messages' part of a server, or all of it."""
    from dispatcher.node.process import Process, run_loop
    from dispatcher.node.server import Server

    async def serve_in_loop() -> int:
        server = Server(
            child.settings,
            child.events,
            child.rules,
            assignment=child.assignment,
            layout=child.layout,
            given=child.given,
            restarts=lambda: child.parent.restarts,
        )
        process = Process(
            child.whole,  # what is read again later is of the whole node too
            child.rules,
            child.environ,
            child.events,
            child.output,
            server=server,
            manager=child.parent,
            has_parent=True,
            taken=child.parent.keep,
        )

        async def before() -> None:
            await child.wait_for_locks(server.check_free)
            if child.start.is_reloaded:
                await process.reload()

        child.parent.start(lambda: process.begin_stop(_NOBODY), [child.output.flush])
        code = await process.serve(before=before)
        child.leave(code)

    return run_loop(serve_in_loop, child.events, child.output)


if __name__ == "__main__":
    gc.disable()  # `run_loop` sets aside what is imported until then
    sys.exit(main(sys.argv[1:], serve))
