"""What is said when an application begins to answer: where, its functions, and what is missing."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from textwrap import indent
from threading import Lock
from typing import Final
from urllib.parse import urlsplit

from dispatcher.sdk.config import LOOPBACK, Address, Config
from dispatcher.sdk.serving.ports import Application

_log: Final = logging.getLogger("dispatcher.sdk")


def block(app: Application, address: Address) -> str:
    """Return where it listens, each function and why it is plain or durable, and a line for what
    is missing."""
    functions = app.describe()
    lines = [f"Listening at http://{address}, with {_count(functions)}", _indented(functions)]
    return "\n".join([*filter(None, lines), *_hints(app.config, address)])


class FirstStart:
    """Says once, in the log, what the functions are of an application that others listen for."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._lock = Lock()
        self._is_said = False

    def say(self) -> None:
        """Say it, unless it was said. For any number of threads."""
        with self._lock:
            if self._is_said:
                return
            self._is_said = True
        if _log.isEnabledFor(logging.INFO):
            functions = self._app.describe()
            _log.info("Answering runs of %s\n%s", _count(functions), _indented(functions))


def _count(functions: Sequence[str]) -> str:
    return "1 function" if len(functions) == 1 else f"{len(functions)} functions"


def _indented(functions: Sequence[str]) -> str:
    return indent("\n".join(functions), "  ")


def _hints(config: Config, address: Address) -> Iterator[str]:
    if config.api_url is None:
        yield (
            "DISPATCH_API_URL is not set: calls can't be dispatched from here, only runs of a "
            "server that knows this address are answered. `dispatcher run -- COMMAND` sets it."
        )
    if not config.verification_keys and _is_open(config, address):
        yield (
            "DISPATCH_VERIFICATION_KEY is not set: runs of anybody who reaches this address are "
            "answered. `dispatcher keys show` prints it on the server."
        )


def _is_open(config: Config, address: Address) -> bool:
    """Whether others than this machine reach it. Of an endpoint that is elsewhere the application
    itself has warned."""
    parts = urlsplit(config.endpoint_url or "")
    is_warned = parts.scheme in ("http", "https") and parts.hostname not in LOOPBACK
    return not is_warned and address.host not in LOOPBACK
