"""Why there was no answer, in words, from what the libraries raise."""

from __future__ import annotations

import os
import socket
import ssl
from typing import Final

from dispatcher.protocol.statuses import Status
from dispatcher.sdk.client.exchange import Lost

_NO_TIME: Final = "it did not answer in time"


def lost(error: BaseException, *, was_sent: bool) -> Lost:
    """Return what an exception says of an exchange. `was_sent`: a connection was there."""
    error = getattr(error, "os_error", error)  # aiohttp has it inside
    match error:
        case ssl.SSLError():
            return Lost(f"TLS failed: {_tls(error)}", False, Status.TLS_ERROR, is_final=True)
        case socket.gaierror():
            return Lost("its host has no address", False, Status.DNS_ERROR)
        case TimeoutError() if not was_sent:
            return Lost("it can't be connected to in time", False, Status.TIMEOUT)
        case TimeoutError():
            return Lost(_NO_TIME, True, Status.TIMEOUT)
        case OSError(errno=int(number)) if number > 0:
            return Lost(os.strerror(number).lower(), was_sent)
        case _:
            return Lost("the connection was closed before it answered", was_sent)


def _tls(error: ssl.SSLError) -> str:
    said: str = getattr(error, "verify_message", "") or error.reason or str(error)
    return said.replace("_", " ").lower()
