"""One process of a node, alone: `python -m dispatcher.testing.piece JSON`, with the fields of its
`Assignment`, or the number of partitions of a node that is only this process. Settings come from
the environment, and the socket of LISTEN is given to the server, which stops on SIGTERM. Tests
start it as `ServerProcess`, see `program_of` and `program_of_all`.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
import time
from os import environ
from typing import Any

from dispatcher.listening.given import GivenSockets
from dispatcher.node.assignment import Assignment
from dispatcher.node.preparing import prepare
from dispatcher.node.server import Server
from dispatcher.settings import Settings
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.log import open_log


def program_of(number: int, partitions: tuple[int, ...], spread: int) -> tuple[str, ...]:
    """The arguments of Python that start such a process."""
    fields = json.dumps({"number": number, "partitions": partitions, "spread": spread})
    return "-m", "dispatcher.testing.piece", fields


def program_of_all(partitions: int) -> tuple[str, ...]:
    """The same, for a node of one process with so many partitions."""
    return "-m", "dispatcher.testing.piece", str(partitions)


async def _serve(asked: int | dict[str, Any]) -> int:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    log = open_log(_write, level="info", format="json")
    settings, layout = Settings.load(environ), None
    if isinstance(asked, int):
        layout, assignment = await prepare(settings, time.time_ns() // 1000, partitions=asked)
    else:
        assignment = Assignment(asked["number"], tuple(asked["partitions"]), asked["spread"])
    with socket.create_server(("127.0.0.1", 0)) as given:
        server = Server(
            settings,
            Events(log),
            assignment=assignment,
            layout=layout,
            given=GivenSockets(listen=[given]),
        )
        await server.start()
        await stopping.wait()
        return await server.stop(0)


def _write(line: str) -> None:
    sys.stdout.write(line if line.endswith("\n") else f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(asyncio.run(_serve(json.loads(sys.argv[1]))))
