"""What comes before the parent: its settings are checked, its sockets bound, its plan written.

This process has read the settings, and with them imported more than a parent that runs for months
should carry. So it becomes the parent by exec: the same process for whoever started it, without
what it does not need any more.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

from dispatcher import __version__
from dispatcher.core.authority import authority
from dispatcher.core.rules.table import Rules
from dispatcher.errors import PortTaken
from dispatcher.listening.sockets import listening_sockets
from dispatcher.listening.unix import UnixPlace, unix_socket
from dispatcher.node.early_stop import EarlyStop
from dispatcher.node.layout import Layout, lay_out
from dispatcher.node.opening import begin_log, is_for_people
from dispatcher.node.places import check_places
from dispatcher.node.processes import handing, plan
from dispatcher.node.processes.life import Timings
from dispatcher.node.public import Whereabouts
from dispatcher.node.systemd import Systemd
from dispatcher.settings import Address, Settings, UnixAddress
from dispatcher.txlog.files.disk import RealDisk
from dispatcher.txlog.files.place import check_free

_PARENT: Final = "dispatcher.node.processes.parent"
_CHILD: Final = "dispatcher.node.processes.child"
_BACKLOG: Final = 4096
_STOP_MARGIN_S: Final = 5.0
"""What a child has to close after its drain, before it is killed."""


def run_processes(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    rules: Rules | None = None,
    made_key: Path | None = None,
    early: EarlyStop | None = None,
    timings: Timings | None = None,
    child: Sequence[str] | None = None,
) -> NoReturn:
    """Become the parent of several processes. The rest is as `process.run` has it; `timings` and
    another command for a `child` are for tests.

    Raises:
        DispatcherError: they cannot be started; it carries the exit code. No socket is left.
    """
    began_s = time.monotonic()
    check_places(settings)
    processes = settings.process_count
    rules = rules or Rules()
    output, _ = begin_log(settings, rules, environ, made_key=made_key)
    output.close()
    bound = _bind(settings)
    try:
        layout, every = _lay_out(settings, processes)
    except BaseException:
        bound.close()
        raise
    file = plan.write(
        plan.Plan(
            version=__version__,
            processes=processes,
            child=child or python(_CHILD),
            timings=timings or Timings(stop_s=_stop_s(settings)),
            log_level=settings.log_level.value,
            log_format=settings.log_format.value,
            began_s=began_s,
            colors=is_for_people(),
            sockets=bound.descriptors(),
            unix_files=bound.files,
            ready=_ready(settings, bound),
            watchdog_s=Systemd(environ).watchdog_s,
        ),
        handing.encode((settings, rules, layout, every)),
    )
    command = [*python(_PARENT), str(file)]
    caught = None if early is None else early.end()
    if caught is not None:
        os.kill(os.getpid(), caught)  # it is held, and waits for the parent's handlers
    os.execve(command[0], command, dict(environ))


def _lay_out(settings: Settings, processes: int) -> tuple[Layout, tuple[int, ...]]:
    """Decide where messages lie from now on; remove partitions that more processes left behind, if
    they are empty. Returns the partitions too."""
    now_us = max(0, time.time_ns() // 1000)
    layout, every = lay_out(settings, processes, now_us)
    if all(number < layout.spread for number in every):
        return layout, every
    # To look into them takes half of what a server imports.
    from dispatcher.node.preparing import prepare

    layout, assignment = asyncio.run(prepare(settings, now_us, partitions=processes))
    return layout, assignment.every


def python(module: str) -> list[str]:
    """The command that runs a module as this process was run: the working directory is looked into
    for modules only where it was for this one."""
    is_safe = not sys.path or sys.path[0] not in ("", os.getcwd())
    return [sys.executable, *(["-P"] if is_safe else []), "-m", module]


def _stop_s(settings: Settings) -> float:
    return (settings.drain_notice_ms + settings.drain_timeout_ms) / 1000 + _STOP_MARGIN_S


@dataclass(slots=True)
class _Bound:
    """Sockets by setting, and the files of those that are unix sockets."""

    sockets: dict[str, Sequence[socket.socket]] = field(default_factory=dict)
    files: list[plan.UnixFile] = field(default_factory=list)

    def descriptors(self) -> dict[str, list[int]]:
        """Hand them over to what this process becomes."""
        found: dict[str, list[int]] = {}
        for setting, sockets in self.sockets.items():
            found[setting] = [one.fileno() for one in sockets]
            for number in found[setting]:
                os.set_inheritable(number, True)
        return found

    def addresses(self, setting: str) -> list[tuple[str, int]]:
        """What is listened on with a port."""
        return [
            one.getsockname()[:2]
            for one in self.sockets.get(setting, ())
            if one.family != socket.AF_UNIX
        ]

    def close(self) -> None:
        """Listen on nothing."""
        for sockets in self.sockets.values():
            for one in sockets:
                one.close()
        for file in self.files:
            file.remove()


def _bind(settings: Settings) -> _Bound:
    """Listen where the settings say. The API first, as a server of one process does."""
    bound = _Bound()
    try:
        asyncio.run(_bind_all(settings, bound))
    except PortTaken:
        bound.close()
        # By a server with the same settings, which has the logs too? That is what to say then.
        for path in (settings.transaction_log, settings.dead_letter):
            check_free(path, RealDisk())
        raise
    except BaseException:
        bound.close()
        raise
    return bound


async def _bind_all(settings: Settings, bound: _Bound) -> None:
    wanted: list[tuple[str, Address | UnixAddress | None]] = [
        (plan.API_LISTEN, settings.api_listen),
        (plan.LISTEN, settings.listen),
        (plan.PROXY_LISTEN, settings.proxy_listen),
    ]
    for setting, address in wanted:
        match address:
            case UnixAddress(path):
                place = UnixPlace(path, int(settings.socket_mode, 8))
                made = await unix_socket(place, setting=setting)
                bound.sockets[setting] = [made.sock]
                bound.files.append(plan.UnixFile(path, *made.identity))
            case Address(host, port):
                bound.sockets[setting] = await listening_sockets(host, port, setting=setting)
            case None:
                continue
        for one in bound.sockets[setting]:
            one.listen(_BACKLOG)


def _ready(settings: Settings, bound: _Bound) -> dict[str, Any]:
    """The fields of `server.ready` that are known by now."""
    listen, api = (
        Whereabouts.of(address, bound.addresses(setting), tls=cert is not None)
        for setting, address, cert in (
            (plan.LISTEN, settings.listen, settings.listen_tls_cert),
            (plan.API_LISTEN, settings.api_listen, settings.api_tls_cert),
        )
    )
    return {
        "send_to": listen.url,
        "dashboard": api.page,
        "listen": listen.shown,
        "proxy_listen": [authority(*one) for one in bound.addresses(plan.PROXY_LISTEN)],
        "api_listen": ", ".join(api.shown),
    }
