"""What every request passes first: whether it may come in, and then its turn.

Even the smallest answer, a refusal too, takes the loop as long as some messages do. So at most
`CALLS_PER_SECOND` are answered, after a burst; others wait. Strangers, who show no key or ask for
what needs none, have turns of their own, and so have probes: neither wait for others, nor do
operators.

A connection waits for one turn at a time, and whoever hangs up gives it back. So there are at most
as many waiting as there are connections, and none of them waits for longer than they take.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from dispatcher.api.errors import ApiError
from dispatcher.api.staying import Stays
from dispatcher.api.turns import Turns

CALLS_PER_SECOND: Final = 250
CALLS_BURST: Final = 500

Guard: TypeAlias = Callable[[web.Request], None]
"""Returns where a request may come in.

Raises:
    ApiError: it may not.
"""


def _turns() -> Turns:
    return Turns(CALLS_PER_SECOND, CALLS_BURST)


@dataclass(frozen=True, slots=True)
class Lines:
    """Those who wait, apart from each other."""

    operators: Turns = field(default_factory=_turns)
    strangers: Turns = field(default_factory=_turns)
    probes: Turns = field(default_factory=_turns)


class Entrance:
    """The entrance of one server.

    `stays` waits for so many seconds and says whether the request's connection is still there: at
    once when it goes. `now` is a monotonic clock, in seconds. Everybody may ask for `open_paths`;
    `probes` are those among them with turns of their own. What `is_an_applications` waits for no
    turn where it may come in: it is work like messages, which wait for none either.
    """

    def __init__(
        self,
        guard: Guard,
        stays: Stays,
        *,
        open_paths: Collection[str],
        probes: Collection[str],
        is_an_applications: Callable[[web.Request], bool],
        lines: Lines,
        now: Callable[[], float],
    ) -> None:
        self._guard = guard
        self._stays = stays
        self._open_paths = open_paths
        self._probes = probes
        self._is_an_applications = is_an_applications
        self._lines = lines
        self._now = now

    def middleware(self) -> Middleware:
        """Make the middleware that refuses, or lets in one after the other."""

        @web.middleware
        async def enter(request: web.Request, handler: Handler) -> web.StreamResponse:
            refusal = self._refusal(request)
            line = self._line(request, refusal)
            if line is not None and not await self._gets_its_turn(request, line):
                return web.Response()  # nobody is there to read it
            if refusal is not None:
                raise refusal
            return await handler(request)

        return enter

    def _refusal(self, request: web.Request) -> ApiError | None:
        if request.path not in self._open_paths:
            try:
                self._guard(request)
            except ApiError as refusal:
                return refusal
        return None

    def _line(self, request: web.Request, refusal: ApiError | None) -> Turns | None:
        if request.path in self._probes:
            return self._lines.probes
        if refusal is None and self._is_an_applications(request):
            return None
        is_stranger = refusal is not None or request.path in self._open_paths
        return self._lines.strangers if is_stranger else self._lines.operators

    async def _gets_its_turn(self, request: web.Request, line: Turns) -> bool:
        wait_s = line.wait(self._now())
        if not wait_s:
            return True
        try:
            has_turn = await self._stays(request, wait_s)
        except BaseException:
            line.give_back()
            raise
        if not has_turn:
            line.give_back()
        return has_turn
