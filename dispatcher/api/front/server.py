"""The listener on `API_LISTEN` of a node whose API may be elsewhere."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from dispatcher.api.answers import finish_headers, response
from dispatcher.api.audit import Audit
from dispatcher.api.auth import key_guard, shown
from dispatcher.api.connections import Connections
from dispatcher.api.doors import Doors
from dispatcher.api.entrance import Entrance, Guard, Lines
from dispatcher.api.errors import ApiError, error_middleware
from dispatcher.api.expensive import Expensive
from dispatcher.api.front.exchange import Upstream
from dispatcher.api.front.passing import Passed, Passing
from dispatcher.api.guard import page_guard
from dispatcher.api.health import Health
from dispatcher.api.listening import Listening, expected_later
from dispatcher.api.process import PROBES, ProcessCalls
from dispatcher.api.reading import read
from dispatcher.api.routes import AnyRoute
from dispatcher.audit.entries import Entry, EntryFilter, EntryPage
from dispatcher.core.clock import SystemClock
from dispatcher.core.keys import Key, Keyring
from dispatcher.listening.tls import Secured
from dispatcher.listening.unix import UnixPlace
from dispatcher.queue.admin.pace import Pace
from dispatcher.telemetry.events import Events


class Front:
    """Answers what is asked of the node itself, and passes everything else on."""

    def __init__(
        self,
        host: str,
        port: int,
        keys: Keyring,
        *,
        upstream: Upstream,
        health: Callable[[], Health],
        metrics: Callable[[], Coroutine[Any, Any, str]],
        events: Events,
        max_connections: int,
        lines: Lines | None = None,
        tls: Secured | None = None,
        unix: UnixPlace | None = None,
        sockets: Sequence[socket.socket] = (),
    ) -> None:
        """It listens as `Doors` say. Open `keys`: everybody is let in. `health` and `metrics` are
        those of the node, and `upstream` is who has the API. In `lines` requests that are answered
        here wait for their turn; others do so there. `tls` secures connections; None: they are
        plain."""
        self._host = host
        self._keys = keys
        self.connections = Connections(max_connections, time.monotonic)
        self.audit = Audit(events, time.monotonic, keeper=_NoAudit(), now_us=SystemClock().now_us)
        self._expensive = Expensive(time.monotonic)
        self._guard = self._make_guard()
        self._passing = Passing(upstream, time.monotonic)
        routes = ProcessCalls(health, metrics, self._expensive).routes()
        self._own_paths = frozenset(route.path for route in routes)
        self._listening = Listening(
            self._application(routes, events, lines or Lines()),
            self.connections,
            keys,
            Doors(host, port, unix=unix, sockets=sockets),
            tls=tls,
            cancels_handlers=True,  # whoever goes away ends its request where the API is, too
        )

    @property
    def bound(self) -> list[tuple[str, int]]:
        """See `Listening.bound`."""
        return self._listening.bound

    async def start(self) -> None:
        """Listen. Returns when requests are answered.

        Raises:
            PortTaken, ConfigError: as `Listening.start`.
        """
        await self._listening.start()

    async def stop(self) -> None:
        """Stop listening and close every connection. Idempotent."""
        await self._listening.stop()
        await self._expensive.stop()
        self._passing.close()

    def replace_keys(self, keys: Iterable[Key]) -> None:
        """See `Listening.replace_keys`."""
        self._listening.replace_keys(keys)

    def _application(
        self, routes: Sequence[AnyRoute], events: Events, lines: Lines
    ) -> web.Application:
        entrance = Entrance(
            self._guard,
            self.connections.stays,
            open_paths={route.path for route in routes if route.is_open},
            probes=PROBES,
            is_an_applications=lambda _: False,
            lines=lines,
            now=time.monotonic,
        )
        application = web.Application(
            middlewares=[
                self.connections.middleware(),
                error_middleware(events),
                self._dividing(entrance.middleware()),
            ],
        )
        for route in routes:
            for method in ("GET", "HEAD"):
                handler = _handler(route)
                application.router.add_route(
                    method, route.path, handler, expect_handler=expected_later
                )
        application.router.add_route("*", "/{_:.*}", _not_allowed, expect_handler=expected_later)
        application.on_response_prepare.append(_finish)
        return application

    def _make_guard(self) -> Guard:
        if self._keys.is_open:
            return page_guard(self._host, known=self.connections.know)
        return key_guard(
            self._keys, roles=lambda _: None, known=self.connections.know, audit=self.audit
        )

    def _dividing(self, enter: Middleware) -> Middleware:
        """Make the middleware that answers what is the node's own, and passes on what is not."""

        @web.middleware
        async def divide(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.path in self._own_paths:
                return await enter(request, handler)
            self._know(request)
            return await self._passing.pass_on(request)

        return divide

    def _know(self, request: web.Request) -> None:
        """See who it is that asks for what is elsewhere, where it is refused if it has to be: a
        connection with a right key may stay."""
        if self._keys.is_open:
            with suppress(ApiError):
                self._guard(request)
        elif (key := self._keys.find(shown(request))) is not None:
            self.connections.know(request, key)


def _handler(route: AnyRoute) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return response(await route.handler(await read(request, route)), route.status)

    return handle


async def _not_allowed(request: web.Request) -> web.StreamResponse:
    """What is not passed on is asked for in another way."""
    raise web.HTTPMethodNotAllowed(request.method, ("GET", "HEAD"))


async def _finish(request: web.Request, answer: web.StreamResponse) -> None:
    if isinstance(answer, Passed):
        answer.finish_headers()
    else:
        await finish_headers(request, answer)


class _NoAudit:
    """Keeps nothing (`Keeper`): the audit is where the API is. Refused keys are told in the log and
    counted here."""

    unkept: str | None = None

    def add(self, entry: Entry) -> None:
        """See `Keeper`."""

    async def written(self) -> None:
        """See `Keeper`."""

    async def page(
        self, which: EntryFilter, *, before: int | None, limit: int, pace: Pace
    ) -> EntryPage:
        """See `Keeper`."""
        return EntryPage([], None)
