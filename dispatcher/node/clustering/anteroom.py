"""Where operators find a node that is no member yet: it may have to wait for NATS.

The port of the API answers from the first second on, as that of one server does: the process lives,
is not ready, and says why. Nothing else can be asked for.
"""

from __future__ import annotations

import asyncio
from typing import NoReturn

from dispatcher.api.front.server import Front
from dispatcher.api.health import Health
from dispatcher.core.keys import Keyring
from dispatcher.errors import Refused
from dispatcher.node import certificates, configs
from dispatcher.node.descriptors import raise_limit, share
from dispatcher.queue.refusals import MOVED
from dispatcher.settings import Settings
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.metrics import process_text


class Anteroom:
    """Listens until `stop`; the server listens there then."""

    def __init__(self, settings: Settings, events: Events) -> None:
        """Raises ConfigError: its certificate cannot be used."""
        self._why = ""
        self._front = Front(
            *configs.host_and_port(settings.api_listen),
            Keyring(settings.api_keys),
            upstream=_Nobody(),
            health=self._health,
            metrics=_figures,
            events=events,
            max_connections=_operators(settings),
            tls=certificates.Certificates(settings, events).of(certificates.API),
            unix=configs.unix_place(settings, settings.api_listen),
        )

    def waits(self, reason: str) -> None:
        """NATS does not answer, for this reason."""
        self._why = f"{reason[:1].upper()}{reason[1:]}"

    async def start(self) -> None:
        """Listen.

        Raises:
            PortTaken, ConfigError: as `Front.start`.
        """
        await self._front.start()

    async def stop(self) -> None:
        """Listen no more. Idempotent."""
        await self._front.stop()

    def _health(self) -> Health:
        return Health("log_late", self._why) if self._why else Health("starting")


class _Nobody:
    """Implements `front.exchange.Upstream`: who has the API is not known yet."""

    async def connect(self) -> NoReturn:
        """See `Upstream`."""
        raise Refused(MOVED)


def _operators(settings: Settings) -> int:
    """How many connections they may have."""
    limit = raise_limit()
    return share(limit, settings.worker, settings.worker_slow, settings.call_worker).operators


async def _figures() -> str:
    """Those of the process; there are no others yet."""
    return await asyncio.to_thread(process_text)
