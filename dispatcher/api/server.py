"""The server on `API_LISTEN`: one table of routes, over aiohttp.

A request passes the error boundary, then the keys or, where there are none, the guard against web
pages, then the models of its route, and only then a handler. Nothing here knows the rest of the
server: the queue is asked through `Admin`, health and metrics through two functions.
"""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

import dispatcher
from dispatcher.api import openapi
from dispatcher.api.answers import response
from dispatcher.api.auth import key_middleware
from dispatcher.api.destinations import DestinationCalls
from dispatcher.api.errors import error_middleware
from dispatcher.api.guard import page_middleware
from dispatcher.api.health import Health
from dispatcher.api.letters import LetterCalls
from dispatcher.api.messages import MessageCalls
from dispatcher.api.models import Nothing
from dispatcher.api.pages import Pages
from dispatcher.api.process import ProcessCalls
from dispatcher.api.reading import MAX_BODY_BYTES, read
from dispatcher.api.routes import JSON, AnyRoute, Asked, Route
from dispatcher.api.stream import EventStream
from dispatcher.errors import ConfigError, PortTaken
from dispatcher.queue.admin import Admin
from dispatcher.telemetry.events import Events

KEEPALIVE_SECONDS = 75.0
STOP_SECONDS = 0.5
"""How long calls under way have to end when the server stops, and once more until they are cut."""


class ApiServer:
    """Answers operators. `health` and `metrics` are called for each request that asks for them."""

    def __init__(
        self,
        host: str,
        port: int,
        keys: tuple[bytes, ...],
        *,
        admin: Admin,
        health: Callable[[], Health],
        metrics: Callable[[], str],
        events: Events,
    ) -> None:
        """`host` "" is every interface; `port` 0 any free one; no `keys`: everybody is let in."""
        self._host = host
        self._port = port
        self._needs_key = bool(keys)
        self._described = ""
        self._stream = EventStream(admin)
        self._routes = self._table(admin, ProcessCalls(health, metrics))
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
        self._described = json.dumps(self.description())  # takes a while: never for a request
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

    def _table(self, admin: Admin, process: ProcessCalls) -> Sequence[AnyRoute]:
        return [
            *process.routes(),
            Route(
                "GET", "/openapi.json", self._describe, "showApi", "This API",
                Nothing, Nothing, Nothing,
            ),
            *DestinationCalls(admin).routes(),
            *MessageCalls(admin).routes(),
            *LetterCalls(admin).routes(),
            *self._stream.routes(),
        ]  # fmt: skip

    def _application(self, keys: tuple[bytes, ...], events: Events) -> web.Application:
        pages = Pages()
        open_paths = pages.paths | {route.path for route in self._routes if route.is_open}
        guard = (
            key_middleware(keys, open_paths=open_paths)
            if keys
            else page_middleware(self._host, open_paths=open_paths)
        )
        application = web.Application(
            middlewares=[error_middleware(events), guard], client_max_size=MAX_BODY_BYTES
        )
        for route in self._routes:
            path = _pattern(route.path, self._routes)
            application.router.add_route(route.method, path, _handler(route))
            if route.method == "GET":
                application.router.add_route("HEAD", path, _handler(route))
        pages.add_to(application.router)
        application.on_response_prepare.append(_finish_headers)
        application.on_shutdown.append(self._let_readers_go)
        return application

    def description(self) -> dict[str, Any]:
        """The document of /openapi.json."""
        return openapi.document(
            self._routes, version=dispatcher.__version__, needs_key=self._needs_key
        )

    async def _describe(self, _: Asked[Nothing, Nothing, Nothing]) -> web.Response:
        return web.Response(text=self._described, content_type=JSON)

    async def _let_readers_go(self, _: web.Application) -> None:
        self._stream.close()


def _pattern(path: str, routes: Sequence[AnyRoute]) -> str:
    """A path for aiohttp. `{name}` at its end is not what another route has there as a word: else a
    wrong method for `/v1/dead-letters/purge` would be about a letter with the id `purge`."""
    front, _, last = path.rpartition("/")
    if not last.startswith("{"):
        return path
    words = {route.path.removeprefix(f"{front}/") for route in routes} - {last}
    fixed = "|".join(sorted(word for word in words if word.isalpha()))
    return f"{front}/{{{last[1:-1]}:(?!(?:{fixed})$)[^{{}}/]+}}" if fixed else path


def _handler(route: AnyRoute) -> Handler:
    """What aiohttp calls for a route."""

    async def handle(request: web.Request) -> web.StreamResponse:
        asked = await read(request, route)
        return response(await route.handler(asked), route.status)

    return handle


async def _finish_headers(request: web.Request, answer: Any) -> None:
    """What every answer has, errors included."""
    answer.headers.pop("Server", None)  # aiohttp says its own and Python's version
    answer.headers["X-Content-Type-Options"] = "nosniff"
    if request.path.startswith("/v1/"):
        answer.headers["Cache-Control"] = "no-store"
