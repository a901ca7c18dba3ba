"""The server of a session: started on loopback, listened to, stopped.

Its environment is made here. Settings of the caller's shell are for another server; only those of
function calls (`CALL_…`, `RESULT_…`) hold for this one too.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from dispatcher.cli.local.happenings import Happenings, ServerEnded, ServerReady, ServerSaid
from dispatcher.cli.local.ports import HOST
from dispatcher.cli.local.session import Session

NAME: Final = "local"
"""The name of the session's key, to which its promises and channels belong."""
_ROOT: Final = Path(__file__).parents[3]
_PASSED_ON: Final = (
    "HOME", "LANG", "LC_", "LD_", "PATH", "PYTHON", "TMPDIR", "TZ",
    "CALL_", "RESULT_",
)  # fmt: skip
_TOLD: Final = ("warning", "error", "critical")
_UNTOLD: Final = ("call.dead_lettered",)
"""What is to be seen in the tree already."""
_STOP_S: Final = 10.0
_RETRY_MAX_DELAY: Final = "5s"
"""Somebody sits before it, and has mended what failed."""


def environment(session: Session, given: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the server, made of what is `given` in ours."""
    directory, facts = session.directory, session.facts
    passed_on = {name: value for name, value in given.items() if name.startswith(_PASSED_ON)}
    return {"CALL_RETRY_MAX_DELAY": _RETRY_MAX_DELAY, **passed_on} | {
        "TRANSACTION_LOG": str(directory / "transaction.log"),
        "DEAD_LETTER": str(directory / "deadletter.log"),
        "SIGNING_KEY": str(signing_key_of(session)),
        "LISTEN": f"{HOST}:0",
        "LISTEN_KEYS": f"{NAME}:admin:{facts.key}",
        "API_LISTEN": f"{HOST}:{facts.api_port}",
        "API_KEYS": f"{NAME}:admin:{facts.key}",
        "DRAIN_TIMEOUT": "1s",
        "LOG_LEVEL": "info",
        "LOG_FORMAT": "json",
    }


def signing_key_of(session: Session) -> Path:
    """The file of the key that signs the session's runs."""
    return session.directory / "signing.pem"


class SessionServer:
    """A server that was started. It puts into the queue when it is ready, what it has to say, and
    its end. To be made by the thread that lives as long as the process: it dies with that."""

    def __init__(self, session: Session, happenings: Happenings) -> None:
        self._happenings = happenings
        begin = (
            f"import sys; sys.path.append({str(_ROOT)!r}); "
            f"from dispatcher.cli.embedded import serve; serve({os.getpid()})"
        )
        self._process = subprocess.Popen(
            # -P: what lies in the directory of the application is none of the server's modules.
            [sys.executable, "-P", "-c", begin],
            env=environment(session, os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        )
        self.group = self._process.pid
        self._readers = [
            threading.Thread(target=self._read, args=(pipe, tell), daemon=True)
            for pipe, tell in (
                (self._process.stdout, self._tell_event),
                (self._process.stderr, self._tell_text),
            )
        ]
        for thread in (*self._readers, threading.Thread(target=self._tell_end, daemon=True)):
            thread.start()

    def stop(self, *, at_once: bool) -> None:
        """End it, and wait for that. Nothing that it has answered is lost. Idempotent."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL if at_once else signal.SIGTERM)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self, pipe: IO[bytes], tell: Callable[[str], None]) -> None:
        with pipe:
            for line in pipe:
                tell(line.decode("utf-8", "replace").rstrip())

    def _tell_event(self, line: str) -> None:
        try:
            event = json.loads(line)
        except ValueError:
            self._tell_text(line)
            return
        if event.get("event") == "server.ready":
            self._happenings.put(ServerReady(event["api_listen"]))
        elif event.get("level") in _TOLD and event.get("event") not in _UNTOLD:
            self._happenings.put(ServerSaid(_in_words(event)))

    def _tell_text(self, line: str) -> None:
        if line:
            self._happenings.put(ServerSaid(line.removeprefix("dispatcher: ")))

    def _tell_end(self) -> None:
        for reader in self._readers:
            reader.join()
        self._happenings.put(ServerEnded(self._process.wait()))


def _in_words(event: dict[str, object]) -> str:
    fields = " ".join(
        f"{name}={value}"
        for name, value in event.items()
        if name not in ("timestamp", "level", "event")
    )
    return f"{event.get('level')}: {event.get('event')} {fields}".rstrip()
