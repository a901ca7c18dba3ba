"""Fetches the runs of a session of the bridge, passes each to the application at once, and sends
back what that answers (docs/api.md, Sessions).

Nothing is fetched before the application listens, so a run waits for it without an attempt. What
is fetched and not answered, as the application is gone or the run is over, is given back.
"""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
from contextlib import suppress
from typing import Final

from dispatcher.cli.address import Server
from dispatcher.cli.local import passing
from dispatcher.cli.local.happenings import Happenings, ServerSaid
from dispatcher.cli.local.serialized import Response, ask, read_request
from dispatcher.protocol.messages import RunRequest

_WAIT_S: Final = 30
_RUN_S: Final = 30.0
_PAUSE_S: Final = 1.0
_LOOK_S: Final = 0.1
_END_S: Final = 2.0
_ID: Final = "X-Request-Id"
_ATTEMPT: Final = "x-dispatcher-attempt"


class BridgeClient:
    """A client of one session. It puts what happens to calls into the queue."""

    def __init__(
        self, server: Server, key: str | None, session: str, endpoint: str, happenings: Happenings
    ) -> None:
        self.url = f"bridge://{session}"
        self._server = server
        self._path = f"{server.base}/sessions/{session}"
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._endpoint = endpoint
        self._happenings = happenings
        self._is_over = threading.Event()
        self._passing: set[threading.Thread] = set()
        self._has_trouble = False

    def start(self) -> None:
        """Fetch from now on. Returns at once."""
        threading.Thread(target=self._fetch_all, daemon=True).start()

    def stop(self) -> None:
        """Fetch nothing more, and give back what the application has not answered. Idempotent."""
        self._is_over.set()
        deadline = time.monotonic() + _END_S
        for thread in list(self._passing):
            thread.join(max(deadline - time.monotonic(), 0.0))

    def _fetch_all(self) -> None:
        while not self._is_over.is_set():
            if not self._listens():
                self._is_over.wait(_LOOK_S)
                continue
            try:
                self._fetch()
            except (OSError, http.client.HTTPException) as error:
                self._tell_trouble(str(error) or type(error).__name__)

    def _listens(self) -> bool:
        host, _, port = self._endpoint.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), _PAUSE_S).close()
        except OSError:
            return False
        return True

    def _fetch(self) -> None:
        status, found, data = self._call("GET", {"Request-Timeout": str(_WAIT_S)})
        if status == 504:
            self._has_trouble = False
        elif status == 200 and found is not None:
            self._has_trouble = False
            thread = threading.Thread(target=self._pass_on, args=(found, data), daemon=True)
            self._passing.add(thread)
            thread.start()
        else:
            self._tell_trouble(f"HTTP {status}")

    def _tell_trouble(self, what: str) -> None:
        if not self._has_trouble and not self._is_over.is_set():
            self._happenings.put(ServerSaid(f"{self._server}: {what}; it is tried again."))
        self._has_trouble = True
        self._is_over.wait(_PAUSE_S)

    def _pass_on(self, request_id: str, data: bytes) -> None:
        try:
            came = self._run(data)
            with suppress(OSError, http.client.HTTPException):  # then the server asks again
                if came is None:
                    self._call("DELETE", {_ID: request_id})
                else:
                    self._call("POST", {_ID: request_id}, came.bytes())
        finally:
            self._passing.discard(threading.current_thread())

    def _run(self, data: bytes) -> Response | None:
        """Pass a run on, and tell of it. None: the application did not answer."""
        try:
            request = read_request(data)
        except ValueError:
            return None
        run = RunRequest.FromString(request.body)
        for moved in passing.asked(run, self.url, time.time_ns() // 1000):
            self._happenings.put(moved)
        began_s = time.monotonic()
        try:
            came: Response | str = ask(self._endpoint, request, timeout_s=_RUN_S)
        except (OSError, http.client.HTTPException) as error:
            came = getattr(error, "strerror", None) or str(error) or type(error).__name__
        attempts = [value for name, value in request.headers if name.lower() == _ATTEMPT]
        moves = passing.answered(
            run,
            self.url,
            came,
            time.time_ns() // 1000,
            attempt=int(attempts[0]) if attempts and re.fullmatch(r"\d+", attempts[0]) else 1,
            duration_ms=round((time.monotonic() - began_s) * 1000),
        )
        for moved in moves:
            self._happenings.put(moved)
        return None if isinstance(came, str) else came

    def _call(
        self, method: str, headers: dict[str, str], body: bytes | None = None
    ) -> tuple[int, str | None, bytes]:
        """Returns status, the id of the request, and the body."""
        connection = self._server.connect()
        try:
            connection.request(method, self._path, body, {**self._headers, **headers})
            answer = connection.getresponse()
            return answer.status, answer.getheader(_ID), answer.read()
        finally:
            connection.close()
