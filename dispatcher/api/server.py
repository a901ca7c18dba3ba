"""The server on `API_LISTEN`: `/healthz`, `/readyz`, `/metrics`.

It knows nothing of the rest of the server: health and metrics are asked of two functions it is
given.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import Any

from aiohttp import web

from dispatcher.api.auth import key_middleware
from dispatcher.api.errors import ApiError, error_middleware, refuse_parameters
from dispatcher.api.health import Health
from dispatcher.errors import ConfigError, PortTaken
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.metrics import CONTENT_TYPE

KEEPALIVE_SECONDS = 75.0
STOP_SECONDS = 1.0

_OPEN_PATHS = frozenset({"/healthz", "/readyz"})


class ApiServer:
    """Answers operators. `health` and `metrics` are called for each request that asks for them."""

    def __init__(
        self,
        host: str,
        port: int,
        keys: tuple[bytes, ...],
        *,
        health: Callable[[], Health],
        metrics: Callable[[], str],
        events: Events,
    ) -> None:
        """`host` "" is every interface; `port` 0 any free one; no `keys`: everybody is let in."""
        self._host = host
        self._port = port
        self._health = health
        self._metrics = metrics
        # aiohttp logs every malformed request with a traceback: strangers could fill the log with
        # them, and nobody needs to act.
        silent = logging.Logger("dispatcher.api", logging.CRITICAL)
        self._runner = web.AppRunner(
            self._application(keys, events),
            access_log=None,
            logger=silent,
            keepalive_timeout=KEEPALIVE_SECONDS,
            shutdown_timeout=STOP_SECONDS,
        )

    @property
    def bound(self) -> list[tuple[str, int]]:
        """Addresses and ports it listens on; empty before `start` and after `stop`."""
        return [(str(address[0]), int(address[1])) for address in self._runner.addresses]

    async def start(self) -> None:
        """Listen. Returns when requests are answered.

        Raises:
            PortTaken: the port is in use, or the address may not be bound.
            ConfigError: the host has no address.
        """
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host or None, self._port)
        try:
            await site.start()
        except OSError as error:
            await self.stop()
            raise self._refused(error) from error

    async def stop(self) -> None:
        """Stop listening and close every connection. Idempotent."""
        await self._runner.cleanup()

    def _refused(self, error: OSError) -> ConfigError | PortTaken:
        where = f"API_LISTEN={self._host}:{self._port}"
        if isinstance(error, socket.gaierror):
            return ConfigError(f"{where}: the host has no address; expected one of this machine's")
        reason = error.strerror or error
        return PortTaken(
            f"{where}: cannot listen there: {reason}. Stop what uses the port, or "
            f"set API_LISTEN to another address."
        )

    def _application(self, keys: tuple[bytes, ...], events: Events) -> web.Application:
        application = web.Application(
            middlewares=[error_middleware(events), key_middleware(keys, open_paths=_OPEN_PATHS)]
        )
        application.router.add_get("/healthz", self._answer_healthz)
        application.router.add_get("/readyz", self._answer_readyz)
        application.router.add_get("/metrics", self._answer_metrics)
        application.on_response_prepare.append(_hide_versions)
        return application

    async def _answer_healthz(self, request: web.Request) -> web.Response:
        refuse_parameters(request)
        return web.json_response({"status": "alive"})

    async def _answer_readyz(self, request: web.Request) -> web.Response:
        refuse_parameters(request)
        health = self._health()
        if health.reason is not None:
            raise ApiError(503, health.reason, health.message)
        return web.json_response({"status": "ready"})

    async def _answer_metrics(self, request: web.Request) -> web.Response:
        refuse_parameters(request)
        return web.Response(
            body=self._metrics().encode("utf-8"), headers={"Content-Type": CONTENT_TYPE}
        )


async def _hide_versions(_: web.Request, response: Any) -> None:
    """aiohttp says its own and Python's version in every answer."""
    response.headers.pop("Server", None)
