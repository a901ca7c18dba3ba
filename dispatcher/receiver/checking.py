"""Signatures for applications, as plain functions: what the middleware does, by hand."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from dispatcher.protocol import webhooks
from dispatcher.protocol.webhooks import TOLERANCE_S
from dispatcher.receiver.rules import Secrets, read_secrets


def verify(
    secrets: Secrets,
    headers: Mapping[str, str] | Iterable[tuple[str, str]],
    body: bytes,
    *,
    tolerance_s: float = TOLERANCE_S,
    now_s: float | None = None,
) -> str:
    """Check the signature of a request, and return the id that is signed.

    Args:
        secrets: what the sender signs with, base64 after `whsec_` or the bytes; one or several.
        headers: those of the request, as pairs or by name, in any case.
        body: as it came, before anything has parsed it.
        tolerance_s: how far the signature's time may be from this clock.
        now_s: seconds since the epoch; None: the time of this machine.

    Raises:
        SignatureRefused: answer 401; `slug` and message say why.
        ValueError: a secret can't be read, or there is none.
        TypeError: the body is text.
    """
    if isinstance(body, str):
        raise TypeError("expected the body as bytes: text or JSON is not what was signed")
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return webhooks.verify(
        read_secrets(secrets),
        pairs,
        body,
        now_s=time.time() if now_s is None else now_s,
        tolerance_s=tolerance_s,
    )


def sign(
    secrets: Secrets, message_id: str, body: bytes, *, now_s: float | None = None
) -> dict[str, str]:
    """Return the headers of a signed request, as a test of an application sends one.

    Raises:
        ValueError: a secret can't be read, or there is none; the id can't be sent.
    """
    at_s = int(time.time() if now_s is None else now_s)
    return webhooks.sign(read_secrets(secrets), message_id, at_s, body).headers
