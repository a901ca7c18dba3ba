"""A child that serves nothing, for the tests of its parent: it says what a child says, and does
what a test wants of it.

`BEHAVIOUR` says what, by the number of the child: one word for each of its starts, the last one for
all that follow.

    ready     give signs of life until it is told to stop
    pending   the same, and log a long line again and again
    refuse    say that its log is in use
    unready   give signs of life, and never be ready
    crash     end with code 7 before it is ready
    die       end with code 7 once it is
    hang      do nothing any more once it is ready
    deaf      be ready, and do not stop
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from time import sleep

from dispatcher.errors import LogLocked
from dispatcher.node.processes.child import Child, main

LONG = 20_000


def behaviour(child: Child) -> str:
    """What this start is to do."""
    words: list[str] = json.loads(os.environ.get("BEHAVIOUR", "{}")).get(str(child.number), [])
    marks = Path(f"starts-{child.number}")
    start = len(marks.read_text()) if marks.exists() else 0
    with marks.open("a") as file:
        file.write("x")
    return words[min(start, len(words) - 1)] if words else "ready"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say to a caller who has taken the connection."""
    writer.write(b"%d" % os.getpid())
    await writer.drain()
    writer.close()


def hang() -> None:
    """Hold up the event loop."""
    sleep(3600)


def ignore(reason: str) -> None:
    """Do not stop."""


async def live(child: Child, word: str) -> int:
    """Do it."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    why: list[str] = []

    def stop(reason: str) -> None:
        why.append(reason)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ignore if word == "deaf" else stop, number.name)
    loop.add_signal_handler(signal.SIGHUP, child.parent.reloaded)
    loop.add_signal_handler(signal.SIGUSR1, os.write, 2, b"a child is here\n")
    signal.pthread_sigmask(
        signal.SIG_UNBLOCK, [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1]
    )
    child.parent.start(lambda: stop("none"), [child.output.flush, child.parent.alive])
    if word == "crash":
        os._exit(7)
    if word != "unready":
        servers = [await asyncio.start_server(answer, sock=one) for one in child.given.listen]
        child.events.server_ready(pending=child.number + 1, took_ms=0)
    if word == "die":
        os._exit(7)
    if word == "hang":
        hang()
    while not stopping.is_set() and word == "pending":
        child.events.library_warned(logger="x" * LONG, text=str(child.number), exc_info=None)
        await asyncio.sleep(0)
    await stopping.wait()
    child.events.server_stopping(signal=why[0], in_flight=0)
    if word != "unready":
        for server in servers:
            server.close()
    child.events.server_stopped(exit_code=0, pending=child.number + 1)
    child.leave(0)


def serve(child: Child) -> int:
    """Be a child."""
    word = behaviour(child)
    if word == "refuse":
        raise LogLocked("transaction.log: the log is in use")
    return asyncio.run(live(child, word))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], serve))
