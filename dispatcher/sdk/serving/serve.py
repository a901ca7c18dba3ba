"""An application with a listener of its own."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final, TextIO

from dispatcher.errors import PortTaken
from dispatcher.sdk.config import Address
from dispatcher.sdk.serving.ports import Application
from dispatcher.sdk.serving.telling import block
from dispatcher.sdk.serving.web import answered

STOP_S: Final = 25.0
"""How long runs that are under way have to end: less than what is given to containers."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def serve(app: Application) -> None:
    """Listen at `config.address`, and answer until SIGINT or SIGTERM; then let runs that are under
    way end, for 25 seconds. A second signal ends the process at once.

    Raises:
        RuntimeError: an event loop runs here already.
        SystemExit: nobody can listen there, which is printed; with the exit code of PortTaken.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise RuntimeError(
            "app.serve() runs an event loop of its own, and one runs here already: write "
            "`await app.serve_async()`."
        )
    _show_log()
    try:
        with _runner() as runner, suppress(asyncio.CancelledError):
            runner.run(_until_a_signal(app))
    except PortTaken as error:  # the process is ours: a traceback would tell nothing more
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


async def serve_async(app: Application) -> None:
    """Listen at `config.address`, and answer until this is cancelled; then let runs that are under
    way end, for 25 seconds.

    Raises:
        PortTaken: nobody can listen there.
    """
    async with _listening(app, sys.stdout):
        await asyncio.Event().wait()


@asynccontextmanager
async def serving(app: Application) -> AsyncIterator[Address]:
    """Listen at `config.address` while the block runs, which is given the address; then let runs
    that are under way end, for 25 seconds. stdout is the block's: what there is to say goes to
    stderr.

    Raises:
        PortTaken: nobody can listen there.
    """
    async with _listening(app, sys.stderr) as address:
        yield address


@asynccontextmanager
async def _listening(app: Application, told: TextIO) -> AsyncIterator[Address]:
    """Listen, and tell where, and for what it waits at the end."""
    from aiohttp import web

    under_way: set[int] = set()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        under_way.add(id(request))
        try:
            return await answered(app, request)
        finally:
            under_way.discard(id(request))

    server = web.Server(answer, access_log=None, auto_decompress=False)
    runner = web.ServerRunner(server, shutdown_timeout=STOP_S)
    await runner.setup()
    try:
        address = app.config.address
        try:
            await web.TCPSite(runner, address.host, address.port).start()
        except OSError as error:
            raise _taken(address, error) from error
        host, port = runner.addresses[0][:2]
        bound = Address(str(host), int(port))
        _tell(app, bound, told)
        yield bound
    finally:
        if under_way:
            runs = "1 run" if len(under_way) == 1 else f"{len(under_way)} runs"
            print(f"Waits for {runs}, {STOP_S:.0f} s at most", file=told, flush=True)
        await runner.cleanup()


async def _until_a_signal(app: Application) -> None:
    task = asyncio.current_task()
    assert task is not None, "a runner makes one"
    loop = asyncio.get_running_loop()

    def stop() -> None:
        task.cancel()
        for number in _SIGNALS:  # the next one ends the process, whatever it waits for
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    # Neither on Windows, where Ctrl-C raises KeyboardInterrupt, nor in another thread.
    with suppress(NotImplementedError, ValueError, RuntimeError):
        for number in _SIGNALS:
            loop.add_signal_handler(number, stop)
    await serve_async(app)


def _runner() -> asyncio.Runner:
    """With uvloop where it is: it answers more runs a second."""
    try:
        import uvloop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def _show_log() -> None:
    """What functions log is seen, unless the application has set up logging: the process is ours,
    and logging by itself passes over all that is not a warning."""
    if not logging.getLogger().handlers:
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")


def _tell(app: Application, address: Address, told: TextIO) -> None:
    print(block(app, address), file=told, flush=True)


def _taken(address: Address, error: OSError) -> PortTaken:
    if isinstance(error, socket.gaierror):
        reason = "its host has no address on this machine"
    else:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
    return PortTaken(
        f"can't listen at {address}: {reason}. Stop what uses the port, or write another one: "
        "DISPATCH_ENDPOINT_ADDR=HOST:PORT, or Dispatch(address=…)."
    )
