"""The whole API with invented data, to try the dashboard; and what tests of the API and of the
command line need of it, under one name.

`python -m dispatcher.testing.admin PORT [busy|empty|broken]` serves it on loopback, until SIGTERM
or SIGINT. Nothing is ever sent.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from dataclasses import replace
from itertools import count
from random import Random

from dispatcher.api.health import Health
from dispatcher.api.server import ApiServer
from dispatcher.core.clock import SystemClock
from dispatcher.core.keys import Keyring
from dispatcher.queue.admin.surface import MessageState
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.log import open_log
from dispatcher.testing import function_service
from dispatcher.testing.backups import MemoryBackups
from dispatcher.testing.carrier import MemoryCarrier
from dispatcher.testing.cluster import MemoryCluster, alone, three_nodes
from dispatcher.testing.function_service import MemoryFunctions
from dispatcher.testing.memory_admin import Lately as Lately
from dispatcher.testing.memory_admin import MemoryAdmin as MemoryAdmin
from dispatcher.testing.memory_audit import MemoryAudit
from dispatcher.testing.outlook import MemoryOutlook, Variant
from dispatcher.testing.replayer import MemoryReplayer
from dispatcher.testing.sessions import MemorySessions
from dispatcher.testing.shown import dead_call as dead_call
from dispatcher.testing.shown import letter as letter
from dispatcher.testing.shown import message as message
from dispatcher.testing.shown import message_id as message_id
from dispatcher.testing.shown import whole as whole

_EVENT_PAUSE_S = 0.2
_PLACES = ("billing", "mail", "stock")
_CAUSES: tuple[tuple[int | None, str | None, str], ...] = (
    (503, None, "retries_exhausted"),
    (404, None, "rejected"),
    (None, "timeout", "retries_exhausted"),
    (None, "egress_denied", "egress_denied"),
)


def invented(variant: Variant = Variant.BUSY) -> MemoryAdmin:
    """Some messages in every state and 250 dead letters, the same each time; or nothing."""
    admin = MemoryAdmin()
    if variant is Variant.EMPTY:
        return admin
    now_us = SystemClock().now_us()
    for number, name in enumerate(_PLACES):
        place = f"https://{name}.example"
        admin.courses[place] = Lately("http_503", now_us - 900_000_000, None, 31.4, 12.0, 81.5)
        if variant is Variant.BROKEN:
            word = ("http_503", "timeout", "connection_failed")[number]
            admin.courses[place] = Lately(
                word, now_us - 20_000_000, now_us - 5_700_000_000, 0.0, 9.0, 60_000.0
            )
            admin.backing_off[place] = now_us + 25_000_000
    if variant is Variant.BROKEN:
        admin.held.add("https://archive.example")
    random = Random(1)
    states = [one for one in MessageState if one is not MessageState.DEAD]
    for number in range(1, 101):
        admin.put(message(number, random.choice(states), random.choice(_PLACES)))
    for number in range(1_001, 1_251):
        status, error, reason = random.choice(_CAUSES)
        to = random.choice(_PLACES)
        admin.bury(letter(number, to=to, status=status, error=error, reason=reason))
    return admin


async def _invent_events(admin: MemoryAdmin) -> None:
    """Let messages come and be delivered or die, five a second, and keep the last hundred."""
    random = Random(2)
    for number in count(10_000):
        await asyncio.sleep(_EVENT_PAUSE_S)
        new = message(number, MessageState.READY, random.choice(_PLACES))
        admin.put(new)
        status = random.choice((200, 200, 200, 503))
        admin.emit(
            "attempted", new.id, new.destination,
            attempt=1, status=status, error=None, duration_ms=random.randrange(2, 90),
            next_attempt_at=None,
        )  # fmt: skip
        if status == 200:
            admin.put(replace(new, state=MessageState.DELIVERED, attempts=1))
        else:
            admin.bury(letter(number, to=new.destination.split("/")[-1].split(".")[0]))
        admin.messages.pop(message_id(number - 100), None)
        admin.dead.pop(message_id(number - 100), None)


async def _serve(port: int, variant: Variant) -> None:
    """Serve invented data on loopback until a signal."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    admin = invented(variant)
    functions = MemoryFunctions()
    if variant is not Variant.EMPTY:
        functions = await function_service.invented()

    async def metrics() -> str:
        return f"dispatcher_messages_accepted_total {admin.accepted_total}\n"

    server = ApiServer(
        "127.0.0.1",
        port,
        Keyring(),
        admin=admin,
        carrier=MemoryCarrier(),
        replayer=MemoryReplayer(),
        backups=MemoryBackups(),
        keeper=MemoryAudit(),
        health=Health,
        metrics=metrics,
        outlook=MemoryOutlook(variant),
        cluster=MemoryCluster(
            (three_nodes if variant is Variant.BROKEN else alone)(SystemClock().now_us())
        ),
        events=Events(
            open_log(lambda line: print(line, file=sys.stderr), level="info", format="json")
        ),
        functions=functions,
        schedules=functions.schedules,
        sessions=MemorySessions(is_endless=True),
    )
    await server.start()
    print("http://{}:{}".format(*server.bound[0]), flush=True)
    life = asyncio.create_task(_invent_events(admin)) if variant is Variant.BUSY else None
    await stopping.wait()
    if life is not None:
        life.cancel()
    await server.stop()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m dispatcher.testing.admin",
        description="Serve the API and the dashboard with invented data on loopback, until Ctrl-C.",
    )
    parser.add_argument("port", nargs="?", type=int, default=8081, help="0: any; default: 8081")
    parser.add_argument(
        "variant",
        nargs="?",
        default=Variant.BUSY.value,
        choices=[one.value for one in Variant],
        help="how the invented server is; default: busy",
    )
    return parser.parse_args()


if __name__ == "__main__":
    given = _arguments()
    asyncio.run(_serve(given.port, Variant(given.variant)))
