"""What both clients are made of, beside how they get there."""

from __future__ import annotations

import os
import platform
import random
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import dispatcher
from dispatcher.sdk.client.asking import Asking
from dispatcher.sdk.client.server import Server
from dispatcher.sdk.client.trying import Tries
from dispatcher.sdk.functions.built import BuiltCall
from dispatcher.sdk.written import ENDPOINT_URL, written

PATIENCE_S: Final = 30.0
"""How long a server may be away: a restart that reads its log takes some seconds."""


def asking(
    server: Server,
    endpoint_url: str | None,
    timeout: float,
    environ: Mapping[str, str] = os.environ,
) -> Asking:
    """Return what asks a server. `endpoint_url` None is DISPATCH_ENDPOINT_URL, "" is none;
    `timeout` is in seconds.

    Raises:
        ConfigError: the endpoint is no URL.
    """
    if timeout <= 0:
        raise ValueError(f"timeout={timeout!r}: expected seconds, more than 0.")
    tries = Tries(time.monotonic, random.random, timeout)
    endpoint = "" if endpoint_url == "" else written(ENDPOINT_URL, endpoint_url, environ).url()
    return Asking(server, tries, endpoint or "")


def common_headers(server: Server) -> dict[str, str]:
    """Return what goes with every request. A name that is not aiohttp's has the server begin calls
    at once: those of dispatch-py it has wait."""
    sdk = f"dispatcher-sdk/{dispatcher.__version__} Python/{platform.python_version()}"
    headers = {"User-Agent": sdk}
    if server.key:
        headers["Authorization"] = f"Bearer {server.key}"
    return headers


def key_of(calls: Sequence[BuiltCall[Any]], key: str | None) -> str:
    """Return the key of a dispatch: its own, or that of its only call, or a new one. With it, what
    was sent twice because an answer was lost is made once."""
    if key is None and len(calls) == 1:
        key = calls[0].key
    return secrets.token_hex(16) if key is None else key
