"""Connections of a listener of the API, from the socket to aiohttp's end of them."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, cast

from aiohttp import web, web_app

from dispatcher.api.connections import Connection, Connections
from dispatcher.api.malformed import Speaker
from dispatcher.listening.tls import Secured

KEEPALIVE_SECONDS: Final = 75.0


class Accepting:
    """Makes the protocol of each connection."""

    def __init__(
        self, runner: web.AppRunner, connections: Connections, tls: Secured | None
    ) -> None:
        """`runner` is set up before anybody can come."""
        self._runner = runner
        self._connections = connections
        self._tls = tls
        # aiohttp logs every malformed request with a traceback: strangers could fill the log with
        # them, and nobody needs to act.
        self._silent = logging.Logger("dispatcher.api", logging.CRITICAL)

    def connect(self) -> asyncio.BaseProtocol:
        """The protocol of one more connection."""
        assert self._runner.server is not None, "it is set up before anybody can come"
        speaker = Speaker(
            self._runner.server,
            loop=asyncio.get_running_loop(),
            access_log=cast(logging.Logger, None),  # which is aiohttp's word for none
            logger=self._silent,
            keepalive_timeout=KEEPALIVE_SECONDS,
            auto_decompress=False,  # see `unpacking`
        )
        plain = Connection(speaker, self._connections)
        return plain if self._tls is None else self._tls.secure(plain)


def forget_handlers() -> None:
    """aiohttp keeps the handlers of all applications of the process that were asked lately, each
    with what it is over: a server that has stopped would stay in memory. It makes them again."""
    kept = getattr(web_app, "_cached_build_middleware", None)
    if kept is not None:  # not in every version
        kept.cache_clear()
