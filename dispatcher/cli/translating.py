"""What went wrong with a request, as an error of the command line with the fitting exit code."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

from dispatcher.cli.address import CA_VARIABLE, Server
from dispatcher.cli.errors import (
    BadUsage,
    CommandError,
    KeyRefused,
    Moved,
    NotConnected,
    NotFound,
    RefusedNow,
    Unreachable,
)

_PARAMETER: Final = re.compile(r"\AParameter `(\w+)`:")


@contextmanager
def translated(server: Server, hint: str) -> Iterator[None]:
    """Turn what goes wrong on the network into `Unreachable`, with what to do."""
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if isinstance(error, ssl.SSLCertVerificationError):
            reason = f"its certificate is not right: {error.verify_message}"
            hint = f"{CA_VARIABLE} names a file with the authority that issued it"
        nobody = isinstance(error, ConnectionRefusedError | FileNotFoundError | socket.gaierror)
        kind = NotConnected if nobody else Unreachable
        raise kind(f"{server}: {reason}. {hint}.") from error


def refuse(
    status: int, content: bytes, *, what: str, key_from: str = "--key-file or DISPATCHER_KEY"
) -> NoReturn:
    """Raise the error that an answer other than 2xx stands for.

    Args:
        status: of the answer.
        content: its body; the message in it is what the user sees.
        what: who answered.
        key_from: where the key for that is read from.
    """
    told = decoded(content) or {}
    slug = told.get("error")
    message = told.get("message")
    shown = f"{_as_typed(message)} ({slug})" if message and slug else f"{what} answered {status}"
    match status:
        case 400 if slug:
            raise BadUsage(shown)
        case 401 | 403:
            raise KeyRefused(f"{shown} A key is read from {key_from}.")
        case 404 if slug and slug != "not_found":
            raise NotFound(shown)
        case 410:
            raise NotFound(shown)
        case 404:
            raise CommandError(f"{shown}: not a dispatcher's API, or an older version of it")
        case 503 if slug == "moved":
            raise Moved(shown)
        case 409 | 429 | 503:
            raise RefusedNow(shown)
        case _:
            raise CommandError(shown)


def _as_typed(message: object) -> str:
    """A parameter of the API has the name of the option that it was typed as."""
    return _PARAMETER.sub(lambda found: f"--{found[1].replace('_', '-')}:", str(message))


def decoded(content: bytes) -> dict[str, Any] | None:
    """The JSON object that a body is; None: it is none."""
    try:
        found = json.loads(content)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
