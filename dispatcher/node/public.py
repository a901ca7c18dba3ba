"""What strangers and people are told of the server: at `/readyz` of `LISTEN`, and where to go."""

from __future__ import annotations

from typing import Final

from dispatcher.core.authority import authority


class PublicHealth:
    """What `LISTEN` says at `/readyz`: no details, as anybody can ask."""

    __slots__ = ("body", "status")

    def __init__(self, *, is_ready: bool) -> None:
        self.status = 200 if is_ready else 503
        self.body = b'{"status":"ready"}' if is_ready else b'{"status":"not ready"}'


PUBLIC_READY: Final = PublicHealth(is_ready=True)
PUBLIC_NOT_READY: Final = PublicHealth(is_ready=False)


def url_of(host: str, port: int) -> str:
    """Return where this machine finds what listens on an address; every interface includes
    loopback."""
    host = {"0.0.0.0": "127.0.0.1", "::": "localhost"}.get(host, host)
    return f"http://{authority(host, port)}".removesuffix(":80")
