"""Requests over the standard library's http.client, for programs without an event loop.

Connections are kept open and lent to one thread at a time. A process that was forked takes none of
its parent's.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections import deque
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Final

from dispatcher.sdk.client.exchange import Lost, Reply, Request
from dispatcher.sdk.client.losing import lost
from dispatcher.sdk.client.server import Server

_MOST_IDLE: Final = 32
_IDLE_S: Final = 30.0
"""The server closes a connection that was idle for 75 s."""


class Connections:
    """The connections of one client. Any thread may use it."""

    def __init__(self, server: Server, headers: dict[str, str]) -> None:
        """`headers` go with every request."""
        self._server = server
        self._headers = headers
        self._idle: deque[tuple[HTTPConnection, float]] = deque()
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._context: ssl.SSLContext | None = None

    def exchange(self, request: Request, within_s: float) -> Reply | Lost:
        """Send a request once. What may be done once only goes over a new connection: one that was
        idle may be closed at the moment when it is used."""
        ends_s = time.monotonic() + within_s
        connection = self._take() if request.is_repeatable else None
        if connection is None:
            connection = self._new(within_s)
            try:
                connection.connect()
            except OSError as error:
                connection.close()
                return lost(error, was_sent=False)
        try:
            reply = self._exchange(connection, request, ends_s)
        except (OSError, HTTPException) as error:
            connection.close()
            self.close()  # a server that has gone took the others with it
            return lost(error, was_sent=True)
        except BaseException:
            connection.close()
            raise
        self._give_back(connection)
        return reply

    def close(self) -> None:
        """End connections that are idle. Idempotent; the client may be used again."""
        with self._lock:
            idle, self._idle = self._idle, deque()
        for connection, _ in idle:
            connection.close()

    def _exchange(self, connection: HTTPConnection, request: Request, ends_s: float) -> Reply:
        _give(connection, ends_s)
        headers = {**self._headers, **request.headers}
        body = request.body if request.method == "POST" else None
        target = self._server.prefix + request.target
        connection.request(request.method, target, body=body, headers=headers)
        _give(connection, ends_s)
        with connection.getresponse() as response:
            _give(connection, ends_s)
            found = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, found, response.read())

    def _new(self, within_s: float) -> HTTPConnection:
        host, port = self._server.host, self._server.port
        if self._server.scheme == "http":
            return HTTPConnection(host, port, timeout=within_s)
        if self._context is None:
            self._context = ssl.create_default_context()
        return HTTPSConnection(host, port, timeout=within_s, context=self._context)

    def _take(self) -> HTTPConnection | None:
        with self._lock:
            if self._process != os.getpid():  # forked: the parent still has those it had
                self._process = os.getpid()
                while self._idle:
                    self._idle.pop()[0].close()
            while self._idle:
                connection, until_s = self._idle.pop()
                if connection.sock is not None and time.monotonic() < until_s:
                    return connection
                connection.close()
        return None

    def _give_back(self, connection: HTTPConnection) -> None:
        if connection.sock is None:  # the server closes it
            return
        with self._lock:
            self._idle.append((connection, time.monotonic() + _IDLE_S))
            spare = self._idle.popleft()[0] if len(self._idle) > _MOST_IDLE else None
        if spare is not None:
            spare.close()


def _give(connection: HTTPConnection, ends_s: float) -> None:
    """Let what comes next on this connection take until then."""
    left_s = ends_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    if connection.sock is not None:  # None: the answer is the last one, and has the socket
        connection.sock.settimeout(left_s)
