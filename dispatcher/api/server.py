"""The server on `API_LISTEN`: one table of routes, over aiohttp.

A request passes the error boundary, then the entrance with the keys or, where there are none, the
guard against web pages, then the models of its route, and only then a handler. Nothing here knows
the rest of the server: the queue is asked through `Admin`, health and metrics through two
functions.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

import dispatcher
from dispatcher.api import openapi
from dispatcher.api.answers import finish_headers, response
from dispatcher.api.audit import Audit, Keeper
from dispatcher.api.audit_calls import AuditCalls
from dispatcher.api.auth import key_guard
from dispatcher.api.backups import BackupCalls, Backups
from dispatcher.api.beginning import beginning_middleware
from dispatcher.api.building import build, models_of
from dispatcher.api.calls import FunctionCalls
from dispatcher.api.carrying import CarryCalls
from dispatcher.api.cluster import Cluster
from dispatcher.api.cluster_calls import ClusterCalls
from dispatcher.api.connect import is_rpc, one_slash
from dispatcher.api.connections import Connections
from dispatcher.api.destinations import DestinationCalls
from dispatcher.api.dispatching import DispatchCalls
from dispatcher.api.doors import Doors
from dispatcher.api.editing import Edits
from dispatcher.api.entrance import Entrance, Lines
from dispatcher.api.errors import error_middleware
from dispatcher.api.expensive import Expensive
from dispatcher.api.front.callers import caller_middleware
from dispatcher.api.guard import page_guard
from dispatcher.api.health import Health
from dispatcher.api.jobs.calls import JobCalls
from dispatcher.api.jobs.running import Jobs
from dispatcher.api.json_line import LINE_END
from dispatcher.api.letters import LetterCalls
from dispatcher.api.listening import STOP_SECONDS, Listening, expected_later
from dispatcher.api.masking import Headers, Masking
from dispatcher.api.messages import MessageCalls
from dispatcher.api.models import Nothing
from dispatcher.api.moving import MovingCalls
from dispatcher.api.outlook import Outlook
from dispatcher.api.outside import OutsideCalls
from dispatcher.api.overseeing import OutlookCalls
from dispatcher.api.pages import Pages
from dispatcher.api.process import PROBES, ProcessCalls
from dispatcher.api.reading import read
from dispatcher.api.replaying import ReplayCalls
from dispatcher.api.room import BodyRoom
from dispatcher.api.routes import JSON, SAFE_METHODS, AnyRoute, Asked, Route
from dispatcher.api.schedules import ScheduleCalls
from dispatcher.api.sessions import SessionCalls
from dispatcher.api.still_here import still_here_middleware
from dispatcher.api.stream import MAX_READERS, EventStream
from dispatcher.core.clock import SystemClock
from dispatcher.core.keys import Key, Keyring, Role
from dispatcher.functions.bridge.sessions import Sessions
from dispatcher.functions.surface import Functions
from dispatcher.listening.tls import Secured
from dispatcher.listening.unix import UnixPlace
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.surface import Admin, Carrier, Replayer
from dispatcher.schedules.surface import Schedules
from dispatcher.telemetry.events import Events

DEFAULT_CONNECTIONS = 256


class ApiServer:
    """Answers operators. `health` and `metrics` are called for each request that asks for them."""

    def __init__(
        self,
        host: str,
        port: int,
        keys: Keyring,
        *,
        admin: Admin,
        carrier: Carrier,
        replayer: Replayer,
        backups: Backups,
        keeper: Keeper,
        health: Callable[[], Health],
        metrics: Callable[[], Coroutine[Any, Any, str]],
        outlook: Outlook,
        cluster: Cluster,
        events: Events,
        max_connections: int = DEFAULT_CONNECTIONS,
        max_body: int = 64 * 1024 * 1024,
        lines: Lines | None = None,
        functions: Functions | None = None,
        sessions: Sessions | None = None,
        schedules: Schedules | None = None,
        masking: Masking | None = None,
        tls: Secured | None = None,
        unix: UnixPlace | None = None,
        sockets: Sequence[socket.socket] = (),
        pace: Pace | None = None,
        is_fronted: bool = False,
        is_here: Callable[[], bool] = lambda: True,
    ) -> None:
        """It listens as `Doors` say. Open `keys`: everybody is let in.
        `tls` secures connections; None: they are plain. `pace` is that of all who work in slices;
        None: it has one of its own. `is_fronted`: all requests come through a `front`, which says
        whose they are. `is_here` says whether nobody else can have what it speaks for.
        Imported and edited bodies have at most `max_body` bytes. In `lines` requests wait for
        their turn.
        Without `functions` there are no calls about them, without `sessions` none to fetch what
        they are asked, and without `schedules` none about these. `masking` says which headers are
        secret."""
        self._host = host
        self._keys = keys
        self._needs_key = not keys.is_open
        self._is_fronted = is_fronted
        self._is_here = is_here
        self._described: asyncio.Future[str] | None = None
        self._building: asyncio.Future[None] | None = None
        self._health = health
        self.connections = Connections(max_connections, time.monotonic)
        # Half of the connections at most: the others are for who wants to do something.
        self._stream = EventStream(admin, most=max(1, min(MAX_READERS, max_connections // 2)))
        self.pace = pace or Pace()
        self.audit = Audit(events, time.monotonic, keeper=keeper, now_us=SystemClock().now_us)
        self._keeper = keeper
        self._headers = Headers(masking or Masking.of(), self.audit)
        self.jobs = Jobs(self.audit, events, now_us=SystemClock().now_us)
        self._pages = Pages()
        self._expensive = Expensive(time.monotonic)
        self._edits = Edits(self._headers.masking, max_body=max_body)
        carry = CarryCalls(carrier, admin, self.jobs, events, self.pace, max_body=max_body)
        process = ProcessCalls(health, metrics, self._expensive)
        self._routes = [
            *self._table(admin, process, carry, functions),
            *OutlookCalls(outlook, self._expensive).routes(),
            *ClusterCalls(cluster, self._expensive).routes(),
            *BackupCalls(backups, self.audit, self.jobs).routes(),
            *ReplayCalls(replayer, self.jobs).routes(),
        ]
        room = BodyRoom()
        if functions is not None:
            self._routes += self._of_functions(functions, room)
        if schedules is not None:
            self._routes += ScheduleCalls(schedules, self.audit, self._headers).routes()
        self._sessions: SessionCalls | None = None
        if sessions is not None:
            self._sessions = SessionCalls(
                sessions, room, self.connections.stays, most=max(1, max_connections // 2)
            )
            self._routes += self._sessions.routes()
        self._by_call = {(route.method, route.path): route for route in self._routes}
        self._listening = Listening(
            self._application(events, lines or Lines()),
            self.connections,
            keys,
            Doors(host, port, unix=unix, sockets=sockets),
            tls=tls,
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
        await self._pages.read()
        await self._listening.start()
        self._building = asyncio.ensure_future(build(models_of(self._routes), self.pace))

    async def stop(self) -> None:
        """Stop listening and close every connection. Idempotent."""
        if self._building is not None:
            self._building.cancel()
            await asyncio.wait([self._building])
        self._listening.close()
        await self.jobs.stop(STOP_SECONDS)  # whoever waits for one hears how it ended
        await self._listening.stop()
        await self._expensive.stop()

    def replace_keys(self, keys: Iterable[Key]) -> None:
        """See `Listening.replace_keys`."""
        self._listening.replace_keys(keys)

    def _table(
        self,
        admin: Admin,
        process: ProcessCalls,
        carry: CarryCalls,
        functions: Functions | None,
    ) -> Sequence[AnyRoute]:
        pace = self.pace
        return [
            *process.routes(),
            Route(
                "GET", "/openapi.json", self._describe, "showApi", "This API",
                Nothing, Nothing, Nothing,
            ),
            *DestinationCalls(
                admin, self._expensive, pace, self.audit, self.jobs, functions
            ).routes(),
            *MessageCalls(
                admin, self._expensive, pace, self.audit, self.jobs, self._headers
            ).routes(),
            *MovingCalls(admin, self._expensive, pace, self.audit, self.jobs).routes(),
            *self._of_letters(admin),
            *JobCalls(self.jobs, self.audit).routes(),
            *AuditCalls(self._keeper, pace).routes(),
            *carry.routes(),
            *self._stream.routes(),
        ]  # fmt: skip

    def _of_letters(self, admin: Admin) -> Sequence[AnyRoute]:
        return LetterCalls(
            admin,
            self._expensive,
            self.pace,
            self.audit,
            self.jobs,
            self._headers,
            self._edits,
        ).routes()

    def _of_functions(self, functions: Functions, room: BodyRoom) -> Sequence[AnyRoute]:
        stays = self.connections.stays
        return [
            *DispatchCalls(functions, room, self.audit, stays=stays).routes(),
            *FunctionCalls(functions, self._expensive, self.pace, self.audit, stays=stays).routes(),
            *OutsideCalls(functions, room).routes(),
        ]

    def _route_of(self, request: web.Request) -> AnyRoute | None:
        """The row that a request is about; None: it is about nothing."""
        resource = request.match_info.route.resource
        method = "GET" if request.method == "HEAD" else request.method
        if resource is None:
            return None
        return self._by_call.get((method, one_slash(resource.canonical)))

    def _roles(self, request: web.Request) -> frozenset[Role] | None:
        route = self._route_of(request)
        if route is not None:
            return route.roles
        # An application is told that there is no such procedure, not that its key is too weak.
        return frozenset(Role) if is_rpc(request.path) else None

    def _is_an_applications(self, request: web.Request) -> bool:
        route = self._route_of(request)
        return route is not None and route.is_an_applications

    def _application(self, events: Events, lines: Lines) -> web.Application:
        pages = self._pages
        open_paths = pages.paths | {route.path for route in self._routes if route.is_open}
        guard = (
            key_guard(self._keys, roles=self._roles, known=self.connections.know, audit=self.audit)
            if self._needs_key
            else page_guard(self._host, known=self.connections.know)
        )
        entrance = Entrance(
            guard,
            self.connections.stays,
            open_paths=open_paths,
            probes=PROBES,
            is_an_applications=self._is_an_applications,
            lines=lines,
            now=time.monotonic,
        )
        application = web.Application(
            middlewares=[
                *([caller_middleware] if self._is_fronted else []),
                self.connections.middleware(),
                error_middleware(events),
                entrance.middleware(),
                beginning_middleware(self._health, open_paths=open_paths),
                still_here_middleware(self._is_here),
            ],
        )
        for route in self._routes:
            path = _pattern(route.path, self._routes)
            handler = self._handler(route)
            methods = ("GET", "HEAD") if route.method == "GET" else (route.method,)
            for method in methods:
                application.router.add_route(method, path, handler, expect_handler=expected_later)
                if route.is_rpc:  # clients put it behind an address that may end with a slash
                    twice = f"/{path}"
                    application.router.add_route(
                        method, twice, handler, expect_handler=expected_later
                    )
        pages.add_to(application.router)
        application.on_response_prepare.append(finish_headers)
        application.on_shutdown.append(self._let_readers_go)
        return application

    def _handler(self, route: AnyRoute) -> Handler:
        """What aiohttp calls for a route."""
        is_a_change = route.method not in SAFE_METHODS and not route.is_an_applications

        async def handle(request: web.Request) -> web.StreamResponse:
            asked = await read(request, route)
            try:
                answer = await route.handler(asked)
            finally:
                if is_a_change:
                    self._expensive.forget()
            if is_a_change:
                await self.audit.written()
            return response(answer, route.status)

        return handle

    def description(self) -> dict[str, Any]:
        """The document of /openapi.json."""
        return openapi.document(
            self._routes, version=dispatcher.__version__, needs_key=self._needs_key
        )

    async def _describe(self, _: Asked[Nothing, Nothing, Nothing]) -> web.Response:
        if self._described is None:  # a tenth of a start's time, and asked for rarely
            made = asyncio.to_thread(lambda: json.dumps(self.description()) + LINE_END)
            self._described = asyncio.ensure_future(made)
        text = await asyncio.shield(self._described)
        return web.Response(text=text, content_type=JSON)

    async def _let_readers_go(self, _: web.Application) -> None:
        self._stream.close()
        if self._sessions is not None:
            self._sessions.close()


def _pattern(path: str, routes: Sequence[AnyRoute]) -> str:
    """A path for aiohttp. `{name}` at its end is not what another route has there as a word: else a
    wrong method for `/v1/dead-letters/purge` would be about a letter with the id `purge`."""
    front, _, last = path.rpartition("/")
    if not last.startswith("{"):
        return path
    words = {route.path.removeprefix(f"{front}/") for route in routes} - {last}
    fixed = "|".join(sorted(word for word in words if word.isalpha()))
    return f"{front}/{{{last[1:-1]}:(?!(?:{fixed})$)[^{{}}/]+}}" if fixed else path
